//! Groups of the consumer protocol (KIP-848), with the clients that speak it: the broker assigns.

use std::collections::BTreeSet;
use std::path::Path;

use flumen_harness::clients::{java, python, python_command};
use flumen_harness::process::{Process, stdout};
use flumen_harness::{Flumen, wait};

const PRODUCE: &str = include_str!("../scripts/produce.py");
const MEMBER: &str = include_str!("../scripts/protocol_member.py");
const GROUPS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
const CONSOLE: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";

const BEAT: &str = "group.consumer.heartbeat.interval.ms = \"500ms\"\n";
/// Lets a test see a member expire.
const QUICK: &str = "group.consumer.session.timeout.ms = \"6s\"\n";

fn start() -> Flumen {
    start_with(QUICK)
}

fn start_with(session: &str) -> Flumen {
    let mut flumen = Flumen::prepare_with(&format!("{session}{BEAT}"), "[topics.work]\npartitions = 4\n");
    flumen.up();
    flumen
}

fn produce(flumen: &Flumen, topic: &str, count: &str) {
    python("produce", PRODUCE, &["confluent", &flumen.bootstrap(), topic, count, "none"]);
}

fn member(flumen: &Flumen, name: &str, topic: &str, protocol: &[&str]) -> Process {
    let log = flumen.path(format!("{name}.log"));
    let bootstrap = flumen.bootstrap();
    let args: Vec<&str> =
        [&bootstrap, topic, "workers"].into_iter().chain(protocol.iter().copied()).collect();
    Process::start(name, python_command(MEMBER, &args), Path::new(&log))
}

/// The partitions that a member said last that it has.
fn has(member: &Process) -> BTreeSet<String> {
    let log = member.log();
    let last = log.lines().rev().find_map(|line| line.strip_prefix("has"));
    last.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

/// How often a member has said what it has.
fn changes(member: &Process) -> usize {
    member.log().lines().filter(|line| line.starts_with("has")).count()
}

/// Waits until these members have all of a number of partitions, each the same number of them.
fn until_shared(members: &[&Process], partitions: usize) {
    wait::until("the members to share the topic", || {
        let shares: Vec<_> = members.iter().map(|member| has(member)).collect();
        let all: BTreeSet<_> = shares.iter().flatten().collect();
        let each = partitions / members.len();
        match all.len() == partitions && shares.iter().all(|share| share.len() == each) {
            true => Ok(()),
            false => Err(format!("{shares:?}")),
        }
    });
}

/// Waits until so many different records have been read by somebody.
fn until_read(members: &[&Process], count: usize) {
    wait::until("the records to be read", || {
        let logs: Vec<_> = members.iter().map(|member| member.log()).collect();
        let read: BTreeSet<_> =
            logs.iter().flat_map(|log| log.lines()).filter(|line| line.starts_with("read ")).collect();
        if read.len() == count { Ok(()) } else { Err(format!("{} distinct", read.len())) }
    });
}

fn described(flumen: &Flumen, more: &[&str]) -> String {
    let broker = flumen.bootstrap();
    let args = ["--bootstrap-server", &broker, "--describe", "--group", "workers"];
    stdout("describe", &mut java(GROUPS, &[&args[..], more].concat()))
}

#[test]
fn two_members_share_and_one_takes_over_when_the_other_is_killed() {
    let flumen = start();
    produce(&flumen, "work", "100");
    let first = member(&flumen, "first", "work", &["consumer"]);
    until_shared(&[&first], 4);
    let mut second = member(&flumen, "second", "work", &["consumer"]);
    until_shared(&[&first, &second], 4);
    let said = described(&flumen, &["--state"]);
    assert!(said.contains("uniform") && said.contains("Stable"), "{said}");
    second.kill();
    until_shared(&[&first], 4);
    produce(&flumen, "work", "100");
    until_read(&[&first, &second], 200);
}

#[test]
fn members_go_on_after_the_broker_was_killed() {
    let mut flumen = start();
    let first = member(&flumen, "first", "work", &["consumer"]);
    let second = member(&flumen, "second", "work", &["consumer"]);
    until_shared(&[&first, &second], 4);
    flumen.kill();
    flumen.up();
    produce(&flumen, "work", "100");
    until_read(&[&first, &second], 100);
    until_shared(&[&first, &second], 4);
}

#[test]
fn a_regular_expression_finds_topics_that_come_later() {
    let flumen = start();
    let first = member(&flumen, "first", "^work.*", &["consumer"]);
    until_shared(&[&first], 4);
    produce(&flumen, "work-more", "10");
    wait::until("the new topic to be consumed", || match has(&first) {
        has if has.contains("work-more/0") => Ok(()),
        has => Err(format!("{has:?}")),
    });
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    // Nobody expires while its next instance starts.
    let flumen = start_with("");
    let other = member(&flumen, "other", "work", &["consumer"]);
    let mut fixed = member(&flumen, "fixed", "work", &["consumer", "i1"]);
    until_shared(&[&other, &fixed], 4);
    let (had, before) = (has(&fixed), changes(&other));
    fixed.signal("TERM");
    fixed.wait_within(wait::PATIENCE);
    let again = member(&flumen, "again", "work", &["consumer", "i1"]);
    wait::until("it to have what it had", || match has(&again) {
        has if has == had => Ok(()),
        has => Err(format!("{has:?} instead of {had:?}")),
    });
    assert_eq!(changes(&other), before, "{}", other.log());
}

#[test]
fn an_application_goes_over_member_by_member_and_back() {
    let flumen = start();
    produce(&flumen, "work", "100");
    let old = member(&flumen, "old", "work", &["classic"]);
    until_shared(&[&old], 4);
    let mut new = member(&flumen, "new", "work", &["consumer"]);
    until_shared(&[&old, &new], 4);
    let said = described(&flumen, &["--members"]);
    assert_eq!(said.lines().filter(|line| line.starts_with("workers")).count(), 2, "{said}");
    new.signal("TERM");
    new.wait_within(wait::PATIENCE);
    until_shared(&[&old], 4);
    produce(&flumen, "work", "100");
    until_read(&[&old, &new], 200);
}

#[test]
fn the_java_console_consumer_reads_and_is_listed() {
    let flumen = start();
    let broker = flumen.bootstrap();
    produce(&flumen, "work", "100");
    let consume = [
        "--bootstrap-server",
        &broker,
        "--topic",
        "work",
        "--from-beginning",
        "--max-messages",
        "100",
        "--timeout-ms",
        "60000",
        "--group",
        "workers",
        "--consumer-property",
        "group.protocol=consumer",
    ];
    let said = stdout("console consumer", &mut java(CONSOLE, &consume));
    assert_eq!(said.lines().filter(|line| line.starts_with("confluent-")).count(), 100, "{said}");
    let listed = stdout(
        "list",
        &mut java(GROUPS, &["--bootstrap-server", &broker, "--list", "--type", "consumer", "--state"]),
    );
    assert!(
        listed.lines().any(|line| line.split_whitespace().eq(["workers", "Consumer", "Empty"])),
        "{listed}"
    );
    let lag: Vec<String> = described(&flumen, &[])
        .lines()
        .filter(|line| line.starts_with("workers"))
        .filter_map(|line| line.split_whitespace().nth(5).map(str::to_owned))
        .collect();
    assert_eq!(lag, ["0", "0", "0", "0"]);
    let gone = stdout(
        "delete",
        &mut java(GROUPS, &["--bootstrap-server", &broker, "--delete", "--group", "workers"]),
    );
    assert!(gone.contains("successful"), "{gone}");
}
