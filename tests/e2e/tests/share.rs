//! Share groups: many workers on one partition, each record with one of them at a time, until it is done.

use std::collections::{BTreeMap, BTreeSet};

use flumen_harness::clients::{feed, java, kcat, python};
use flumen_harness::process::{Process, stdout};
use flumen_harness::{Flumen, rounds, wait};

const WORKER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ShareWorker.java");
const TOPIC: &str = "[topics.jobs]\npartitions = 1\n";

/// What one process of workers said of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Got { count: u32 },
    Accepted,
}

#[derive(Clone, Debug)]
struct Line {
    at: u64,
    value: u32,
    told: Told,
}

struct Workers(Process);

impl Workers {
    fn start(flumen: &Flumen, name: &str, group: &str, count: u32, mode: &str, sleep_ms: u32) -> Workers {
        let (count, sleep_ms) = (count.to_string(), sleep_ms.to_string());
        let args = [&flumen.bootstrap(), "jobs", group, &count, mode, &sleep_ms];
        let log = flumen.path(format!("{name}.log"));
        Workers(Process::start(name, java(WORKER, &args), &log))
    }

    fn lines(&self) -> Vec<Line> {
        let log = self.0.log();
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().filter_map(parse).collect()
    }

    fn accepted(&self) -> Vec<u32> {
        of(&self.lines(), |told| *told == Told::Accepted)
    }

    fn got(&self) -> Vec<u32> {
        of(&self.lines(), |told| *told != Told::Accepted)
    }
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let at = words.next()?.parse().ok()?;
    let (what, value) = (words.next()?, words.next()?.parse().ok()?);
    let told = match what {
        "got" => Told::Got { count: words.next()?.parse().ok()? },
        "accepted" => Told::Accepted,
        _ => return None,
    };
    Some(Line { at, value, told })
}

fn of(lines: &[Line], wanted: impl Fn(&Told) -> bool) -> Vec<u32> {
    lines.iter().filter(|line| wanted(&line.told)).map(|line| line.value).collect()
}

fn produce(flumen: &Flumen, values: std::ops::Range<u32>) {
    let lines: String = values.map(|value| format!("{value}\n")).collect();
    feed("kcat", &mut kcat(&["-P", "-b", &flumen.bootstrap(), "-t", "jobs"]), lines.as_bytes());
}

fn tool(flumen: &Flumen, class: &str, args: &[&str]) -> String {
    let broker = flumen.bootstrap();
    stdout(class, &mut java(class, &[&["--bootstrap-server", &broker], args].concat()))
}

/// The group begins with the first record there is.
fn from_the_beginning(flumen: &Flumen, group: &str) {
    let alter = ["--alter", "--entity-type", "groups", "--entity-name", group, "--add-config"];
    let args = [&alter[..], &["share.auto.offset.reset=earliest"]].concat();
    tool(flumen, "kafka.admin.ConfigCommand", &args);
}

/// How many records the group has still to do, as the Java tool tells it.
fn lag(flumen: &Flumen, group: &str) -> Result<u64, String> {
    let said = tool(flumen, SHARE_GROUPS, &["--describe", "--offsets", "--group", group]);
    let row = said.lines().find(|line| line.split_whitespace().nth(1) == Some("jobs"));
    let lag = row.and_then(|row| row.split_whitespace().nth(4));
    lag.and_then(|lag| lag.parse().ok()).ok_or(said)
}

const SHARE_GROUPS: &str = "org.apache.kafka.tools.consumer.group.ShareGroupCommand";

fn until_all_is_done(flumen: &Flumen, group: &str) {
    wait::until("nothing to be left", || match lag(flumen, group)? {
        0 => Ok(()),
        left => Err(format!("{left} left")),
    });
}

/// A worker tells a moment after the broker has confirmed.
fn until_told(workers: &Workers) {
    wait::until("all that it got to be told as accepted", || {
        let accepted: BTreeSet<u32> = workers.accepted().into_iter().collect();
        let untold: Vec<u32> = workers.got().into_iter().filter(|value| !accepted.contains(value)).collect();
        if untold.is_empty() { Ok(()) } else { Err(format!("{untold:?}")) }
    });
}

/// No record came to anybody after its acceptance was confirmed, which happened once.
fn check_accepted_once(lines: &[Line]) -> BTreeSet<u32> {
    let mut accepted = BTreeMap::new();
    for line in lines.iter().filter(|line| line.told == Told::Accepted) {
        let former = accepted.insert(line.value, line.at);
        assert_eq!(former, None, "{} was accepted twice", line.value);
    }
    for line in lines.iter().filter(|line| line.told != Told::Accepted) {
        let done = accepted.get(&line.value).is_some_and(|at| *at < line.at);
        assert!(!done, "{} came again after it was accepted: {line:?}", line.value);
    }
    accepted.into_keys().collect()
}

#[test]
fn slow_workers_share_a_partition_and_one_that_is_killed_gives_back() {
    const COUNT: u32 = 600;
    let flumen = Flumen::start(TOPIC);
    from_the_beginning(&flumen, "slow");
    produce(&flumen, 0..COUNT);
    let mut doomed = Workers::start(&flumen, "doomed", "slow", 6, "accept", 20);
    let steady = Workers::start(&flumen, "steady", "slow", 6, "accept", 20);
    wait::until("both to have done something", || {
        let (doomed, steady) = (doomed.accepted().len(), steady.accepted().len());
        if doomed >= 40 && steady >= 20 { Ok(()) } else { Err(format!("{doomed} and {steady}")) }
    });
    doomed.0.kill();
    until_all_is_done(&flumen, "slow");
    until_told(&steady);

    let lines = [doomed.lines(), steady.lines()].concat();
    let accepted = check_accepted_once(&lines);
    // The dead may have been about to tell of what they had just accepted; nothing else may be missing.
    let theirs: BTreeSet<u32> = doomed.got().into_iter().collect();
    let lost: Vec<u32> = (0..COUNT).filter(|n| !accepted.contains(n) && !theirs.contains(n)).collect();
    assert!(lost.is_empty(), "never accepted: {lost:?}");
    let untold = (0..COUNT).filter(|n| !accepted.contains(n)).count();
    assert!(untold <= 6, "one for each worker at most: {untold}");
    let done: BTreeSet<u32> = doomed.accepted().into_iter().collect();
    let again: Vec<Line> = steady.lines().into_iter().filter(|l| theirs.contains(&l.value)).collect();
    assert!(!again.is_empty(), "somebody died with records in flight");
    for line in &again {
        assert!(!done.contains(&line.value), "{line:?}");
        assert!(matches!(line.told, Told::Accepted | Told::Got { count: 2 }), "{line:?}");
    }
}

#[test]
fn the_lock_of_a_worker_that_hangs_passes() {
    let brief = "group.share.record.lock.duration.ms = 4000\ngroup.share.min.record.lock.duration.ms = 1000";
    let mut flumen = Flumen::prepare_with(brief, TOPIC);
    flumen.up();
    from_the_beginning(&flumen, "hung");
    produce(&flumen, 0..20);
    let hung = Workers::start(&flumen, "hung", "hung", 1, "hold", 0);
    // As many as it takes at once.
    wait::until("it to have records", || match hung.got().len() {
        5 => Ok(()),
        count => Err(format!("{count}")),
    });
    hung.0.signal("STOP");
    let held: BTreeSet<u32> = hung.got().into_iter().collect();
    let next = Workers::start(&flumen, "next", "hung", 1, "accept", 0);
    until_all_is_done(&flumen, "hung");
    until_told(&next);
    hung.0.signal("CONT");
    let lines = next.lines();
    assert_eq!(check_accepted_once(&lines), (0..20).collect());
    for line in lines {
        let expected = Told::Got { count: if held.contains(&line.value) { 2 } else { 1 } };
        assert!(line.told == Told::Accepted || line.told == expected, "{line:?} of {held:?}");
    }
}

#[test]
fn what_is_released_comes_again_and_what_is_rejected_does_not() {
    let flumen = Flumen::start(TOPIC);
    from_the_beginning(&flumen, "choosy");
    produce(&flumen, 0..60);
    let workers = Workers::start(&flumen, "choosy", "choosy", 2, "choose", 1);
    wait::until("all to be accepted that are to be", || {
        let accepted = workers.accepted().len();
        if accepted >= 40 { Ok(()) } else { Err(format!("{accepted} accepted")) }
    });
    until_all_is_done(&flumen, "choosy");
    let lines = workers.lines();
    assert_eq!(check_accepted_once(&lines), (0..60).filter(|n| n % 3 != 0).collect());
    for value in 0..60_u32 {
        let counts: Vec<&Told> = lines
            .iter()
            .filter(|line| line.value == value && line.told != Told::Accepted)
            .map(|line| &line.told)
            .collect();
        let is_released = value % 3 != 0 && value % 2 == 0;
        let expected: &[&Told] = match is_released {
            true => &[&Told::Got { count: 1 }, &Told::Got { count: 2 }],
            false => &[&Told::Got { count: 1 }],
        };
        assert_eq!(counts, expected, "{value}");
    }
}

/// Rounds: `FLUMEN_CRASH_ROUNDS`, 4 when not set.
#[test]
fn what_was_accepted_stays_so_when_the_broker_is_killed() {
    let rounds = rounds(4);
    let mut flumen = Flumen::start(TOPIC);
    from_the_beginning(&flumen, "crashing");
    let workers = Workers::start(&flumen, "crashing", "crashing", 6, "accept", 5);
    let mut count = 0;
    for round in 0..rounds {
        produce(&flumen, count..count + 200);
        count += 200;
        let before = workers.accepted().len();
        wait::until("some to be accepted", || {
            let more = workers.accepted().len() - before;
            if more >= 60 { Ok(()) } else { Err(format!("{more} in round {round}")) }
        });
        flumen.kill();
        flumen.up();
    }
    until_all_is_done(&flumen, "crashing");
    // A worker is never told of what it accepted just before a kill; the record does not come again then.
    wait::until("all but one for each worker and kill to be told as accepted", || {
        let accepted: BTreeSet<u32> = workers.accepted().into_iter().collect();
        let untold = count - accepted.len() as u32;
        if untold <= 6 * rounds { Ok(()) } else { Err(format!("{untold} are not")) }
    });
    check_accepted_once(&workers.lines());
    let got: BTreeSet<u32> = workers.got().into_iter().collect();
    let lost: Vec<u32> = (0..count).filter(|n| !got.contains(n)).collect();
    assert!(lost.is_empty(), "never delivered: {lost:?}");
}

#[test]
fn kafkas_tools_read_the_group_and_its_logs() {
    let mut flumen = Flumen::start(TOPIC);
    from_the_beginning(&flumen, "tools");
    produce(&flumen, 0..10);
    let consume = ["--topic", "jobs", "--group", "tools", "--max-messages", "10", "--timeout-ms", "60000"];
    let said = tool(&flumen, "org.apache.kafka.tools.consumer.ConsoleShareConsumer", &consume);
    let seen: BTreeSet<u32> = said.lines().filter_map(|line| line.parse().ok()).collect();
    assert_eq!(seen, (0..10).collect(), "{said}");
    until_all_is_done(&flumen, "tools");

    let listed = tool(&flumen, SHARE_GROUPS, &["--list"]);
    assert!(listed.lines().any(|line| line.trim() == "tools"), "{listed}");
    let reset = ["--reset-offsets", "--group", "tools", "--topic", "jobs", "--to-earliest", "--execute"];
    wait::until("the group to be empty", || {
        let state = tool(&flumen, SHARE_GROUPS, &["--describe", "--state", "--group", "tools"]);
        if state.contains("Empty") { Ok(()) } else { Err(state) }
    });
    tool(&flumen, SHARE_GROUPS, &reset);
    assert_eq!(lag(&flumen, "tools"), Ok(10));

    flumen.stop();
    let dump = |topic: &str, decoder: &str| {
        let logs = std::fs::read_dir(flumen.path("data")).expect("the topics");
        let folders = logs.map(|entry| entry.expect("a folder").path());
        let mut files: Vec<String> = folders
            .filter(|folder| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with(topic)))
            .flat_map(|folder| std::fs::read_dir(folder).expect("a partition"))
            .map(|entry| entry.expect("a file").path().display().to_string())
            .filter(|path| path.ends_with(".log"))
            .collect();
        files.sort();
        let args = [decoder, "--files", &files.join(",")];
        stdout("dump", &mut java("org.apache.kafka.tools.DumpLogSegments", &args))
    };
    let states = dump("__share_group_state-", "--share-group-state-decoder");
    for part in ["\"groupId\":\"tools\"", "snapshotEpoch", "deliveryState"] {
        assert!(states.contains(part), "no {part} in {states}");
    }
    let groups = dump("__consumer_offsets-", "--offsets-decoder");
    for part in ["subscribedTopicNames", "initializedTopics", "assignmentEpoch"] {
        assert!(groups.contains(part), "no {part} in {groups}");
    }
}

#[test]
fn librdkafka_works_in_a_share_group() {
    let flumen = Flumen::start(TOPIC);
    from_the_beginning(&flumen, "native");
    produce(&flumen, 0..500);
    let script = include_str!("../scripts/share_worker.py");
    let said = python("share worker", script, &[&flumen.bootstrap(), "jobs", "native", "500"]);
    let seen: Vec<u32> = said.lines().map(|line| line.parse().expect("a number")).collect();
    assert_eq!(seen.len(), 500);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), (0..500).collect());
    until_all_is_done(&flumen, "native");
}
