//! Transactions by real clients: what is aborted is never seen, what is committed is seen once; Java's in
//! version 2 (KIP-890).

use std::collections::BTreeSet;

use flumen_harness::clients::{feed, java, kcat, python};
use flumen_harness::process::stdout;
use flumen_harness::{Flumen, wait};

const CONSUME: &str = include_str!("../scripts/consume.py");

fn values(flumen: &Flumen, client: &str, topic: &str, count: usize, isolation: &str) -> Vec<String> {
    let group = format!("{client}-{isolation}-{topic}");
    let said =
        python(client, CONSUME, &[client, &flumen.bootstrap(), topic, &count.to_string(), &group, isolation]);
    let records = said.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).expect("JSON"));
    records.map(|r| r["value"].as_str().expect("a value").to_owned()).collect()
}

#[test]
fn aborted_records_are_never_seen_by_read_committed() {
    let mut flumen = Flumen::start("[topics.ledger]\npartitions = 2\n");
    let script = include_str!("../scripts/transactions.py");
    python("transactions", script, &[&flumen.bootstrap(), "ledger", "10", "20"]);
    for client in ["confluent", "kafka-python"] {
        let seen = values(&flumen, client, "ledger", 100, "read_committed");
        assert!(seen.iter().all(|v| v.starts_with("commit-")), "{client} saw an aborted record: {seen:?}");
        assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), 100, "{client}");
    }
    let all = values(&flumen, "confluent", "ledger", 200, "read_uncommitted");
    assert_eq!(all.iter().filter(|v| v.starts_with("abort-")).count(), 100);

    // The same after a kill: the aborted index and the producers' state come from the disk.
    flumen.kill();
    flumen.up();
    let seen = values(&flumen, "aiokafka", "ledger", 100, "read_committed");
    assert!(seen.iter().all(|v| v.starts_with("commit-")), "{seen:?}");
    python("transactions", script, &[&flumen.bootstrap(), "ledger", "2", "5"]);
}

#[test]
fn consume_transform_produce_copies_each_record_once() {
    let flumen = Flumen::start("[topics.plain]\npartitions = 2\n[topics.loud]\npartitions = 2\n");
    let produce = include_str!("../scripts/produce.py");
    python("produce", produce, &["confluent", &flumen.bootstrap(), "plain", "400", "zstd"]);
    let copy = include_str!("../scripts/copy_records.py");
    python("copy", copy, &[&flumen.bootstrap(), "plain", "loud", "400", "copiers"]);
    let seen = values(&flumen, "confluent", "loud", 400, "read_committed");
    let expected: BTreeSet<String> = (0..400).map(|i| format!("CONFLUENT-{i}")).collect();
    assert_eq!(seen.len(), 400);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
}

/// What `kafka-transactions describe` says of a transactional id, when its last transaction is over: the producer's
/// epoch and the state.
fn described(flumen: &Flumen, transactional_id: &str) -> (i16, String) {
    let broker = flumen.bootstrap();
    let args = ["--bootstrap-server", &broker, "describe", "--transactional-id", transactional_id];
    wait::until("the markers to be written", || {
        let mut tool = java("org.apache.kafka.tools.TransactionsCommand", &args);
        let said = stdout("kafka-transactions", &mut tool);
        let mut lines = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let (names, values) = (lines.next().expect("a head"), lines.next().expect("a row"));
        let column = |name| values[names.iter().position(|column| *column == name).expect("the column")];
        match column("TransactionState") {
            state if state.starts_with("Prepare") => Err(said.clone()),
            state => Ok((column("ProducerEpoch").parse().expect("an epoch"), state.to_string())),
        }
    })
}

/// Every segment of `__transaction_state`, as Kafka's own tool reads it.
fn transaction_log(flumen: &Flumen) -> String {
    let folders = std::fs::read_dir(flumen.path("data")).expect("the data directory");
    let folders = folders.map(|entry| entry.expect("an entry").path());
    let logs = folders.filter(|path| path.to_string_lossy().contains("__transaction_state-"));
    let logs = logs.map(|path| path.join("00000000000000000000.log").display().to_string());
    let logs = logs.collect::<Vec<_>>().join(",");
    let args = ["--transaction-log-decoder", "--files", &logs];
    stdout("DumpLogSegments", &mut java("org.apache.kafka.tools.DumpLogSegments", &args))
}

#[test]
fn javas_client_speaks_transactions_version_2() {
    let mut flumen = Flumen::start("[topics.from]\npartitions = 1\n[topics.to]\npartitions = 1\n");
    let lines: String = (0..200).map(|n| format!("{n}\n")).collect();
    feed("kcat", &mut kcat(&["-P", "-b", &flumen.bootstrap(), "-t", "from"]), lines.as_bytes());
    let copy = |flumen: &Flumen, count: &str| {
        let broker = flumen.bootstrap();
        let ids = ["--transactional-id", "copier", "--consumer-group", "copiers"];
        let topics = ["--input-topic", "from", "--input-partition", "0", "--output-topic", "to"];
        let sizes = ["--transaction-size", "10", "--max-messages", count];
        let args = [&["--broker-list", &broker], &ids[..], &topics, &sizes].concat();
        stdout("copier", &mut java("org.apache.kafka.tools.TransactionalMessageCopier", &args));
    };
    copy(&flumen, "100");
    // Ten transactions or more: with version 1 the epoch would be 0.
    let (epoch, state) = described(&flumen, "copier");
    assert!(epoch >= 10 && state == "CompleteCommit", "{epoch} {state}");

    flumen.kill();
    flumen.up();
    assert_eq!(described(&flumen, "copier"), (epoch, state));
    copy(&flumen, "100");
    let (later, _) = described(&flumen, "copier");
    assert!(later >= epoch + 10, "{later} after {epoch}");
    let seen = values(&flumen, "confluent", "to", 200, "read_committed");
    assert_eq!(seen, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());

    let said = transaction_log(&flumen);
    assert!(said.contains("\"clientTransactionVersion\":2"), "{said}");
    assert!(said.contains("\"previousProducerId\":"), "{said}");
}

#[test]
fn a_producer_that_measures_commits_what_it_sends() {
    let flumen = Flumen::start("[topics.measured]\npartitions = 3\n");
    let broker = flumen.bootstrap();
    let args = [
        "--topic",
        "measured",
        "--num-records",
        "5000",
        "--record-size",
        "100",
        "--throughput",
        "-1",
        "--bootstrap-server",
        &broker,
        "--transaction-duration-ms",
        "50",
        "--transactional-id",
        "measurer",
    ];
    let said =
        stdout("kafka-producer-perf-test", &mut java("org.apache.kafka.tools.ProducerPerformance", &args));
    assert!(said.contains("5000 records sent"), "{said}");
    let (epoch, state) = described(&flumen, "measurer");
    assert!(epoch >= 1 && state == "CompleteCommit", "{epoch} {state}");
    let read = [
        "-C",
        "-q",
        "-e",
        "-b",
        &broker,
        "-t",
        "measured",
        "-f",
        "%o\n",
        "-X",
        "isolation.level=read_committed",
    ];
    assert_eq!(stdout("kcat", &mut kcat(&read)).lines().count(), 5000);
}

#[test]
fn a_client_of_version_1_keeps_its_epoch() {
    let flumen = Flumen::start("[topics.first]\npartitions = 1\n");
    let script = include_str!("../scripts/aiokafka_transactions.py");
    python("aiokafka", script, &[&flumen.bootstrap(), "first", "6", "5"]);
    let seen = values(&flumen, "confluent", "first", 15, "read_committed");
    assert!(seen.len() == 15 && seen.iter().all(|v| v.starts_with("commit-")), "{seen:?}");
    assert_eq!(described(&flumen, "e2e-aiokafka"), (0, "CompleteAbort".to_string()));
}
