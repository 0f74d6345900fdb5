//! A data directory that Apache Kafka 4.3 or 3.9 wrote, after a clean stop and after a kill: Flumen serves its topics
//! with their settings, its offsets, its groups and its transactions. And the way back.

use std::collections::BTreeSet;
use std::path::Path;

use flumen_harness::clients::{java, kcat, python};
use flumen_harness::kafka::Release;
use flumen_harness::process::stdout;
use flumen_harness::{Flumen, Kafka};

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

fn consume(bootstrap: &str, topic: &str, count: usize, group: &str, isolation: &str) -> BTreeSet<String> {
    let script = include_str!("../scripts/consume.py");
    let count = count.to_string();
    let said = python(topic, script, &["confluent", bootstrap, topic, &count, group, isolation]);
    let value = |line: &str| {
        let record: serde_json::Value = serde_json::from_str(line).expect("JSON");
        record["value"].as_str().expect("a value").to_owned()
    };
    said.lines().map(value).collect()
}

fn topics(bootstrap: &str, args: &[&str]) -> String {
    let args = [&["--bootstrap-server", bootstrap], args].concat();
    stdout("topics", &mut java("org.apache.kafka.tools.TopicCommand", &args))
}

/// All that is to be found again, and where everything ends.
fn fill(bootstrap: &str) -> String {
    let create = ["--create", "--topic", "orders", "--partitions", "3"];
    let settings = ["--config", "retention.ms=7200000", "--config", "cleanup.policy=compact"];
    topics(bootstrap, &[&create[..], &settings].concat());
    topics(bootstrap, &["--create", "--topic", "gone"]);
    topics(bootstrap, &["--delete", "--topic", "gone"]);
    for codec in CODECS {
        let produce = include_str!("../scripts/produce.py");
        python("produce", produce, &["confluent", bootstrap, "orders", "100", codec]);
    }
    let transactions = include_str!("../scripts/transactions.py");
    python("transactions", transactions, &[bootstrap, "ledger", "10", "20"]);
    // A group that has read the first four of the ten, of 20 records and a marker each.
    let group = ["--bootstrap-server", bootstrap, "--group", "readers", "--topic", "ledger"];
    let reset = [&group[..], &["--reset-offsets", "--to-offset", "84", "--execute"]].concat();
    stdout("groups", &mut java("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", &reset));
    ends(bootstrap)
}

fn ends(bootstrap: &str) -> String {
    let ends = ["--bootstrap-server", bootstrap, "--topic", "orders|ledger"];
    let said = stdout("offsets", &mut java("org.apache.kafka.tools.GetOffsetShell", &ends));
    let lines: BTreeSet<&str> = said.lines().filter(|line| line.contains(':')).collect();
    lines.into_iter().collect::<Vec<_>>().join("\n")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder of Kafka's") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy(&from, &to),
            false => std::fs::copy(&from, &to).map(|_| ()).expect("a copy"),
        }
    }
}

fn served(release: Release, end: impl FnOnce(&mut Kafka)) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = Kafka::start_release(release, folder.path(), "");
    let ends_there = fill(&kafka.bootstrap());
    end(&mut kafka);

    let mut flumen = Flumen::prepare("");
    copy(&kafka.data(), &flumen.path("data"));
    flumen.up();
    let broker = flumen.bootstrap();
    assert_eq!(ends(&broker), ends_there, "every partition ends where it ended");
    let listed = topics(&broker, &["--list"]);
    assert!(!listed.lines().any(|topic| topic == "gone"), "{listed}");
    let described = topics(&broker, &["--describe", "--topic", "orders"]);
    assert!(described.contains("PartitionCount: 3"), "{described}");
    for setting in ["retention.ms=7200000", "cleanup.policy=compact"] {
        assert!(described.contains(setting), "{setting}: {described}");
    }
    let orders = consume(&broker, "orders", 500, "new", "read_committed");
    assert_eq!(orders.len(), 100, "five times the same hundred");
    let committed: BTreeSet<String> =
        (0..10).step_by(2).flat_map(|t| (0..20).map(move |i| format!("commit-{t}-{i}"))).collect();
    assert_eq!(consume(&broker, "ledger", 100, "others", "read_committed"), committed);
    // The group goes on where it was: 60 are left of 100.
    let left = consume(&broker, "ledger", 60, "readers", "read_committed");
    assert!(left.iter().all(|value| !value.starts_with("commit-0") && !value.starts_with("commit-2")));
    // And so does the transactional producer, under a new epoch.
    let transactions = include_str!("../scripts/transactions.py");
    python("transactions", transactions, &[&broker, "ledger", "2", "5"]);
    let seen = consume(&broker, "ledger", 105, "third", "read_committed");
    assert!(seen.iter().all(|value| value.starts_with("commit-")), "{seen:?}");
    // It is ours from now on.
    flumen.kill();
    flumen.up();
    let read = ["-C", "-q", "-e", "-b", &broker, "-t", "orders", "-o", "beginning", "-f", "%s\n"];
    assert_eq!(stdout("kcat", &mut kcat(&read)).lines().count(), 500);
}

#[test]
fn what_kafka_closed_is_served() {
    served(Release::V4_3, Kafka::stop);
}

#[test]
fn what_kafka_left_when_it_was_killed_is_served() {
    served(Release::V4_3, Kafka::kill);
}

#[test]
fn what_kafka_3_9_closed_is_served() {
    served(Release::V3_9, Kafka::stop);
}

#[test]
fn what_kafka_3_9_left_when_it_was_killed_is_served() {
    served(Release::V3_9, Kafka::kill);
}

#[test]
fn a_directory_that_kafka_uses_is_read_and_not_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut kafka = Kafka::start(folder.path());
    fill(&kafka.bootstrap());
    let flumen = Flumen::prepare("");
    let data = kafka.data().display().to_string();
    let text =
        format!("[broker]\ndata.dir = \"{data}\"\nlisteners = [\"PLAINTEXT://127.0.0.1:0\"]\nhttp = \"\"\n");
    std::fs::write(flumen.config(), text).expect("a file");
    let run = |args: &[&str]| {
        let output = flumen.command(args).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run(&["log", "verify", &data]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("a broker uses the directory"), "{said}");
    for args in [&["run", "--config", "flumen.toml"][..], &["log", "repair", "--yes", &data]] {
        let (code, said) = run(args);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("in use by another process"), "{said}");
    }
    kafka.stop();
    let (code, said) = run(&["log", "verify", &data]);
    assert_eq!(code, Some(0), "all that Kafka wrote is as it should be: {said}");
    assert!(said.contains(" 0 problems") && !said.contains("uses the directory"), "{said}");
}

#[test]
fn kafka_starts_on_a_directory_of_ours_and_we_take_it_back() {
    let mut flumen = Flumen::start("");
    let there = fill(&flumen.bootstrap());
    flumen.kill();
    let told = flumen.cli(&["adopt", "data", "--to-kafka"]);
    assert!(told.contains("ready for Kafka"), "{told}");

    let mut kafka = Kafka::start_on(&flumen.path("data"));
    let broker = kafka.bootstrap();
    assert_eq!(ends(&broker), there, "every partition ends where it ended");
    let described = topics(&broker, &["--describe", "--topic", "orders"]);
    for fact in ["PartitionCount: 3", "retention.ms=7200000", "cleanup.policy=compact"] {
        assert!(described.contains(fact), "{fact}: {described}");
    }
    assert_eq!(consume(&broker, "orders", 500, "new", "read_committed").len(), 100);
    let left = consume(&broker, "ledger", 60, "readers", "read_committed");
    assert!(left.iter().all(|value| value.starts_with("commit-") && !value.starts_with("commit-0")));
    let transactions = include_str!("../scripts/transactions.py");
    python("transactions", transactions, &[&broker, "ledger", "2", "5"]);
    topics(&broker, &["--create", "--topic", "made-by-kafka"]);
    let there = ends(&broker);
    kafka.stop();

    flumen.up();
    let broker = flumen.bootstrap();
    assert_eq!(ends(&broker), there);
    assert!(topics(&broker, &["--list"]).contains("made-by-kafka"));
    // 105 records; the last five say what five before them said.
    assert_eq!(consume(&broker, "ledger", 105, "back", "read_committed").len(), 100);
}
