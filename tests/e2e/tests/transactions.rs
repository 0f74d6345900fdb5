//! Transactions by a real client: what is aborted is never seen, what is committed is seen once.

use std::collections::BTreeSet;

use flumen_harness::Flumen;
use flumen_harness::clients::python;

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
