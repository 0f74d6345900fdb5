//! Applications of Kafka Streams (`clients/java/Streams.java`), and what they come to.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use flumen_harness::clients::{java_client, kcat};
use flumen_harness::process::Process;
use flumen_harness::{Flumen, tools, wait};

/// A JVM's start, a rebalance, and what a killed instance holds until it has timed out.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// An instance of an application, with its state in a folder of the broker's.
pub fn instance(flumen: &Flumen, name: &str, state: &str, words: &[&str]) -> Process {
    let log = flumen.path(format!("{name}.log"));
    let state = flumen.path(state).display().to_string();
    let broker = flumen.bootstrap();
    let words = [&[words[0], &broker, &state], &words[1..]].concat();
    Process::start(name, java_client(tools::KAFKA, "Streams", &words), Path::new(&log))
}

/// What a transactional reader sees of a topic, once there are so many records.
pub fn output(flumen: &Flumen, topic: &str, count: usize) -> Vec<(String, String)> {
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
pub fn lines(seed: usize, count: usize) -> (String, BTreeMap<String, usize>) {
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
pub fn assert_counted(seen: &[(String, String)], counts: &BTreeMap<String, usize>) {
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
