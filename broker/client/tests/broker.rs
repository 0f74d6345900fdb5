//! The client against a broker: Flumen, in this process, or the one at FLUMEN_TEST_BOOTSTRAP (Apache
//! Kafka, say).

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use flumen_client::{
    Acks, At, Change, Client, Consumer, ConsumerOptions, GroupConsumer, NewTopic, Options, Origin,
    OutOfRange, Producer, ProducerOptions, Record, Transactions,
};
use flumen_protocol::messages::ConsumerGroupHeartbeatRequest;
use flumen_protocol::{decode_response, encode_request, message};
use flumen_records::Compression;
use flumen_types::{Offset, Timestamp, TopicPartition};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// A broker for one test, and a client of it.
struct Cluster {
    bootstrap: String,
    client: Client,
    stop: CancellationToken,
    _dir: TempDir,
}

impl Cluster {
    async fn start() -> Cluster {
        let (stop, dir) = (CancellationToken::new(), tempfile::tempdir().unwrap());
        let bootstrap = match std::env::var("FLUMEN_TEST_BOOTSTRAP") {
            Ok(bootstrap) => bootstrap,
            Err(_) => serve(&dir, stop.clone()).await,
        };
        let client = Client::connect(Options::new(&*bootstrap)).await.unwrap();
        Cluster { bootstrap, client, stop, _dir: dir }
    }

    /// Joins a group with the consumer protocol, which this client does not speak.
    async fn join(&self, group: &str, topic: &str) {
        let request = message!(ConsumerGroupHeartbeatRequest {
            group_id: group.into(),
            member_id: "m".into(),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec![topic.into()]),
            topic_partitions: Some(vec![]),
        });
        let mut socket = TcpStream::connect(&*self.bootstrap).await.unwrap();
        socket.write_all(&encode_request(1, "test", &request, 1).unwrap()).await.unwrap();
        let length = socket.read_i32().await.unwrap();
        let mut frame = vec![0; length as usize];
        socket.read_exact(&mut frame).await.unwrap();
        let answer = Bytes::from(frame).slice(4..);
        let answer = decode_response::<ConsumerGroupHeartbeatRequest>(answer, 1).unwrap();
        assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(dir: &TempDir, stop: CancellationToken) -> String {
    let mut options = flumen_server::Options::new(dir.path());
    options.group_rebalance_delay = Duration::from_millis(50);
    let broker = flumen_server::Broker::start(options).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { broker.serve(listener, stop).await });
    address
}

/// Now, so that retention leaves the records alone.
fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as i64
}

/// A topic of this test's own.
async fn topic(client: &Client, name: &str, partitions: i32) -> String {
    let name = format!("{name}-{}", rand::random::<u32>());
    let new = NewTopic {
        name: name.clone(),
        partitions: Some(partitions),
        replication: Some(1),
        configs: BTreeMap::new(),
    };
    client.create_topic(&new, false).await.unwrap();
    name
}

fn record(key: &str, value: &str) -> Record {
    Record {
        timestamp: Timestamp(now()),
        key: Some(Bytes::copy_from_slice(key.as_bytes())),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
        headers: vec![
            (Bytes::from_static(b"h"), Some(Bytes::from_static(b"1"))),
            (Bytes::from_static(b"h"), None),
        ],
    }
}

/// Reads every partition from its start until `count` records have come.
async fn read(
    client: &Client,
    topic: &str,
    options: ConsumerOptions,
    count: usize,
) -> Vec<(i32, i64, Record)> {
    let mut consumer = Consumer::new(client, options);
    for partition in client.topic(topic).await.unwrap().partitions {
        consumer.assign(TopicPartition::new(topic, partition.id.0), Offset::ZERO);
    }
    let mut records = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), async {
        while records.len() < count {
            for fetched in consumer.poll().await.unwrap() {
                let partition = fetched.partition.partition.0;
                records.extend(fetched.records.into_iter().map(|r| (partition, r.offset.0, r.record)));
            }
        }
    })
    .await
    .unwrap_or_else(|_| panic!("{} of {count} records came", records.len()));
    records
}

#[tokio::test]
async fn topics_are_made_described_changed_and_deleted() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    let name = topic(client, "made", 2).await;
    assert_eq!(client.topic(&name).await.unwrap().partitions.len(), 2);
    assert!(client.topics().await.unwrap().iter().any(|topic| *topic.name == *name));

    client.grow_topic(&name, 3, false).await.unwrap();
    let change = Change::Set("retention.ms".into(), "3600000".into());
    client.alter_topic(&name, &[change], false).await.unwrap();
    // A broker of a cluster may learn of a change a moment after the one that made it.
    let becomes = async |wanted: (Option<&str>, bool)| {
        tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let configs = client.topic_configs(&name).await.unwrap();
                let now = configs.into_iter().find(|config| config.name == "retention.ms").unwrap();
                if (now.value.as_deref(), now.origin == Origin::Topic) == wanted {
                    return;
                }
            }
        })
        .await
        .unwrap_or_else(|_| panic!("retention.ms becomes {wanted:?}"));
    };
    becomes((Some("3600000"), true)).await;
    client.alter_topic(&name, &[Change::Unset("retention.ms".into())], false).await.unwrap();
    becomes((Some("604800000"), false)).await;

    let nonsense = Change::Set("retention.ms".into(), "soon".into());
    let refused = client.alter_topic(&name, &[nonsense], false).await.unwrap_err();
    assert!(refused.to_string().contains(&name) && !refused.is_unreachable(), "{refused}");

    client.delete_topic(&name).await.unwrap();
    assert!(client.delete_topic(&name).await.unwrap_err().code().is_some());
}

#[tokio::test]
async fn records_come_back_as_they_went_in_every_compression() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    for compression in
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
    {
        let name = topic(client, "compressed", 3).await;
        let options = ProducerOptions { compression, ..ProducerOptions::default() };
        let mut producer = Producer::new(client, options).await.unwrap();
        for n in 0..1000 {
            producer.send(&name, None, record(&n.to_string(), &format!("value {n}"))).await.unwrap();
        }
        let flushed = producer.flush().await;
        assert_eq!((flushed.written, flushed.failed), (1000, 0), "{:?}", flushed.error);
        let mut values = BTreeSet::new();
        for (partition, _, got) in read(client, &name, ConsumerOptions::default(), 1000).await {
            let key = String::from_utf8(got.key.clone().unwrap().to_vec()).unwrap();
            assert_eq!(partition, flumen_client::partitioner::for_key(key.as_bytes(), 3));
            let sent = record(&key, &format!("value {key}"));
            assert_eq!((got.value, got.headers), (sent.value, sent.headers));
            values.insert(key);
        }
        assert_eq!(values.len(), 1000, "{compression}");
    }
}

#[tokio::test]
async fn without_acks_records_arrive_too() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    let name = topic(client, "unacknowledged", 1).await;
    let options = ProducerOptions { acks: Acks::None, ..ProducerOptions::default() };
    let mut producer = Producer::new(client, options).await.unwrap();
    for n in 0..10 {
        producer.send(&name, None, record("k", &n.to_string())).await.unwrap();
    }
    producer.flush().await;
    assert_eq!(read(client, &name, ConsumerOptions::default(), 10).await.len(), 10);
}

#[tokio::test]
async fn a_record_too_large_is_refused_and_the_next_one_is_written() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    let name = topic(client, "large", 1).await;
    let mut producer = Producer::new(client, ProducerOptions::default()).await.unwrap();
    let large = Record { value: Some(Bytes::from(vec![0; 3 << 20])), ..record("k", "") };
    producer.send(&name, None, large).await.unwrap();
    let flushed = producer.flush().await;
    assert_eq!((flushed.written, flushed.failed), (0, 1));
    producer.send(&name, None, record("k", "fits")).await.unwrap();
    let flushed = producer.flush().await;
    assert_eq!((flushed.written, flushed.failed), (1, 0), "{:?}", flushed.error);
}

#[tokio::test]
async fn places_are_found_and_records_deleted() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    let name = topic(client, "places", 1).await;
    let partition = TopicPartition::new(&*name, 0);
    let mut producer = Producer::new(client, ProducerOptions::default()).await.unwrap();
    let began = now();
    for n in 0..10 {
        let record = Record { timestamp: Timestamp(began + n), ..record("k", "v") };
        producer.send(&name, Some(0), record).await.unwrap();
    }
    producer.flush().await;
    let place = async |at| client.offsets_at(std::slice::from_ref(&partition), at).await.unwrap()[&partition];
    assert_eq!(place(At::Start).await, Some(Offset(0)));
    assert_eq!(place(At::End).await, Some(Offset(10)));
    assert_eq!(place(At::StableEnd).await, Some(Offset(10)));
    assert_eq!(place(At::Time(Timestamp(began + 4))).await, Some(Offset(4)));
    assert_eq!(place(At::Time(Timestamp(began + 3_600_000))).await, None);

    assert_eq!(client.delete_records(&partition, Offset(6)).await.unwrap(), Offset(6));
    assert_eq!(place(At::Start).await, Some(Offset(6)));
    assert!(client.delete_records(&partition, Offset(99)).await.unwrap_err().code().is_some());

    let mut consumer = Consumer::new(client, ConsumerOptions::default());
    consumer.assign(partition.clone(), Offset(0));
    assert!(consumer.poll().await.unwrap_err().to_string().contains("offset 0"));
    let options = ConsumerOptions { out_of_range: OutOfRange::Start, ..ConsumerOptions::default() };
    assert_eq!(read(client, &name, options, 4).await[0].1, 6);
}

#[tokio::test]
async fn an_aborted_transaction_is_never_read_and_offsets_follow_the_commit() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    let name = topic(client, "transactions", 1).await;
    let partition = TopicPartition::new(&*name, 0);
    let group = format!("{name}-group");
    let mut transactions = Transactions::begin(client, format!("{name}-id")).await.unwrap();
    transactions.send(&partition, &[record("a", "aborted"), record("b", "aborted")]).await.unwrap();
    transactions.offsets(&group, &BTreeMap::from([(partition.clone(), Offset(7))])).await.unwrap();
    transactions.end(false).await.unwrap();
    assert_eq!(client.committed(&group, None).await.unwrap(), BTreeMap::new());

    transactions.send(&partition, &[record("c", "committed")]).await.unwrap();
    transactions.offsets(&group, &BTreeMap::from([(partition.clone(), Offset(8))])).await.unwrap();
    transactions.end(true).await.unwrap();
    let seen = read(client, &name, ConsumerOptions::default(), 1).await;
    assert_eq!(seen.iter().map(|(_, _, r)| r.key.clone().unwrap()).collect::<Vec<_>>(), ["c"]);
    let everything = ConsumerOptions { read_committed: false, ..ConsumerOptions::default() };
    assert_eq!(read(client, &name, everything, 3).await.len(), 3);
    assert_eq!(client.committed(&group, None).await.unwrap()[&partition], Offset(8));

    // A second holder fences the first.
    let mut next = Transactions::begin(client, format!("{name}-id")).await.unwrap();
    assert!(transactions.send(&partition, &[record("d", "late")]).await.is_err());
    next.send(&partition, &[record("e", "committed")]).await.unwrap();
    next.end(true).await.unwrap();
}

#[tokio::test]
async fn offsets_of_a_group_are_committed_listed_and_deleted() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    let name = topic(client, "offsets", 2).await;
    let group = format!("{name}-group");
    let offsets = BTreeMap::from([
        (TopicPartition::new(&*name, 0), Offset(3)),
        (TopicPartition::new(&*name, 1), Offset(0)),
    ]);
    client.commit(&group, &offsets).await.unwrap();
    assert_eq!(client.committed(&group, None).await.unwrap(), offsets);
    let only = [TopicPartition::new(&*name, 0)];
    assert_eq!(client.committed(&group, Some(&only)).await.unwrap().len(), 1);
    assert!(client.groups().await.unwrap().iter().any(|listed| listed.id == group));
    let described = client.group(&group).await.unwrap();
    assert_eq!((described.state.as_str(), described.members.len()), ("Empty", 0));
    client.delete_group(&group).await.unwrap();
    assert!(!client.groups().await.unwrap().iter().any(|listed| listed.id == group));
    assert_eq!(client.group(&group).await.unwrap().state, "Dead");
}

#[tokio::test]
async fn a_group_of_the_consumer_protocol_is_described_like_others() {
    let cluster = Cluster::start().await;
    let name = topic(&cluster.client, "described", 2).await;
    let group = format!("{name}-group");
    // A broker makes the topic of its groups first when it is asked where a group is.
    cluster.client.committed(&group, None).await.unwrap();
    cluster.join(&group, &name).await;
    let described = cluster.client.group(&group).await.unwrap();
    assert_eq!((described.state.as_str(), described.assignor.as_str()), ("Stable", "uniform"));
    let member = &described.members[0];
    assert_eq!(member.partitions, [TopicPartition::new(&*name, 0), TopicPartition::new(&*name, 1)]);
}

#[tokio::test]
async fn two_members_share_a_topic_and_the_one_that_stays_takes_over() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    let name = topic(client, "shared", 2).await;
    let group = format!("{name}-group");
    let options = ConsumerOptions {
        out_of_range: OutOfRange::Start,
        wait_max: Duration::from_millis(100),
        ..ConsumerOptions::default()
    };
    let member = || GroupConsumer::new(client, &group, vec![name.clone()], options.clone());
    let count = |member: &GroupConsumer| member.positions().map_or(0, BTreeMap::len);
    let (mut first, mut second) = (member(), member());
    let deadline = Duration::from_secs(60);
    tokio::time::timeout(deadline, async {
        while count(&first) != 1 || count(&second) != 1 {
            let (one, two) = tokio::join!(first.poll(), second.poll());
            one.unwrap();
            two.unwrap();
        }
    })
    .await
    .expect("each member has a partition");
    assert_eq!(client.group(&group).await.unwrap().members.len(), 2);

    let mut producer = Producer::new(client, ProducerOptions::default()).await.unwrap();
    for n in 0..20 {
        producer.send(&name, Some(n % 2), record("k", &n.to_string())).await.unwrap();
    }
    producer.flush().await;
    let mut seen = BTreeSet::new();
    let mut collect = |fetched: Vec<flumen_client::Fetched>| {
        seen.extend(fetched.into_iter().flat_map(|f| f.records).map(|r| r.record.value.unwrap()));
        seen.len()
    };
    tokio::time::timeout(deadline, async {
        loop {
            let (one, two) = tokio::join!(first.poll(), second.poll());
            collect(one.unwrap());
            if collect(two.unwrap()) == 20 {
                break;
            }
        }
    })
    .await
    .expect("both together read everything");

    second.leave().await.unwrap();
    tokio::time::timeout(deadline, async {
        while count(&first) != 2 {
            first.poll().await.unwrap();
        }
    })
    .await
    .expect("the one that stays gets both partitions");
    first.leave().await.unwrap();
    let committed = client.committed(&group, None).await.unwrap();
    assert_eq!(committed.values().map(|offset| offset.0).sum::<i64>(), 20);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let cluster = Cluster::start().await;
    let client = &cluster.client;
    let missing = client.topic("no-such-topic").await;
    assert!(missing.unwrap_err().to_string().contains("no-such-topic"));
    let nobody = Client::connect(Options::new("127.0.0.1:1")).await.unwrap_err();
    assert!(nobody.is_unreachable() && nobody.to_string().contains("127.0.0.1:1"), "{nobody}");
}
