//! What every client must be able to do with Flumen, asked of each in the same words
//! (tests/e2e/clients/README.md) and checked record by record.
//!
//! The other side of each exchange is librdkafka through its Python client, which is not under test.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use flumen_harness::clients::python;
use flumen_harness::process::{self, Process};
use flumen_harness::{Flumen, wait};
use flumen_records::batches;

const PRODUCE: &str = include_str!("../scripts/produce.py");
const CONSUME: &str = include_str!("../scripts/consume.py");
const PER_CODEC: usize = 100;

/// A program that speaks through one client.
pub struct Client {
    /// As in the values that it writes.
    pub name: &'static str,
    /// The codecs that it has.
    pub codecs: &'static [&'static str],
    /// The program with these words, ready to run.
    pub command: fn(&[&str]) -> Command,
}

pub const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// A record as the programs print it.
#[derive(Debug, PartialEq, Eq)]
pub struct Read {
    pub key: String,
    pub value: String,
    pub headers: BTreeMap<String, String>,
    pub partition: u64,
    pub offset: u64,
}

/// The records that a program printed, in the order in which it read them.
pub fn read(said: &str) -> Vec<Read> {
    said.lines().filter(|line| line.starts_with('{')).map(read_one).collect()
}

fn read_one(line: &str) -> Read {
    let json: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let text =
        |json: &serde_json::Value| json.as_str().unwrap_or_else(|| panic!("no text in {line}")).to_owned();
    let headers = json["headers"].as_object().unwrap_or_else(|| panic!("no headers in {line}"));
    Read {
        key: text(&json["key"]),
        value: text(&json["value"]),
        headers: headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        partition: json["partition"].as_u64().expect("a partition"),
        offset: json["offset"].as_u64().expect("an offset"),
    }
}

impl Client {
    fn run(&self, words: &[&str]) -> String {
        process::stdout(&format!("{} {}", self.name, words.join(" ")), &mut (self.command)(words))
    }

    /// What it writes with each codec is on the disk with that codec, and another client reads every
    /// record whole and, within a partition, in the order of writing.
    pub fn writes(&self) {
        let flumen = Flumen::start("[topics.written]\npartitions = 3\n");
        let per_codec = PER_CODEC.to_string();
        self.run(&["produce", &flumen.bootstrap(), "written", &per_codec, &self.codecs.join(",")]);
        let count = self.codecs.len() * PER_CODEC;
        let said =
            python("confluent", CONSUME, &["confluent", &flumen.bootstrap(), "written", &count.to_string()]);
        assert_numbered(&read(&said), self.name, count);
        let wanted: BTreeSet<String> = self.codecs.iter().map(|codec| (*codec).to_owned()).collect();
        assert_eq!(codecs_on_disk(&flumen, "written"), wanted, "{} compresses as it was told", self.name);
    }

    /// What another client writes with each codec, it reads whole and in order.
    pub fn reads(&self) {
        self.reads_with(&[]);
    }

    /// The same with further words at the end of the command.
    pub fn reads_with(&self, more: &[&str]) {
        let flumen = Flumen::start("[topics.read]\npartitions = 3\n");
        let broker = flumen.bootstrap();
        let count = self.codecs.len() * PER_CODEC;
        let per_codec = PER_CODEC.to_string();
        python("confluent", PRODUCE, &["confluent", &broker, "read", &per_codec, &self.codecs.join(",")]);
        let count_word = count.to_string();
        let words = ["consume", &broker, "read", &count_word, "readers", "read_committed"];
        let said = self.run(&[&words[..], more].concat());
        assert_numbered(&read(&said), "confluent", count);
        assert_eq!(lag(&flumen, "readers"), Some(0), "it has committed all that it read");
    }

    /// Two members share a topic; when one is killed the other takes over, and nothing is left unread.
    pub fn shares_a_group(&self) {
        self.shares_a_group_with(&[]);
    }

    /// The same with further words at the end of the command.
    pub fn shares_a_group_with(&self, more: &[&str]) {
        let flumen = start(
            "group.consumer.session.timeout.ms = \"6s\"\ngroup.consumer.heartbeat.interval.ms = \"500ms\"\n",
            "[topics.work]\npartitions = 4\n",
        );
        let broker = flumen.bootstrap();
        python("produce", PRODUCE, &["confluent", &broker, "work", "100", "none"]);
        let words = [&["member", &broker, "work", "workers"], more].concat();
        let member = |name: &str| {
            let log = flumen.path(format!("{name}.log"));
            Process::start(name, (self.command)(&words), Path::new(&log))
        };
        let first = member("first");
        until_shared(&[&first]);
        let mut second = member("second");
        until_shared(&[&first, &second]);
        second.kill();
        until_shared(&[&first]);
        python("produce", PRODUCE, &["confluent", &broker, "work", "100", "none"]);
        wait::until("every record to be read", || {
            let logs = [first.log(), second.log()];
            let read: BTreeSet<&str> =
                logs.iter().flat_map(|log| log.lines()).filter(|line| line.starts_with("read ")).collect();
            if read.len() == 200 { Ok(()) } else { Err(format!("{} of 200", read.len())) }
        });
        wait::until("every record to be committed", || match lag(&flumen, "workers") {
            Some(0) => Ok(()),
            other => Err(format!("lag {other:?}")),
        });
    }

    /// Read committed, exactly the committed records are seen, in order; uncommitted, all of them.
    pub fn commits_and_aborts(&self) {
        let flumen = Flumen::start("[topics.ledger]\npartitions = 2\n");
        let broker = flumen.bootstrap();
        self.run(&["transactions", &broker, "ledger", "6", "10"]);
        let expected = |fates: &[&str]| -> Vec<String> {
            let written = (0..6).map(|t| (if t % 2 == 0 { "commit" } else { "abort" }, t));
            let seen = written.filter(|(fate, _)| fates.contains(fate));
            seen.flat_map(|(fate, t)| (0..10).map(move |i| format!("{fate}-{t}-{i}"))).collect()
        };
        for (isolation, fates) in
            [("read_committed", &["commit"][..]), ("read_uncommitted", &["commit", "abort"])]
        {
            let expected = expected(fates);
            let count = expected.len().to_string();
            let group = format!("readers-{isolation}");
            let own = self.run(&["consume", &broker, "ledger", &count, &group, isolation]);
            let other = format!("others-{isolation}");
            let others =
                python("confluent", CONSUME, &["confluent", &broker, "ledger", &count, &other, isolation]);
            for said in [own, others] {
                let read = read(&said);
                let seen: BTreeSet<&str> = read.iter().map(|record| &*record.value).collect();
                assert_eq!(seen, expected.iter().map(String::as_str).collect(), "{isolation}: {read:?}");
                assert_eq!(read.len(), expected.len(), "{isolation}: none twice");
                for partition in 0..2 {
                    let values = read.iter().filter(|record| record.partition == partition);
                    let places =
                        values.map(|record| expected.iter().position(|value| *value == record.value));
                    assert!(places.is_sorted(), "{isolation}: in the order of writing: {read:?}");
                }
            }
        }
    }

    /// Consume, transform, produce: each record is in the output once, whatever was aborted.
    pub fn copies_exactly_once(&self) {
        self.copies_exactly_once_with(&[]);
    }

    /// The same with further words at the end of the command.
    pub fn copies_exactly_once_with(&self, more: &[&str]) {
        let flumen = Flumen::start("[topics.plain]\npartitions = 2\n[topics.loud]\npartitions = 2\n");
        let broker = flumen.bootstrap();
        python("produce", PRODUCE, &["confluent", &broker, "plain", "400", "zstd"]);
        self.run(&[&["copy", &broker, "plain", "loud", "400", "copiers"], more].concat());
        let said = python(
            "confluent",
            CONSUME,
            &["confluent", &broker, "loud", "400", "listeners", "read_committed"],
        );
        let mut seen: Vec<(String, String)> =
            read(&said).into_iter().map(|read| (read.key, read.value)).collect();
        let mut expected: Vec<_> = (0..400).map(|n| (format!("k{n}"), format!("CONFLUENT-{n}"))).collect();
        seen.sort();
        expected.sort();
        assert_eq!(seen, expected);
        // Each partition has its marker at a moment of its own.
        wait::until("the input offsets, which come with the records", || match lag(&flumen, "copiers") {
            Some(0) => Ok(()),
            other => Err(format!("lag {other:?}")),
        });
    }

    /// What its admin client is told from making to deleting; `{broker}` in `expected` is the address.
    pub fn administers(&self, expected: &serde_json::Value) {
        let flumen = Flumen::start("");
        let said = self.run(&["admin", &flumen.bootstrap(), "asked", "askers"]);
        let told = said.lines().rfind(|line| line.starts_with('{') && line.contains("created"));
        let told: serde_json::Value = serde_json::from_str(told.expect("a document")).expect("JSON");
        let expected = expected.to_string().replace("{broker}", &flumen.bootstrap());
        let expected: serde_json::Value = serde_json::from_str(&expected).expect("JSON");
        assert_eq!(told, expected, "\ntold:     {told}\nexpected: {expected}\n");
    }
}

fn start(broker: &str, topics: &str) -> Flumen {
    let mut flumen = Flumen::prepare_with(broker, topics);
    flumen.up();
    flumen
}

/// Records 0 to `count` of `name`, each once and whole; in each partition offsets without a gap, and
/// the numbers in order.
fn assert_numbered(read: &[Read], name: &str, count: usize) {
    let mut next: BTreeMap<u64, u64> = BTreeMap::new();
    let mut last: BTreeMap<u64, usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for record in read {
        let number = record.value.strip_prefix(&format!("{name}-")).unwrap_or_else(|| panic!("{record:?}"));
        assert_eq!(record.key, format!("k{number}"), "{record:?}");
        assert_eq!(record.headers["n"], number, "{record:?}");
        assert_eq!(record.headers["origin"], name, "{record:?}");
        assert_eq!(record.headers.len(), 2, "{record:?}");
        let next = next.entry(record.partition).or_default();
        assert_eq!(record.offset, *next, "offsets without a gap: {record:?}");
        *next += 1;
        let number: usize = number.parse().expect("a number");
        let before = last.insert(record.partition, number);
        assert!(before.is_none_or(|before| before < number), "{record:?} came after {before:?}");
        seen.insert(number);
    }
    assert_eq!(seen, (0..count).collect(), "every record");
    assert_eq!(read.len(), count, "none twice");
}

/// The codecs of the batches in a topic's logs.
fn codecs_on_disk(flumen: &Flumen, topic: &str) -> BTreeSet<String> {
    let data = std::fs::read_dir(flumen.path("data")).expect("the data directory");
    let folders = data.map(|entry| entry.expect("an entry").path());
    let folders =
        folders.filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(topic)));
    let mut codecs = BTreeSet::new();
    for folder in folders {
        let log = std::fs::read(folder.join("00000000000000000000.log")).expect("the first segment");
        for batch in batches(log.into()).map_while(Result::ok) {
            codecs.insert(batch.header().attributes.compression().expect("a codec").name().to_owned());
        }
    }
    codecs
}

/// What a group has yet to read, as Flumen's own command says.
pub fn lag(flumen: &Flumen, group: &str) -> Option<u64> {
    let said = flumen.cli(&["group", "describe", group, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    let partitions = json["partitions"].as_array()?;
    partitions.iter().map(|partition| partition["lag"].as_u64()).sum()
}

/// The partitions that a member said last that it has.
fn assigned(member: &Process) -> Vec<u64> {
    let log = member.log();
    let last = log.lines().rev().find_map(|line| line.strip_prefix("assigned "));
    last.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
}

/// Waits until these members have the four partitions between them, each the same number.
fn until_shared(members: &[&Process]) {
    wait::until_within(Duration::from_secs(90), "the members to share the topic", || {
        let shares: Vec<Vec<u64>> = members.iter().map(|member| assigned(member)).collect();
        let mut all = shares.concat();
        all.sort_unstable();
        match all == [0, 1, 2, 3] && shares.iter().all(|share| share.len() == 4 / members.len()) {
            true => Ok(()),
            false => Err(format!("{shares:?}")),
        }
    });
}
