//! Apache Kafka's own tools for operators, run as they are.

use std::process::Stdio;

use flumen_harness::Flumen;
use flumen_harness::clients::{feed, java, kcat, python_command};
use flumen_harness::process::stdout;
use flumen_harness::wait;

fn tool(flumen: &Flumen, class: &str, args: &[&str]) -> String {
    let broker = flumen.bootstrap();
    let args = [&["--bootstrap-server", &broker], args].concat();
    stdout(class, &mut java(class, &args))
}

fn produce(flumen: &Flumen, topic: &str, lines: &str) {
    feed("kcat", &mut kcat(&["-P", "-b", &flumen.bootstrap(), "-t", topic]), lines.as_bytes());
}

#[test]
fn log_dirs_tells_what_each_partition_takes() {
    let flumen = Flumen::start("[topics.sized]\npartitions = 2\n");
    produce(&flumen, "sized", "hello\n");
    let args = ["--describe", "--topic-list", "sized"];
    let said = tool(&flumen, "org.apache.kafka.tools.LogDirsCommand", &args);
    let json = said.lines().find(|line| line.starts_with('{')).expect("a document");
    let told: serde_json::Value = serde_json::from_str(json).expect("JSON");
    let dir = &told["brokers"][0]["logDirs"][0];
    assert_eq!(dir["error"], serde_json::Value::Null, "{said}");
    let partitions = dir["partitions"].as_array().expect("partitions");
    let sizes: u64 = partitions.iter().map(|p| p["size"].as_u64().expect("a size")).sum();
    assert!(partitions.len() == 2 && sizes > 60, "{said}");
}

#[test]
fn a_transaction_that_hangs_is_found_and_aborted() {
    let flumen = Flumen::start("[topics.held]\npartitions = 1\n");
    let script = include_str!("../scripts/open_transaction.py");
    let mut holder = python_command(script, &[&flumen.bootstrap(), "held"]);
    let mut holder =
        holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the producer starts");
    let transactions = "org.apache.kafka.tools.TransactionsCommand";
    let producers = ["describe-producers", "--topic", "held", "--partition", "0"];
    let mut start = String::new();
    wait::until("the open transaction to show", || {
        let said = tool(&flumen, transactions, &producers);
        let row = said.lines().nth(1).ok_or(&*said)?;
        start = row.split_whitespace().last().ok_or(&*said)?.to_string();
        if start == "None" { Err(said) } else { Ok(()) }
    });
    assert_eq!(start, "0");
    let listed = tool(&flumen, transactions, &["list"]);
    assert!(listed.contains("e2e-holder") && listed.contains("Ongoing"), "{listed}");
    let abort = ["abort", "--topic", "held", "--partition", "0", "--start-offset", "0"];
    tool(&flumen, transactions, &abort);
    let said = tool(&flumen, transactions, &producers);
    assert!(said.contains("None"), "nothing is open any more: {said}");
    holder.kill().expect("the producer ends");
    holder.wait().expect("the producer has ended");
    produce(&flumen, "held", "after\n");
    let read =
        ["-C", "-q", "-e", "-b", &flumen.bootstrap(), "-t", "held", "-X", "isolation.level=read_committed"];
    assert_eq!(stdout("kcat", &mut kcat(&read)), "after\n");
}

#[test]
fn one_broker_answers_elections_and_reassignments_truthfully() {
    let flumen = Flumen::start("[topics.here]\npartitions = 1\n");
    let elect = ["--election-type", "preferred", "--topic", "here", "--partition", "0"];
    let said = tool(&flumen, "org.apache.kafka.tools.LeaderElectionCommand", &elect);
    assert!(said.contains("Valid replica already elected"), "{said}");
    let said = tool(&flumen, "org.apache.kafka.tools.reassign.ReassignPartitionsCommand", &["--list"]);
    assert!(said.contains("No partition reassignments found"), "{said}");
}

#[test]
fn features_are_told_turned_down_and_up() {
    let flumen = Flumen::start("");
    let features = |args: &[&str]| tool(&flumen, "org.apache.kafka.tools.FeatureCommand", args);
    let line = |name: &str| {
        let said = features(&["describe"]);
        let line = said.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name}: {said}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let share = line("share.version");
    assert!(
        share.contains("SupportedMinVersion: 0 SupportedMaxVersion: 1 FinalizedVersionLevel: 1"),
        "{share}"
    );
    assert!(line("metadata.version").contains("FinalizedVersionLevel: 4.3-IV0"));
    let down = ["downgrade", "--feature", "share.version=0"];
    let said = features(&[&down[..], &["--dry-run"]].concat());
    assert!(said.contains("share.version can be downgraded to 0."), "{said}");
    assert_eq!(line("share.version"), share);
    let said = features(&down);
    assert!(said.contains("share.version was downgraded to 0."), "{said}");
    assert!(line("share.version").contains("FinalizedVersionLevel: 0"));
    features(&["upgrade", "--feature", "share.version=1"]);
    assert!(line("share.version").contains("FinalizedVersionLevel: 1"));
}

#[test]
fn the_quorum_is_this_broker() {
    let flumen = Flumen::start("");
    let quorum =
        |what: &str| tool(&flumen, "org.apache.kafka.tools.MetadataQuorumCommand", &["describe", what]);
    let status = quorum("--status");
    let says =
        |line: &str| status.lines().any(|said| said.split_whitespace().collect::<Vec<_>>().join(" ") == line);
    assert!(says("LeaderId: 1") && says("MaxFollowerLag: 0") && says("CurrentObservers: []"), "{status}");
    let replication = quorum("--replication");
    let rows: Vec<_> = replication.lines().skip(1).collect();
    assert!(rows.len() == 1 && rows[0].contains("Leader"), "{replication}");
}
