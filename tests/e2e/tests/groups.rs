//! Consumer groups as users see them: members come, go, and die.

use std::path::Path;

use flumen_harness::clients::{java, python, python_command};
use flumen_harness::process::{Process, stdout};
use flumen_harness::{Flumen, wait};

const PRODUCE: &str = include_str!("../scripts/produce.py");
const MEMBER: &str = include_str!("../scripts/member.py");

fn member(flumen: &Flumen, name: &str) -> Process {
    let log = flumen.path(format!("{name}.log"));
    let command = python_command(MEMBER, &[&flumen.bootstrap(), "work", "workers"]);
    Process::start(name, command, Path::new(&log))
}

/// The partitions of the last assignment that a member printed.
fn assigned(member: &Process) -> String {
    member
        .log()
        .lines()
        .rev()
        .find_map(|l| l.strip_prefix("assigned ").map(str::to_owned))
        .unwrap_or_default()
}

#[test]
fn a_group_of_two_rebalances_when_one_is_killed() {
    let flumen = Flumen::start("[topics.work]\npartitions = 4\n");
    python("produce", PRODUCE, &["confluent", &flumen.bootstrap(), "work", "100", "none"]);
    let first = member(&flumen, "first");
    wait::until("the first member to have all", || match assigned(&first).as_str() {
        "[0, 1, 2, 3]" => Ok(()),
        other => Err(other.to_owned()),
    });
    let mut second = member(&flumen, "second");
    wait::until("both to share", || match (assigned(&first).len(), assigned(&second).len()) {
        (6, 6) => Ok(()),
        other => Err(format!("{other:?}: {} / {}", assigned(&first), assigned(&second))),
    });
    second.kill();
    wait::until("the first to have all again", || match assigned(&first).as_str() {
        "[0, 1, 2, 3]" => Ok(()),
        other => Err(other.to_owned()),
    });
    python("produce", PRODUCE, &["confluent", &flumen.bootstrap(), "work", "100", "none"]);
    wait::until("all 200 records to be read", || {
        let read: std::collections::BTreeSet<String> = [first.log(), second.log()]
            .iter()
            .flat_map(|log| {
                log.lines().filter(|l| l.starts_with("read ")).map(str::to_owned).collect::<Vec<_>>()
            })
            .collect();
        if read.len() == 200 { Ok(()) } else { Err(format!("{} distinct", read.len())) }
    });
}

#[test]
fn lag_is_what_kafkas_own_tool_says() {
    let flumen = Flumen::start("");
    let broker = flumen.bootstrap();
    python("produce", PRODUCE, &["confluent", &broker, "lagging", "50", "lz4"]);
    let consume = include_str!("../scripts/consume.py");
    python("consume", consume, &["confluent", &broker, "lagging", "50", "readers"]);
    python("produce", PRODUCE, &["confluent", &broker, "lagging", "7", "none"]);
    let tool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let said = stdout(
        "describe",
        &mut java(tool, &["--bootstrap-server", &broker, "--describe", "--group", "readers"]),
    );
    let row = said.lines().find(|l| l.contains("lagging")).unwrap_or_else(|| panic!("no row in {said}"));
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells[3..6], ["50", "57", "7"], "{said}");
}
