//! The rdkafka crate, as its users write it. The words are those of ../../README.md.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

fn settings(broker: &str, more: &[(&str, &str)]) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", broker);
    for (name, value) in more {
        settings.set(*name, *value);
    }
    settings
}

async fn produce(broker: &str, topic: &str, count: usize, codecs: &str) {
    let mut numbers = 0..;
    for codec in codecs.split(',') {
        let more = [("compression.type", codec), ("enable.idempotence", "true"), ("linger.ms", "20")];
        let producer: FutureProducer = settings(broker, &more).create().expect("a producer");
        let mut sent = Vec::new();
        for n in numbers.by_ref().take(count) {
            let (key, value, n) = (format!("k{n}"), format!("rdkafka-{n}"), n.to_string());
            let headers = OwnedHeaders::new()
                .insert(Header { key: "origin", value: Some("rdkafka") })
                .insert(Header { key: "n", value: Some(&n) });
            let record = FutureRecord::to(topic).key(&key).payload(&value).headers(headers);
            sent.push(producer.send_result(record).map_err(|(error, _)| error).expect("it is queued"));
        }
        for one in sent {
            one.await.expect("an answer").expect("it is written");
        }
    }
}

fn group_settings(broker: &str, group: &str, isolation: &str) -> ClientConfig {
    let mut settings =
        settings(broker, &[("auto.offset.reset", "earliest"), ("enable.auto.commit", "false")]);
    settings.set("group.id", group).set("isolation.level", isolation);
    settings.set("session.timeout.ms", "6000").set("heartbeat.interval.ms", "300");
    settings
}

fn show(message: &BorrowedMessage<'_>) {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let headers: BTreeMap<&str, _> = headers.map(|header| (header.key, text(header.value))).collect();
    let (key, value) = (text(message.key()), text(message.payload()));
    let (partition, offset) = (message.partition(), message.offset());
    println!(
        "{}",
        json!({ "key": key, "value": value, "headers": headers, "partition": partition, "offset": offset })
    );
}

async fn consume(broker: &str, topic: &str, count: usize, group: &str, isolation: &str) {
    let consumer: StreamConsumer = group_settings(broker, group, isolation).create().expect("a consumer");
    consumer.subscribe(&[topic]).expect("a subscription");
    for _ in 0..count {
        let message = consumer.recv().await.expect("a record");
        show(&message);
        consumer.store_offset_from_message(&message).expect("the offset is kept");
    }
    consumer.commit_consumer_state(CommitMode::Sync).expect("the offsets are committed");
}

/// Says what it is assigned.
struct Saying;

impl ClientContext for Saying {}

impl ConsumerContext for Saying {
    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        let has = match rebalance {
            Rebalance::Assign(partitions) => {
                partitions.elements().iter().map(|one| one.partition()).collect()
            }
            _ => Vec::new(),
        };
        println!("assigned {}", json!(has));
    }
}

async fn member(broker: &str, topic: &str, group: &str) {
    let settings = group_settings(broker, group, "read_committed");
    let consumer: StreamConsumer<Saying> = settings.create_with_context(Saying).expect("a consumer");
    consumer.subscribe(&[topic]).expect("a subscription");
    loop {
        let message = consumer.recv().await.expect("a record");
        println!("read {} {}", message.partition(), message.offset());
        if let Err(error) = consumer.commit_message(&message, CommitMode::Sync) {
            eprintln!("{error}");
        }
    }
}

fn transactional(broker: &str, id: &str) -> FutureProducer {
    let producer: FutureProducer =
        settings(broker, &[("transactional.id", id)]).create().expect("a producer");
    producer.init_transactions(PATIENCE).expect("the transactions begin");
    producer
}

async fn transactions(broker: &str, topic: &str, txns: usize, per: usize) {
    let producer = transactional(broker, "e2e-rdkafka");
    for t in 0..txns {
        let fate = if t % 2 == 0 { "commit" } else { "abort" };
        producer.begin_transaction().expect("a transaction");
        for i in 0..per {
            let (key, value) = (format!("k{i}"), format!("{fate}-{t}-{i}"));
            let record = FutureRecord::to(topic).key(&key).payload(&value);
            producer.send(record, PATIENCE).await.expect("it is written");
        }
        match fate {
            "commit" => producer.commit_transaction(PATIENCE).expect("it commits"),
            _ => producer.abort_transaction(PATIENCE).expect("it aborts"),
        }
    }
}

async fn copy(broker: &str, from: &str, to: &str, count: usize, group: &str) {
    let producer = transactional(broker, &format!("copy-{group}"));
    let consumer: StreamConsumer =
        group_settings(broker, group, "read_committed").create().expect("a consumer");
    consumer.subscribe(&[from]).expect("a subscription");
    for copied in 0..count {
        let message = consumer.recv().await.expect("a record");
        let key = text(message.key()).expect("a key");
        let loud = text(message.payload()).expect("a value").to_uppercase();
        let mut next = TopicPartitionList::new();
        let offset = Offset::Offset(message.offset() + 1);
        next.add_partition_offset(from, message.partition(), offset).expect("an offset");
        // Every third is aborted first, and done again.
        let fates = if copied % 3 == 2 { &[false, true][..] } else { &[true] };
        for commits in fates {
            producer.begin_transaction().expect("a transaction");
            producer
                .send(FutureRecord::to(to).key(&key).payload(&loud), PATIENCE)
                .await
                .expect("it is written");
            let metadata = consumer.group_metadata().expect("a member");
            producer
                .send_offsets_to_transaction(&next, &metadata, PATIENCE)
                .expect("the offsets are written");
            match commits {
                true => producer.commit_transaction(PATIENCE).expect("it commits"),
                false => producer.abort_transaction(PATIENCE).expect("it aborts"),
            }
        }
    }
}

async fn admin(broker: &str, topic: &str, group: &str) {
    let admin: AdminClient<DefaultClientContext> = settings(broker, &[]).create().expect("an admin client");
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
    let wanted = NewTopic::new(topic, 3, TopicReplication::Fixed(1)).set("retention.ms", "3600000");
    let created = admin.create_topics([&wanted], &options).await.expect("an answer");
    let again = admin.create_topics([&wanted], &options).await.expect("an answer");
    produce(broker, topic, 30, "none").await;
    consume(broker, topic, 30, group, "read_committed").await;
    let consumer: BaseConsumer =
        group_settings(broker, group, "read_committed").create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("metadata");
    let partitions: Vec<_> =
        metadata.topics()[0].partitions().iter().map(|one| (one.id(), one.leader())).collect();
    let marks = |consumer: &BaseConsumer| -> Vec<(i64, i64)> {
        (0..3).map(|p| consumer.fetch_watermarks(topic, p, PATIENCE).expect("watermarks")).collect()
    };
    let ends = marks(&consumer);
    let groups = consumer.fetch_group_list(Some(group), PATIENCE).expect("the group");
    let groups: Vec<_> =
        groups.groups().iter().map(|one| (one.name(), one.state(), one.protocol_type())).collect();
    let mut asked = TopicPartitionList::new();
    asked.add_partition_range(topic, 0, 2);
    let committed = consumer.committed_offsets(asked, PATIENCE).expect("offsets");
    let committed: Vec<_> = committed.elements().iter().map(|one| one.offset().to_raw()).collect();
    let resource = [ResourceSpecifier::Topic(topic)];
    let configs = admin.describe_configs(&resource, &options).await.expect("an answer");
    let configs = configs.into_iter().next().expect("one topic").expect("its settings");
    let retention = configs.get("retention.ms").and_then(|entry| entry.value.clone());
    let mut cut = TopicPartitionList::new();
    cut.add_partition_offset(topic, 0, Offset::Offset(2)).expect("an offset");
    admin.delete_records(&cut, &options).await.expect("an answer");
    let after = marks(&consumer);
    let gone = admin.delete_groups(&[group], &options).await.expect("an answer");
    let deleted = admin.delete_topics(&[topic], &options).await.expect("an answer");
    println!(
        "{}",
        json!({
            "created": created[0].is_ok(), "again": again[0].as_ref().err().map(|(_, code)| code.to_string()),
            "partitions": partitions, "ends": ends, "groups": groups, "committed": committed,
            "retention": retention, "cut": after, "gone": gone[0].is_ok(), "deleted": deleted[0].is_ok(),
        })
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| -> usize { word.parse().expect("a number") };
    match *words {
        ["produce", broker, topic, count, codecs] => produce(broker, topic, number(count), codecs).await,
        ["consume", broker, topic, count, group, isolation] => {
            consume(broker, topic, number(count), group, isolation).await;
        }
        ["member", broker, topic, group] => member(broker, topic, group).await,
        ["transactions", broker, topic, txns, per] => {
            transactions(broker, topic, number(txns), number(per)).await
        }
        ["copy", broker, from, to, count, group] => copy(broker, from, to, number(count), group).await,
        ["admin", broker, topic, group] => admin(broker, topic, group).await,
        _ => panic!("no such words: {words:?}"),
    }
}
