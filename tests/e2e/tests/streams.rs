//! Kafka Streams: exactly once, over kills, with state that comes back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use flumen_harness::clients::{feed, java_client, kcat, python_command};
use flumen_harness::process::Process;
use flumen_harness::{Flumen, tools, wait};

const TIMED: &str = include_str!("../scripts/timed.py");
/// A JVM's start, a rebalance, and what a killed instance holds until it has timed out.
const PATIENCE: Duration = Duration::from_secs(120);

/// An instance of an application, with its state in a folder of the broker's.
fn instance(flumen: &Flumen, name: &str, state: &str, words: &[&str]) -> Process {
    let log = flumen.path(format!("{name}.log"));
    let state = flumen.path(state).display().to_string();
    let broker = flumen.bootstrap();
    let words = [&[words[0], &broker, &state], &words[1..]].concat();
    Process::start(name, java_client(tools::KAFKA, "Streams", &words), Path::new(&log))
}

/// What a transactional reader sees of a topic, once there are so many records.
fn output(flumen: &Flumen, topic: &str, count: usize) -> Vec<(String, String)> {
    wait::until_within(PATIENCE, &format!("{count} records in {topic}"), || {
        let read = ["-C", "-q", "-e", "-b", &flumen.bootstrap(), "-t", topic, "-o", "beginning"];
        let options = ["-X", "isolation.level=read_committed", "-f", "%k %s\n"];
        let mut command = kcat(&[&read[..], &options].concat());
        let output = command.output().map_err(|e| e.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let pairs = said.lines().filter_map(|line| line.split_once(' '));
        let pairs: Vec<_> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        if pairs.len() >= count { Ok(pairs) } else { Err(format!("{} of them", pairs.len())) }
    })
}

/// Lines of words, and how often each word is in them.
fn lines(seed: usize, count: usize) -> (String, BTreeMap<String, usize>) {
    let mut counts = BTreeMap::new();
    let mut text = String::new();
    for line in 0..count {
        for at in 0..5 {
            let word = format!("w{}", (seed + line * 7 + at * at * 3) % 23);
            text.push_str(&word);
            text.push(if at == 4 { '\n' } else { ' ' });
            *counts.entry(word).or_default() += 1;
        }
    }
    (text, counts)
}

/// Each word counted from 1 to what it comes to, each number once.
fn assert_counted(seen: &[(String, String)], counts: &BTreeMap<String, usize>) {
    let mut next: BTreeMap<&str, usize> = BTreeMap::new();
    for (word, count) in seen {
        let next = next.entry(word).or_default();
        *next += 1;
        assert_eq!(*count, next.to_string(), "{word} is counted on by one");
    }
    let ended: BTreeMap<String, usize> =
        next.into_iter().map(|(word, count)| (word.to_owned(), count)).collect();
    assert_eq!(ended, *counts);
}

#[test]
fn words_are_counted_exactly_once_over_a_kill_and_a_lost_state() {
    let flumen = Flumen::start("[topics.lines]\npartitions = 3\n[topics.counts]\npartitions = 2\n");
    let words = ["wordcount", "lines", "counts"];
    let mut expected: BTreeMap<String, usize> = BTreeMap::new();
    let mut total = 0;
    // The state is kept, then killed in the middle, then gone.
    for (turn, state) in ["state", "state", "elsewhere"].into_iter().enumerate() {
        let mut counter = instance(&flumen, &format!("counter-{turn}"), state, &words);
        let (text, counts) = lines(turn, 60);
        feed("kcat", &mut kcat(&["-P", "-b", &flumen.bootstrap(), "-t", "lines"]), text.as_bytes());
        total += counts.values().sum::<usize>();
        for (word, count) in counts {
            *expected.entry(word).or_default() += count;
        }
        if turn == 1 {
            output(&flumen, "counts", total - 250);
            counter.kill();
            counter = instance(&flumen, "counter-again", state, &words);
        }
        assert_counted(&output(&flumen, "counts", total), &expected);
        counter.signal("TERM");
        counter.wait_within(PATIENCE);
        assert!(!counter.log().contains("Exception"), "{}", counter.log());
    }
}

#[test]
fn a_windowed_join_pairs_what_came_within_ten_seconds() {
    let flumen = Flumen::start("[topics.left]\npartitions = 2\n[topics.right]\npartitions = 2\n");
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    // Half an hour of events on six keys, at odd times.
    let events = |name: &'static str, step: u128| -> Vec<(String, String, u128)> {
        (0..240).map(|n| (format!("k{}", n % 6), format!("{name}{n}"), now - 1_800_000 + n * step)).collect()
    };
    let (lefts, rights) = (events("l", 5_777), events("r", 6_333));
    for (topic, events) in [("left", &lefts), ("right", &rights)] {
        let input: String = events.iter().map(|(key, value, at)| format!("{key} {value} {at}\n")).collect();
        feed("timed", &mut python_command(TIMED, &[&flumen.bootstrap(), topic]), input.as_bytes());
    }
    let pair = |(key, left, at): &(String, String, u128)| -> Vec<(String, String)> {
        let near = rights.iter().filter(|(other, _, then)| other == key && at.abs_diff(*then) <= 10_000);
        near.map(|(_, right, _)| (key.clone(), format!("{left}+{right}"))).collect()
    };
    let expected: BTreeSet<(String, String)> = lefts.iter().flat_map(pair).collect();
    assert!(expected.len() > 50, "the events meet: {}", expected.len());
    let mut joiner = instance(&flumen, "joiner", "state", &["join", "left", "right", "pairs"]);
    let seen = output(&flumen, "pairs", expected.len());
    assert_eq!(seen.len(), expected.len(), "none twice: {seen:?}");
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), expected);
    joiner.signal("TERM");
    joiner.wait_within(PATIENCE);
}
