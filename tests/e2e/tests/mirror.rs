//! MirrorMaker 2 between Flumen and Apache Kafka, both ways at once: records with their keys and headers,
//! topics with their partitions and settings, groups with their offsets.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use flumen_e2e::client::{Read, read};
use flumen_harness::clients::{java, kcat, python};
use flumen_harness::process::{Process, stdout};
use flumen_harness::{Flumen, Kafka, wait};

const PRODUCE: &str = include_str!("../scripts/produce.py");
const CONSUME: &str = include_str!("../scripts/consume.py");
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
/// Two brokers, two connectors of three kinds each, and their JVM.
const PATIENCE: Duration = Duration::from_secs(180);

fn mirror(flumen: &Flumen, kafka: &Kafka) -> Process {
    let properties = format!(
        "clusters=flumen,kafka\nflumen.bootstrap.servers={}\nkafka.bootstrap.servers={}\n\
         flumen->kafka.enabled=true\nflumen->kafka.topics=orders\nkafka->flumen.enabled=true\n\
         kafka->flumen.topics=bills\nreplication.factor=1\n\
         heartbeats.topic.replication.factor=1\ncheckpoints.topic.replication.factor=1\n\
         offset-syncs.topic.replication.factor=1\noffset.storage.replication.factor=1\n\
         status.storage.replication.factor=1\nconfig.storage.replication.factor=1\n\
         offset.storage.partitions=1\nstatus.storage.partitions=1\n\
         refresh.topics.interval.seconds=1\nrefresh.groups.interval.seconds=1\n\
         sync.topic.configs.interval.seconds=1\nsync.group.offsets.enabled=true\n\
         sync.group.offsets.interval.seconds=1\nemit.checkpoints.interval.seconds=1\n\
         emit.heartbeats.interval.seconds=1\noffset.lag.max=0\ntasks.max=1\n\
         consumer.auto.offset.reset=earliest\nplugin.discovery=service_load\n",
        flumen.bootstrap(),
        kafka.bootstrap()
    );
    let file = flumen.path("mm2.properties");
    std::fs::write(&file, properties).expect("the settings");
    let class = "org.apache.kafka.connect.mirror.MirrorMaker";
    let command = java(class, &[&file.display().to_string()]);
    Process::start("MirrorMaker", command, Path::new(&flumen.path("mm2.log")))
}

/// Waits until a topic has so many records, and reads them.
fn records(broker: &str, topic: &str, count: usize) -> Vec<Read> {
    wait::until_within(PATIENCE, &format!("{count} records in {topic}"), || {
        let mut command = kcat(&["-C", "-q", "-e", "-b", broker, "-t", topic, "-f", "%o\n"]);
        let output = command.output().map_err(|e| e.to_string())?;
        let seen = output.stdout.split(|byte| *byte == b'\n').count() - 1;
        if seen >= count { Ok(()) } else { Err(format!("{seen} of them")) }
    });
    read(&python("consume", CONSUME, &["confluent", broker, topic, &count.to_string()]))
}

/// Records by partition and offset.
fn placed(records: Vec<Read>) -> BTreeMap<(u64, u64), Read> {
    records.into_iter().map(|record| ((record.partition, record.offset), record)).collect()
}

fn committed(broker: &str, group: &str, topic: &str) -> Vec<u64> {
    let args = ["--bootstrap-server", broker, "--describe", "--group", group];
    let Ok(output) = java(GROUPS, &args).output() else { return Vec::new() };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut rows: Vec<_> = rows.filter(|row| row.len() > 4 && row[0] == group && row[1] == topic).collect();
    rows.sort();
    rows.iter().filter_map(|row| row[3].parse().ok()).collect()
}

/// What is mirrored from one cluster to another: the topic under its new name, whole.
fn assert_mirrored(from: (&str, &str), to: (&str, &str), count: usize) {
    let source = placed(records(from.0, from.1, count));
    let target = placed(records(to.0, to.1, count));
    assert_eq!(target, source, "every record at its place");
    let args = ["--bootstrap-server", to.0, "--describe", "--topic", to.1];
    let described = stdout("describe", &mut java(TOPICS, &args));
    assert!(described.contains("PartitionCount: 2"), "{described}");
    assert!(described.contains("retention.ms=3600000"), "its settings come too: {described}");
}

#[test]
fn topics_and_groups_are_mirrored_both_ways() {
    let flumen = Flumen::start("[topics.orders]\npartitions = 2\nretention.ms = \"1h\"\n");
    let kafka = Kafka::start(&std::env::temp_dir());
    let (here, there) = (flumen.bootstrap(), kafka.bootstrap());
    let words = "--create --topic bills --partitions 2 --config retention.ms=3600000";
    let create = [&["--bootstrap-server", &there], &words.split(' ').collect::<Vec<_>>()[..]].concat();
    stdout("create", &mut java(TOPICS, &create));
    let _mirror = mirror(&flumen, &kafka);
    python("produce", PRODUCE, &["confluent", &here, "orders", "300", "zstd"]);
    python("produce", PRODUCE, &["confluent", &there, "bills", "300", "lz4"]);
    // A group on each side has read it all.
    python("consume", CONSUME, &["confluent", &here, "orders", "300", "clerks"]);
    python("consume", CONSUME, &["confluent", &there, "bills", "300", "payers"]);
    assert_mirrored((&here, "orders"), (&there, "flumen.orders"), 300);
    assert_mirrored((&there, "bills"), (&here, "kafka.bills"), 300);
    for (from, topic, to, group) in [(&here, "orders", &there, "clerks"), (&there, "bills", &here, "payers")]
    {
        let name = if topic == "orders" { "flumen.orders" } else { "kafka.bills" };
        let there = committed(from, group, topic);
        assert_eq!(there.iter().sum::<u64>(), 300, "{group} has read all: {there:?}");
        wait::until_within(PATIENCE, &format!("{group}'s offsets to be mirrored"), || {
            match committed(to, group, name) {
                here if here == there => Ok(()),
                here => Err(format!("{here:?} instead of {there:?}")),
            }
        });
    }
}
