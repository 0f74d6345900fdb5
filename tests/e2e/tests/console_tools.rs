//! Apache Kafka's command line, tool by tool, with what each says of Flumen.

use std::collections::BTreeMap;

use flumen_harness::Flumen;
use flumen_harness::clients::{feed, java, kcat};
use flumen_harness::process::stdout;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
const TRANSACTIONS: &str = "org.apache.kafka.tools.TransactionsCommand";

/// A tool's answer; the words come behind the broker's address.
fn tool(flumen: &Flumen, class: &str, words: &str) -> String {
    let broker = flumen.bootstrap();
    let mut args = vec!["--bootstrap-server", &broker];
    args.extend(words.split_whitespace());
    stdout(&format!("{class} {words}"), &mut java(class, &args))
}

/// Its lines, each with one blank between its words.
fn lines(said: &str) -> Vec<String> {
    let lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect()
}

/// The lines below a table's head, sorted: a tool shows them as they come.
fn rows(said: &str) -> Vec<String> {
    let mut rows = lines(said).split_off(1);
    rows.sort();
    rows
}

/// Numbers from 0 on, `count` of them, on one partition.
fn produce(flumen: &Flumen, topic: &str, partition: &str, count: usize) {
    let input: String = (0..count).map(|n| format!("{n}\n")).collect();
    let args = ["-P", "-b", &flumen.bootstrap(), "-t", topic, "-p", partition];
    feed("kcat", &mut kcat(&args), input.as_bytes());
}

#[test]
fn topics() {
    let flumen = Flumen::start("");
    let ask = |words: &str| tool(&flumen, TOPICS, words);
    assert!(ask("--create --topic plain --partitions 2").contains("Created topic plain."));
    ask("--create --topic plain --if-not-exists --partitions 9");
    ask("--create --topic special --replica-assignment 1,1 --config retention.ms=3600000");
    assert_eq!(lines(&ask("--list --exclude-internal")), ["plain", "special"]);
    let overridden = ask("--describe --topics-with-overrides --exclude-internal");
    let overridden = lines(&overridden);
    let row =
        overridden.iter().find(|row| row.starts_with("Topic: special")).expect("the one with a setting");
    assert!(row.contains("PartitionCount: 2 ReplicationFactor: 1"), "{row}");
    assert!(row.ends_with("retention.ms=3600000"), "{row}");
    ask("--alter --topic plain --partitions 3");
    let described = lines(&ask("--describe --topic plain"));
    let rows = described.iter().filter(|row| row.contains("Partition: "));
    let places: Vec<&str> = rows.map(|row| row.split(" Partition: ").nth(1).expect("a partition")).collect();
    let place = |n| format!("{n} Leader: 1 Replicas: 1 Isr: 1 Elr: LastKnownElr:");
    assert_eq!(places, [place(0), place(1), place(2)]);
    for trouble in ["--under-replicated-partitions", "--unavailable-partitions", "--under-min-isr-partitions"]
    {
        assert_eq!(lines(&ask(&format!("--describe {trouble}"))), [""; 0], "{trouble}");
    }
    ask("--delete --topic plain");
    assert_eq!(lines(&ask("--list --exclude-internal")), ["special"]);
}

#[test]
fn console_producer_and_consumer_with_headers_and_tombstones() {
    let flumen = Flumen::start("[topics.shelf]\npartitions = 1\n");
    let broker = flumen.bootstrap();
    let mut args = vec!["--bootstrap-server", &broker, "--topic", "shelf", "--compression-codec", "lz4"];
    for property in ["parse.key=true", "parse.headers=true", "null.marker=NONE", "ignore.error=false"] {
        args.extend(["--reader-property", property]);
    }
    let input = "a:1,b:2\tk1\tv1\na:3\tk2\tNONE\n:\tk1\tv2\n".replace(":\t", "c:\t");
    feed("console producer", &mut java(PRODUCER, &args), input.as_bytes());
    let mut words = "--topic shelf --from-beginning --max-messages 3 --timeout-ms 60000".to_owned();
    for property in ["key", "headers", "partition", "offset"] {
        words.push_str(&format!(" --formatter-property print.{property}=true"));
    }
    let said = lines(&tool(&flumen, CONSUMER, &words));
    let expected = ["a:1,b:2 k1 v1", "a:3 k2 null", "c: k1 v2"];
    let expected = expected.iter().enumerate().map(|(at, rest)| format!("Partition:0 Offset:{at} {rest}"));
    assert_eq!(said, expected.collect::<Vec<_>>());
    let one = "--topic shelf --partition 0 --offset 2 --max-messages 1 --timeout-ms 60000";
    assert_eq!(lines(&tool(&flumen, CONSUMER, one)), ["v2"]);
}

/// The offsets by partition that a reset came to.
fn reset(flumen: &Flumen, group: &str, how: &str) -> Vec<u64> {
    let said = tool(flumen, GROUPS, &format!("--reset-offsets --group {group} --execute {how}"));
    let rows = said.lines().filter(|line| line.starts_with(group));
    let cells = rows
        .map(|line| line.split_whitespace().skip(2).map(|cell| cell.parse().expect("a number")).collect());
    let offsets: BTreeMap<u64, u64> = cells.map(|row: Vec<u64>| (row[0], row[1])).collect();
    assert!(!offsets.is_empty(), "{how}: {said}");
    offsets.into_values().collect()
}

/// What is committed, and the lag, by partition.
fn described(flumen: &Flumen, group: &str) -> Vec<(String, String)> {
    let said = tool(flumen, GROUPS, &format!("--describe --group {group}"));
    let rows = said.lines().filter(|line| line.starts_with(group));
    let mut rows: Vec<Vec<&str>> = rows.map(|line| line.split_whitespace().collect()).collect();
    rows.sort();
    rows.iter().map(|row| (row[3].to_owned(), row[5].to_owned())).collect()
}

#[test]
fn consumer_groups_are_reset_in_every_way() {
    let flumen = Flumen::start("[topics.parts]\npartitions = 2\n");
    produce(&flumen, "parts", "0", 10);
    produce(&flumen, "parts", "1", 20);
    let start = "--topic parts --from-beginning --max-messages 30 --timeout-ms 60000 --group readers";
    tool(&flumen, CONSUMER, start);
    assert_eq!(described(&flumen, "readers"), [("10".into(), "0".into()), ("20".into(), "0".into())]);
    let dry = tool(&flumen, GROUPS, "--reset-offsets --group readers --topic parts --to-earliest --dry-run");
    assert_eq!(
        dry.lines().filter(|line| line.ends_with('0') && line.starts_with("readers")).count(),
        2,
        "{dry}"
    );
    let file = flumen.path("plan.csv");
    std::fs::write(&file, "parts,0,7\nparts,1,8\n").expect("the plan");
    // Each stands on what the one before it left, which for the first is the end.
    let ways = [
        ("--topic parts --to-current", vec![10, 20]),
        ("--topic parts --shift-by -3", vec![7, 17]),
        ("--topic parts --to-earliest", vec![0, 0]),
        ("--topic parts --to-latest", vec![10, 20]),
        ("--topic parts:1 --to-offset 5", vec![5]),
        ("--topic parts --to-datetime 2020-01-01T00:00:00.000", vec![0, 0]),
        ("--topic parts --to-datetime 2099-01-01T00:00:00.000", vec![10, 20]),
        ("--topic parts --by-duration P1D", vec![0, 0]),
        ("--all-topics --shift-by 1000", vec![10, 20]),
        (&format!("--from-file {}", file.display()), vec![7, 8]),
    ];
    for (how, expected) in ways {
        assert_eq!(reset(&flumen, "readers", how), expected, "{how}");
    }
    assert_eq!(described(&flumen, "readers"), [("7".into(), "3".into()), ("8".into(), "12".into())]);
    // A group that was not there begins with a reset.
    assert_eq!(reset(&flumen, "newcomers", "--topic parts:0 --to-offset 4"), [4]);
    let deleted = tool(&flumen, GROUPS, "--delete-offsets --group readers --topic parts:0");
    assert!(lines(&deleted).contains(&"parts 0 Successful".to_owned()), "{deleted}");
    assert_eq!(described(&flumen, "readers"), [("8".into(), "12".into())]);
    let listed = rows(&tool(&flumen, "org.apache.kafka.tools.GroupsCommand", "--list"));
    assert_eq!(listed, ["newcomers Classic", "readers Classic consumer"]);
    let states = rows(&tool(&flumen, GROUPS, "--list --state Empty --type classic"));
    assert_eq!(states, ["newcomers Classic Empty", "readers Classic Empty"]);
    tool(&flumen, GROUPS, "--delete --all-groups");
    assert_eq!(lines(&tool(&flumen, GROUPS, "--list")), [""; 0]);
}

#[test]
fn get_offsets_and_delete_records() {
    let flumen = Flumen::start("[topics.parts]\npartitions = 2\n");
    produce(&flumen, "parts", "0", 10);
    produce(&flumen, "parts", "1", 20);
    let offsets = |words: &str| lines(&tool(&flumen, OFFSETS, words));
    for (time, expected) in [
        ("latest", ["parts:0:10", "parts:1:20"]),
        ("earliest", ["parts:0:0", "parts:1:0"]),
        ("earliest-local", ["parts:0:0", "parts:1:0"]),
        ("0", ["parts:0:0", "parts:1:0"]),
    ] {
        assert_eq!(offsets(&format!("--topic parts --time {time}")), expected, "{time}");
    }
    let newest = offsets("--topic-partitions par.*:1 --time max-timestamp");
    assert!(newest.len() == 1 && newest[0].starts_with("parts:1:"), "{newest:?}");
    let file = flumen.path("cut.json");
    let plan = r#"{"partitions":[{"topic":"parts","partition":0,"offset":4},
                                 {"topic":"parts","partition":1,"offset":-1}],"version":1}"#;
    std::fs::write(&file, plan).expect("the plan");
    let said = tool(
        &flumen,
        "org.apache.kafka.tools.DeleteRecordsCommand",
        &format!("--offset-json-file {}", file.display()),
    );
    let mut said: Vec<String> =
        lines(&said).into_iter().filter(|line| line.starts_with("partition:")).collect();
    said.sort();
    assert_eq!(said, ["partition: parts-0 low_watermark: 4", "partition: parts-1 low_watermark: 20"]);
    assert_eq!(offsets("--topic parts --time earliest"), ["parts:0:4", "parts:1:20"]);
    let left = "--topic parts --from-beginning --max-messages 6 --timeout-ms 60000";
    assert_eq!(lines(&tool(&flumen, CONSUMER, left)), ["4", "5", "6", "7", "8", "9"]);
}

#[test]
fn what_the_broker_is() {
    let flumen = Flumen::start("[topics.here]\npartitions = 1\n");
    let said = tool(&flumen, "org.apache.kafka.tools.BrokerApiVersionsCommand", "");
    assert!(said.starts_with(&format!("{} (id: 1 rack: null", flumen.bootstrap())), "{said}");
    let apis = lines(&said);
    for api in ["Produce(0): 0 to 13", "Fetch(1): 0 to 18", "Metadata(3): 0 to 13", "ApiVersions(18): 0 to 4"]
    {
        assert!(apis.iter().any(|line| line.starts_with(api)), "{api} in {said}");
    }
    let features = tool(&flumen, "org.apache.kafka.tools.FeatureCommand", "describe");
    let group = lines(&features).into_iter().find(|line| line.starts_with("Feature: group.version"));
    let group = group.unwrap_or_else(|| panic!("{features}"));
    let level = "SupportedMinVersion: 0 SupportedMaxVersion: 1 FinalizedVersionLevel: 1";
    assert!(group.contains(level), "{group}");
    let broker = flumen.bootstrap();
    let cluster = |word| {
        let class = "org.apache.kafka.tools.ClusterTool";
        stdout(word, &mut java(class, &[word, "--bootstrap-server", &broker]))
    };
    let id = lines(&cluster("cluster-id"))[0].clone();
    assert!(id.strip_prefix("Cluster ID: ").is_some_and(|id| id.len() == 22), "{id}");
    let port = broker.split(':').nth(1).expect("a port");
    let endpoints = lines(&cluster("list-endpoints"));
    assert_eq!(endpoints[1..], [format!("1 127.0.0.1 {port} null unfenced broker")]);
}

#[test]
fn performance_tools_write_and_read_what_they_were_told() {
    let flumen = Flumen::start("[topics.measured]\npartitions = 1\n");
    let broker = flumen.bootstrap();
    let produce = "--topic measured --num-records 5000 --record-size 200 --throughput -1";
    let said = tool(&flumen, "org.apache.kafka.tools.ProducerPerformance", produce);
    assert!(said.contains("5000 records sent"), "{said}");
    let transactional = format!("{produce} --transactional-id perf --transaction-duration-ms 100");
    let said = tool(&flumen, "org.apache.kafka.tools.ProducerPerformance", &transactional);
    assert!(said.contains("5000 records sent"), "{said}");
    let consume = "--topic measured --num-records 10000 --timeout 60000 --hide-header";
    let said = tool(&flumen, "org.apache.kafka.tools.ConsumerPerformance", consume);
    let cells: Vec<&str> = said.trim().split(", ").collect();
    // 10,000 records of 200 bytes, in MB.
    assert_eq!((cells[2], cells[4]), ("1.9073", "10000"), "{said}");
    let latency = "--topic measured --num-records 20 --producer-acks 1 --record-size 20";
    let said = tool(&flumen, "org.apache.kafka.tools.EndToEndLatency", latency);
    assert!(said.contains("Avg latency"), "{said}");
    let verifiable = "--topic verified --max-messages 50 --acks -1";
    let said = tool(&flumen, "org.apache.kafka.tools.VerifiableProducer", verifiable);
    let sent = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let sent: Vec<_> = sent.filter(|event| event["name"] == "producer_send_success").collect();
    let offsets: Vec<u64> = sent.iter().filter_map(|event| event["offset"].as_u64()).collect();
    assert_eq!(offsets, (0..50).collect::<Vec<_>>(), "{said}");
    let read = ["-C", "-q", "-e", "-b", &broker, "-t", "verified"];
    let expected: String = (0..50).map(|n| format!("{n}\n")).collect();
    assert_eq!(stdout("kcat", &mut kcat(&read)), expected);
}

#[test]
fn transactions_are_listed_and_described() {
    let flumen = Flumen::start("[topics.measured]\npartitions = 1\n");
    let produce =
        "--topic measured --num-records 100 --record-size 20 --throughput -1 --transactional-id told";
    tool(&flumen, "org.apache.kafka.tools.ProducerPerformance", produce);
    let listed = lines(&tool(&flumen, TRANSACTIONS, "list"));
    assert_eq!(listed[0], "TransactionalId Coordinator ProducerId TransactionState");
    let row: Vec<&str> = listed[1].split(' ').collect();
    assert_eq!((row[0], row[1], row[3]), ("told", "1", "CompleteCommit"), "{listed:?}");
    let described = lines(&tool(&flumen, TRANSACTIONS, "describe --transactional-id told"));
    let cells: Vec<&str> = described[1].split(' ').collect();
    assert_eq!((cells[0], cells[1], cells[2]), ("1", "told", row[2]), "{described:?}");
    assert!(cells.contains(&"CompleteCommit"), "{described:?}");
    let hanging = lines(&tool(&flumen, TRANSACTIONS, "find-hanging --broker-id 1"));
    assert_eq!(hanging.len(), 1, "a header and nothing below it: {hanging:?}");
}
