//! Kafka Streams: exactly once, over kills, with state that comes back.

use std::collections::{BTreeMap, BTreeSet};

use flumen_e2e::streams::{PATIENCE, assert_counted, instance, lines, output};
use flumen_harness::Flumen;
use flumen_harness::clients::{feed, kcat, python_command};

const TIMED: &str = include_str!("../scripts/timed.py");
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
