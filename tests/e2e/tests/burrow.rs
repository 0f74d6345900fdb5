//! Burrow, which knows groups by reading `__consumer_offsets` itself, record by record.
//!
//! Its module is not served by every Go proxy, so its program is named by the person who runs this:
//! `BURROW=/path/to/burrow tests/run -p flumen-e2e --test burrow -- --ignored`.

use std::path::Path;
use std::process::Command;

use flumen_harness::clients::{python, python_command};
use flumen_harness::process::Process;
use flumen_harness::{Flumen, port, wait};
use serde_json::Value;

const PRODUCE: &str = include_str!("../scripts/produce.py");
const CONSUME: &str = include_str!("../scripts/consume.py");
const MEMBER: &str = include_str!("../scripts/protocol_member.py");

fn burrow(flumen: &Flumen, port: u16) -> Process {
    let program = std::env::var_os("BURROW").expect("BURROW names the program: see the head of this file");
    let config = format!(
        "[general]\npidfile=\"{dir}/burrow.pid\"\n[logging]\nlevel=\"info\"\n\
         [client-profile.all]\nclient-id=\"burrow\"\nkafka-version=\"2.8.0\"\n\
         [cluster.local]\nclass-name=\"kafka\"\nservers=[\"{broker}\"]\nclient-profile=\"all\"\n\
         topic-refresh=1\noffset-refresh=1\n\
         [consumer.local]\nclass-name=\"kafka\"\ncluster=\"local\"\nservers=[\"{broker}\"]\nclient-profile=\"all\"\n\
         [storage.all]\nclass-name=\"inmemory\"\nintervals=3\nmin-distance=0\n\
         [evaluator.all]\nclass-name=\"caching\"\nexpire-cache=1\n\
         [httpserver.all]\naddress=\"127.0.0.1:{port}\"\n",
        dir = flumen.path("").display(),
        broker = flumen.bootstrap(),
    );
    std::fs::write(flumen.path("burrow.toml"), config).expect("the settings");
    let mut command = Command::new(program);
    command.arg("--config-dir").arg(flumen.path(""));
    Process::start("Burrow", command, Path::new(&flumen.path("burrow.log")))
}

fn get(port: u16, path: &str) -> Result<Value, String> {
    let url = format!("http://127.0.0.1:{port}/v3/kafka/local/{path}");
    let mut answer = ureq::get(url).call().map_err(|e| e.to_string())?;
    answer.body_mut().read_json().map_err(|e| e.to_string())
}

/// Each partition of a group: topic, partition, the last commit's offset, the lag.
fn partitions(port: u16, group: &str) -> Result<Vec<(String, u64, u64, u64)>, String> {
    let said = get(port, &format!("consumer/{group}/lag"))?;
    let partitions = said["status"]["partitions"].as_array().ok_or_else(|| said.to_string())?;
    let row = |one: &Value| {
        let number = |field: &Value| field.as_u64().unwrap_or(u64::MAX);
        let (end, lag) = (number(&one["end"]["offset"]), number(&one["current_lag"]));
        (one["topic"].as_str().unwrap_or_default().to_owned(), number(&one["partition"]), end, lag)
    };
    let mut rows: Vec<_> = partitions.iter().map(row).collect();
    rows.sort();
    Ok(rows)
}

#[test]
#[ignore = "wants Burrow's program: see the head of this file"]
fn burrow_reports_the_lag_of_groups_of_both_protocols() {
    let flumen = Flumen::start("[topics.work]\npartitions = 1\n");
    let broker = flumen.bootstrap();
    let port = port::free();
    let burrow = burrow(&flumen, port);
    wait::until("Burrow to know the topic", || {
        let topics = get(port, "topic")?;
        let known = topics["topics"].as_array().is_some_and(|all| all.contains(&"work".into()));
        if known { Ok(()) } else { Err(format!("{topics}\n{}", burrow.tail())) }
    });
    python("produce", PRODUCE, &["confluent", &broker, "work", "50", "none"]);
    python("consume", CONSUME, &["confluent", &broker, "work", "40", "leavers"]);
    let log = flumen.path("member.log");
    let mut member = python_command(MEMBER, &[&broker, "work", "members", "consumer"]);
    member.env("PYTHONUNBUFFERED", "1");
    let mut member = Process::start("member", member, Path::new(&log));
    wait::until("the member to have read", || match member.log().matches("read ").count() {
        50 => Ok(()),
        other => Err(format!("{other}")),
    });
    member.signal("TERM");
    member.wait_within(wait::PATIENCE);
    python("produce", PRODUCE, &["confluent", &broker, "work", "7", "none"]);
    for (group, end, lag) in [("leavers", 40, 17), ("members", 50, 7)] {
        wait::until(&format!("{group} to lag by {lag}"), || {
            let rows = partitions(port, group)?;
            match rows.as_slice() {
                [(topic, 0, at, behind)] if topic == "work" && (*at, *behind) == (end, lag) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
    let groups = get(port, "consumer").expect("the groups");
    let mut groups: Vec<&str> =
        groups["consumers"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    groups.retain(|group| !group.starts_with("burrow-"));
    groups.sort_unstable();
    assert_eq!(groups, ["leavers", "members"]);
}
