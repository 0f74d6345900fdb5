//! Over a broker in a folder of its own.

use flumen_server::Options;
use flumen_types::Timestamp;
use tempfile::TempDir;

use super::*;

async fn log(dir: &TempDir, change: impl FnOnce(&mut Options)) -> BrokerLog {
    let mut options = Options::new(dir.path());
    change(&mut options);
    BrokerLog::new(Broker::start(options).await.unwrap())
}

async fn topic(log: &BrokerLog, name: &str, configs: &[(&str, &str)]) {
    let configs = configs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    log.broker.ensure_topic(name, Some(1), &configs).await.unwrap();
}

fn packed(key: Option<&[u8]>, timestamp: Timestamp) -> Packed {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord { timestamp, key, value: Some(b"v"), headers: &[] });
    let records = builder.build().unwrap().slice(HEADER_LEN..);
    Packed { base_timestamp: timestamp, count: 1, records }
}

fn marks(log: &BrokerLog, topic: &str) -> (Offset, Offset) {
    let partition = log.broker.partition(&TopicPartition::new(topic, 0)).unwrap();
    let marks = partition.marks();
    (marks.last_stable, marks.end)
}

#[tokio::test]
async fn what_a_topic_refuses_is_refused_by_send_and_the_rest_goes() {
    let dir = TempDir::new().unwrap();
    let log = log(&dir, |_| {}).await;
    topic(&log, "plain", &[]).await;
    topic(&log, "compacted", &[("cleanup.policy", "compact")]).await;
    let mut producer = log.producer("flumen.s.0").await.unwrap();
    let tomorrow = Timestamp(now().0 + 24 * 60 * 60 * 1000);
    for (topic, bad) in [("plain", packed(None, tomorrow)), ("compacted", packed(None, now()))] {
        assert!(matches!(producer.send(topic, 0, bad).await, Err(IoError::Refused(_))), "{topic}");
        producer.send(topic, 0, packed(Some(b"k"), now())).await.unwrap();
    }
    producer.commit().await.unwrap();
    for topic in ["plain", "compacted"] {
        assert_eq!(log.read(topic, 0, Offset::ZERO, 1 << 20, Duration::ZERO).await.unwrap().batches.len(), 1);
    }
}

#[tokio::test]
async fn a_commit_that_fails_holds_no_reader_up() {
    let dir = TempDir::new().unwrap();
    let log = log(&dir, |_| {}).await;
    topic(&log, "first", &[]).await;
    topic(&log, "second", &[]).await;
    let mut producer = log.producer("flumen.s.0").await.unwrap();
    producer.send("first", 0, packed(None, now())).await.unwrap();
    producer.send("second", 0, packed(None, now())).await.unwrap();
    let compacted = BTreeMap::from([("cleanup.policy".to_owned(), "compact".to_owned())]);
    log.broker.topics().configure("second", compacted).await.unwrap();
    assert!(matches!(producer.commit().await, Err(IoError::Refused(_))));
    // The first topic has the record; nobody begins after this producer, and it is decided all the same.
    let (stable, end) = marks(&log, "first");
    assert_eq!(stable, end);
    assert!(end > Offset::ZERO);
    let read = log.read("first", 0, Offset::ZERO, 1 << 20, Duration::ZERO).await.unwrap();
    assert!(read.batches.is_empty());
    assert_eq!(log.open_transactions("flumen.").await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_broker_that_allows_short_transactions_only_has_producers() {
    let dir = TempDir::new().unwrap();
    let log = log(&dir, |options| options.transaction_timeout_max = Duration::from_secs(5)).await;
    topic(&log, "t", &[]).await;
    let mut producer = log.producer("flumen.s.0").await.unwrap();
    producer.send("t", 0, packed(None, now())).await.unwrap();
    producer.commit().await.unwrap();
    assert_eq!(log.end("t", 0), Some(marks(&log, "t").1));
    assert_eq!((log.end("t", 1), log.end("u", 0)), (None, None));
}

#[tokio::test]
async fn transactions_that_are_open_are_told_by_the_beginning_of_their_ids() {
    let dir = TempDir::new().unwrap();
    let log = log(&dir, |_| {}).await;
    topic(&log, "t", &[]).await;
    let transactions = log.broker.transactions();
    for id in ["flumen.s.0", "flumen.s.1", "flumen.other.0"] {
        let producer = transactions.init_producer(Some(id), Millis(60_000)).await.unwrap();
        let partitions = [TopicPartition::new("t", 0)];
        transactions.add_all(id, producer, &partitions, None).await.unwrap();
    }
    log.producer("flumen.s.0").await.unwrap();
    assert_eq!(log.open_transactions("flumen.s.").await.unwrap(), ["flumen.s.1"]);
}
