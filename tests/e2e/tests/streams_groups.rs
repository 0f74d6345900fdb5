//! Kafka Streams with `group.protocol=streams` (KIP-1071): the broker gives the tasks, and makes the topics of
//! the application.

use std::collections::BTreeMap;

use flumen_e2e::streams::{PATIENCE, assert_counted, instance, lines, output};
use flumen_harness::clients::{feed, java, kcat};
use flumen_harness::process::{Process, stdout};
use flumen_harness::{Flumen, wait};

/// Sessions that end soon, so that a killed instance is missed soon.
const BROKER: &str =
    "group.streams.session.timeout.ms = \"6s\"\ngroup.streams.min.session.timeout.ms = \"6s\"
group.streams.heartbeat.interval.ms = 300\ngroup.streams.min.heartbeat.interval.ms = 100
group.streams.initial.rebalance.delay.ms = 100
group.streams.num.standby.replicas = 1\n";
const TOPICS: &str = "[topics.lines]\npartitions = 3\n[topics.counts]\npartitions = 2\n";
const GROUP: &str = "e2e-wordcount";
const EXACTLY_ONCE: &str = "exactly_once_v2";

struct Counted {
    flumen: Flumen,
    expected: BTreeMap<String, usize>,
    turns: usize,
}

impl Counted {
    fn start() -> Counted {
        let mut flumen = Flumen::prepare_with(BROKER, TOPICS);
        flumen.up();
        Counted { flumen, expected: BTreeMap::new(), turns: 0 }
    }

    /// An instance with a state of its own.
    fn counter(&self, name: &str, guarantee: &str) -> Process {
        let guarantee = format!("processing.guarantee={guarantee}");
        let words = ["wordcount", "lines", "counts", "group.protocol=streams", &guarantee];
        instance(&self.flumen, name, name, &words)
    }

    fn feed(&mut self) {
        let (text, counts) = lines(self.turns, 60);
        self.turns += 1;
        let mut producer = kcat(&["-P", "-b", &self.flumen.bootstrap(), "-t", "lines"]);
        feed("kcat", &mut producer, text.as_bytes());
        for (word, count) in counts {
            *self.expected.entry(word).or_default() += count;
        }
    }

    /// Every word is counted, each once.
    fn check(&self) {
        let total = self.expected.values().sum();
        assert_counted(&output(&self.flumen, "counts", total), &self.expected);
    }

    fn tool(&self, args: &[&str]) -> String {
        let class = "org.apache.kafka.tools.streams.StreamsGroupCommand";
        let broker = self.flumen.bootstrap();
        stdout(class, &mut java(class, &[&["--bootstrap-server", &broker], args].concat()))
    }

    /// Until two members are active on something, and stand by for each other.
    fn until_shared(&self) {
        wait::until_within(PATIENCE, "two members to share the work", || {
            let said = self.tool(&["--describe", "--members", "--group", GROUP]);
            let sharing = said.lines().filter(|line| line.contains("ACTIVE:") && line.contains("STANDBY:"));
            if sharing.count() == 2 { Ok(()) } else { Err(said) }
        });
    }
}

fn end(mut counter: Process) {
    counter.signal("TERM");
    counter.wait_within(PATIENCE);
    assert!(!counter.log().contains("Exception"), "{}", counter.log());
}

#[test]
fn words_are_counted_exactly_once_while_instances_come_and_go() {
    let mut counted = Counted::start();
    let mut first = counted.counter("first", EXACTLY_ONCE);
    counted.feed();
    counted.check();
    let second = counted.counter("second", EXACTLY_ONCE);
    counted.until_shared();
    counted.feed();
    counted.check();
    counted.flumen.stop();
    counted.flumen.up();
    counted.feed();
    counted.check();
    end(second);
    counted.feed();
    counted.check();
    let third = counted.counter("third", EXACTLY_ONCE);
    counted.until_shared();
    counted.feed();
    first.kill();
    counted.feed();
    counted.check();
    end(third);
}

#[test]
fn the_tools_see_reset_and_delete_an_application() {
    let mut counted = Counted::start();
    let counter = counted.counter("first", "at_least_once");
    counted.feed();
    counted.check();
    let listed = counted.tool(&["--list"]);
    assert_eq!(listed.trim(), GROUP);
    let state = counted.tool(&["--describe", "--state", "--verbose", "--group", GROUP]);
    assert!(state.contains("Stable"), "{state}");
    let offsets = counted.tool(&["--describe", "--group", GROUP]);
    let rows = offsets.lines().filter(|line| line.contains("lines"));
    assert_eq!(rows.count(), 3, "{offsets}");
    end(counter);
    let state = counted.tool(&["--list", "--state"]);
    assert!(state.contains("Empty"), "{state}");
    let reset = ["--reset-offsets", "--group", GROUP, "--all-input-topics", "--to-earliest", "--execute"];
    let reset = counted.tool(&reset);
    assert_eq!(reset.lines().filter(|line| line.contains("lines")).count(), 3, "{reset}");
    let deleted = counted.tool(&["--delete", "--group", GROUP, "--delete-all-internal-topics"]);
    assert!(deleted.contains("successful"), "{deleted}");
    assert_eq!(counted.tool(&["--list"]).trim(), "");
    let topics = counted.flumen.cli(&["topic", "list"]);
    assert!(!topics.contains(GROUP), "{topics}");
}
