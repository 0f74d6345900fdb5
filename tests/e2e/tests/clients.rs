//! The clients that people already use produce and consume, with every compression and with headers.

use std::collections::BTreeSet;

use flumen_harness::Flumen;
use flumen_harness::clients::{feed, java, kcat, python};
use flumen_harness::process::stdout;

const PRODUCE: &str = include_str!("../scripts/produce.py");
const CONSUME: &str = include_str!("../scripts/consume.py");
const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn consumed(flumen: &Flumen, client: &str, topic: &str, count: usize) -> Vec<serde_json::Value> {
    let said = python(client, CONSUME, &[client, &flumen.bootstrap(), topic, &count.to_string()]);
    said.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect()
}

/// What `producer` writes with each codec, `consumer` reads whole: keys, values, headers, none twice.
fn speak(producer: &str, consumer: &str) {
    let flumen = Flumen::start("");
    for codec in CODECS {
        let topic = format!("from-{producer}-{codec}");
        python(producer, PRODUCE, &[producer, &flumen.bootstrap(), &topic, "200", codec]);
        let records = consumed(&flumen, consumer, &topic, 200);
        let values: BTreeSet<&str> = records.iter().filter_map(|r| r["value"].as_str()).collect();
        assert_eq!(values.len(), 200, "{topic}: every value once, as read by {consumer}");
        for record in &records {
            let value = record["value"].as_str().expect("a value");
            let number = value.strip_prefix(&format!("{producer}-")).expect("the producer's own value");
            assert_eq!(record["key"], format!("k{number}"), "{topic}: {record}");
            assert_eq!(record["headers"]["n"], number, "{topic}: {record}");
            assert_eq!(record["headers"]["origin"], producer, "{topic}: {record}");
        }
    }
}

#[test]
fn confluent_writes_and_kafka_python_reads() {
    speak("confluent", "kafka-python");
}

#[test]
fn kafka_python_writes_and_aiokafka_reads() {
    speak("kafka-python", "aiokafka");
}

#[test]
fn aiokafka_writes_and_confluent_reads() {
    speak("aiokafka", "confluent");
}

#[test]
fn kcat_writes_and_reads_with_every_codec_and_a_header() {
    let flumen = Flumen::start("");
    let broker = flumen.bootstrap();
    let input: String = (0..100).map(|i| format!("k{i}:v{i}\n")).collect();
    for codec in CODECS {
        let topic = format!("kcat-{codec}");
        let produce = ["-P", "-b", &broker, "-t", &topic, "-z", codec, "-K", ":", "-H", "origin=kcat"];
        feed("kcat -P", &mut kcat(&produce), input.as_bytes());
        let consume = ["-C", "-q", "-e", "-b", &broker, "-t", &topic, "-o", "beginning", "-f", "%k:%s %h\n"];
        let said = stdout("kcat -C", &mut kcat(&consume));
        let expected: String = (0..100).map(|i| format!("k{i}:v{i} origin=kcat\n")).collect();
        assert_eq!(said, expected, "{codec}");
    }
    let listing = stdout("kcat -L", &mut kcat(&["-L", "-b", &broker]));
    assert!(listing.contains("topic \"kcat-zstd\" with 1 partitions"), "{listing}");
}

#[test]
fn the_java_console_tools_work_unchanged() {
    let flumen = Flumen::start("");
    let broker = flumen.bootstrap();
    let topics = "org.apache.kafka.tools.TopicCommand";
    let create = [
        "--bootstrap-server",
        &broker,
        "--create",
        "--topic",
        "java",
        "--partitions",
        "3",
        "--config",
        "retention.ms=3600000",
    ];
    stdout("create", &mut java(topics, &create));
    let described = stdout(
        "describe",
        &mut java(topics, &["--bootstrap-server", &broker, "--describe", "--topic", "java"]),
    );
    assert!(
        described.contains("PartitionCount: 3") && described.contains("retention.ms=3600000"),
        "{described}"
    );

    let input: String = (0..60).map(|i| format!("k{i}\tv{i}\n")).collect();
    for codec in ["gzip", "zstd"] {
        let produce = [
            "--bootstrap-server",
            &broker,
            "--topic",
            "java",
            "--compression-codec",
            codec,
            "--reader-property",
            "parse.key=true",
        ];
        feed(
            "console producer",
            &mut java("org.apache.kafka.tools.ConsoleProducer", &produce),
            input.as_bytes(),
        );
    }
    let consume = [
        "--bootstrap-server",
        &broker,
        "--topic",
        "java",
        "--from-beginning",
        "--max-messages",
        "120",
        "--timeout-ms",
        "60000",
        "--group",
        "java-readers",
        "--formatter-property",
        "print.key=true",
    ];
    let said =
        stdout("console consumer", &mut java("org.apache.kafka.tools.consumer.ConsoleConsumer", &consume));
    let lines: BTreeSet<&str> = said.lines().filter(|l| l.starts_with('k')).collect();
    assert_eq!(lines.len(), 60, "{said}");
    assert_eq!(said.lines().filter(|l| l.starts_with('k')).count(), 120, "{said}");

    let groups = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let described = stdout(
        "groups",
        &mut java(groups, &["--bootstrap-server", &broker, "--describe", "--group", "java-readers"]),
    );
    assert!(described.contains("java-readers"), "{described}");

    // Apache Kafka keeps this one tool in its core jar.
    let configs = "kafka.admin.ConfigCommand";
    let alter = [
        "--bootstrap-server",
        &broker,
        "--alter",
        "--topic",
        "java",
        "--add-config",
        "cleanup.policy=compact",
    ];
    stdout("alter", &mut java(configs, &alter));
    let shown = stdout(
        "describe configs",
        &mut java(configs, &["--bootstrap-server", &broker, "--describe", "--topic", "java"]),
    );
    assert!(shown.contains("cleanup.policy=compact"), "{shown}");
    stdout("delete", &mut java(topics, &["--bootstrap-server", &broker, "--delete", "--topic", "java"]));
    let left = stdout("list", &mut java(topics, &["--bootstrap-server", &broker, "--list"]));
    assert!(!left.lines().any(|l| l == "java"), "{left}");
}

/// With every default, a topic that the first send makes, and a group that begins with it.
#[test]
fn what_the_tutorials_say_works() {
    let flumen = Flumen::start("");
    let said = python("tutorial", include_str!("../scripts/tutorial.py"), &[&flumen.bootstrap(), "numbers"]);
    let numbers: Vec<&str> = said.lines().collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let groups = flumen.cli(&["group", "describe", "my-group", "--json"]);
    assert!(groups.contains("numbers"), "{groups}");
}
