//! The cleaner threads: which partition is whose turn, with how much memory, how fast, and what becomes of one
//! whose compaction fails.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use flumen_log::cleaner::{ENTRY_BYTES, TombstoneHold};
use flumen_records::ControlRecord;
use flumen_types::{ByteSize, Millis, Offset, ProducerEpoch, ProducerId, TopicId, TopicPartition};
use tempfile::TempDir;

use crate::segment::{DELETED, Part};
use crate::tests::testing::*;
use crate::{Bound, CleanerOptions, Options, Origin, Partition, Store, TombstoneReaders};

const CONFIGS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0"),
    ("internal.segment.bytes", "2000"),
    ("delete.retention.ms", "1000"),
];

struct Many {
    store: Store,
    _dir: TempDir,
}

impl Many {
    /// Topic `t` of some partitions.
    fn new(partitions: i32, change: impl FnOnce(&mut Options)) -> Many {
        let dir = memory_dir();
        let mut options = Options::new(dir.path().join("data"));
        options.cleaner.enabled = false;
        change(&mut options);
        let store = Store::open(options, Arc::new(())).unwrap();
        let configs = CONFIGS.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        store.create_topic("t", TopicId(uuid::Uuid::new_v4()), partitions, configs).unwrap();
        Many { store, _dir: dir }
    }

    fn partition(&self, n: i32) -> Arc<Partition> {
        self.store.partition(&TopicPartition::new("t", n)).unwrap()
    }
}

/// Each of the keys some times, and a segment behind them.
fn fill(t: &Partition, keys: usize, rounds: usize) -> BTreeMap<String, Option<String>> {
    let mut table = BTreeMap::new();
    for round in 0..rounds {
        for key in 0..keys {
            let (key, value) = (format!("key-{key}"), format!("round {round}"));
            let batch = keyed(&[(key.as_str(), Some(value.as_str()))], NOW);
            t.append(batch, Origin::Client, NOW).unwrap();
            table.insert(key, Some(value));
        }
    }
    t.roll(&mut t.writer()).unwrap();
    t.append(keyed(&[("last", Some("x"))], NOW), Origin::Client, NOW).unwrap();
    wait_durable(t);
    table.insert("last".into(), Some("x".into()));
    table
}

fn table(t: &Partition) -> BTreeMap<String, Option<String>> {
    read_all(t).into_iter().map(|(_, key, value)| (key, value)).collect()
}

#[test]
fn several_threads_compact_every_partition() {
    let many = Many::new(8, |options| {
        options.cleaner =
            CleanerOptions { threads: 3, backoff: Duration::from_millis(5), ..CleanerOptions::default() };
    });
    let tables: Vec<_> = (0..8).map(|n| fill(&many.partition(n), 5, 40)).collect();
    for (n, expected) in tables.iter().enumerate() {
        let t = many.partition(n as i32);
        wait_until("it is compacted", || read_all(&t).len() == expected.len());
        assert_eq!(table(&t), *expected);
    }
}

#[test]
fn a_map_that_is_too_small_takes_more_passes_and_comes_to_the_same() {
    let entries = 20;
    let many =
        Many::new(1, |options| options.cleaner.dedupe_buffer = ByteSize((entries * ENTRY_BYTES) as i64));
    let t = many.partition(0);
    let expected = fill(&t, 100, 3);
    let mut passes = 0;
    while t.compact(NOW).unwrap() {
        passes += 1;
        assert_eq!(table(&t), expected, "after each pass");
    }
    assert!(passes >= 300 / entries, "{passes}");
    assert_eq!(read_all(&t).len(), expected.len());
}

#[test]
fn one_that_fails_is_told_about_tried_later_and_stops_nobody_else() {
    let many = Many::new(2, |_| {});
    let tables = [0, 1].map(|n| fill(&many.partition(n), 5, 40));
    let t = many.partition(0);
    // A name is taken, by what cannot be replaced.
    let taken = Part::Log.path(&t.dir, Offset(0), DELETED);
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("x"), "").unwrap();
    for failures in 1..3 {
        many.store.maintain_at(NOW);
        let failure = t.cleaning_failure().unwrap();
        assert_eq!(failure.failures, failures);
        assert!(failure.reason.contains(".log"), "{}", failure.reason);
    }
    assert_eq!(read_all(&many.partition(1)).len(), tables[1].len());
    assert!(many.partition(1).cleaning_failure().is_none());
    fs::remove_dir_all(&taken).unwrap();
    many.store.maintain_at(NOW);
    assert!(t.cleaning_failure().is_none());
    assert_eq!(read_all(&t).len(), tables[0].len());
}

#[test]
fn a_store_that_closes_does_not_wait_for_a_cleaner_that_has_to_be_slow() {
    let many = Many::new(1, |options| {
        options.cleaner = CleanerOptions {
            backoff: Duration::from_millis(1),
            // Years, for what is in there.
            io_rate: Some(ByteSize(1)),
            ..CleanerOptions::default()
        };
    });
    let t = many.partition(0);
    wait_until("a pass has to pause", || {
        fill(&t, 5, 1);
        t.shared.throttle.is_pausing()
    });
    many.store.close().unwrap();
}

#[test]
fn who_pauses_for_a_rate_that_is_no_more_goes_on() {
    let slow = CleanerOptions {
        backoff: Duration::from_millis(1),
        io_rate: Some(ByteSize(1)),
        ..CleanerOptions::default()
    };
    let many = Many::new(1, |options| options.cleaner = slow.clone());
    let t = many.partition(0);
    wait_until("a pass has to pause", || {
        fill(&t, 5, 1);
        t.shared.throttle.is_pausing()
    });
    let fast = CleanerOptions { io_rate: None, threads: 2, ..slow };
    many.store.reconfigure(BTreeMap::new(), fast, Millis(1));
    wait_until("the pass is done", || t.cleaned_upto().is_some());
}

#[test]
fn a_topic_that_sets_nothing_follows_what_the_broker_says() {
    let many = Many::new(1, |_| {});
    let t = many.partition(0);
    let before = t.config().max_message_bytes;
    let broker = BTreeMap::from([("message.max.bytes".to_string(), "12345".to_string())]);
    many.store.reconfigure(broker, CleanerOptions::default(), Millis(1));
    assert_eq!((before, t.config().max_message_bytes), (1_048_588, 12_345));
    many.store.reconfigure(BTreeMap::new(), CleanerOptions::default(), Millis(1));
    assert_eq!(t.config().max_message_bytes, before);
}

#[test]
fn what_was_compacted_is_not_compacted_again_after_a_crash() {
    let mut fixture = Fixture::new(&CONFIGS);
    fill(&fixture.t(), 5, 40);
    fixture.store().maintain_at(NOW);
    let upto = fixture.t().cleaned_upto();
    assert!(upto.is_some());
    fixture.kill();
    fixture.open();
    assert_eq!(fixture.t().cleaned_upto(), upto);
    assert!(!fixture.t().compact(NOW).unwrap());
}

#[derive(Debug)]
struct Slow(std::sync::Mutex<Offset>);

impl TombstoneReaders for Slow {
    fn holds(&self, _: &TopicPartition) -> Vec<TombstoneHold> {
        let from = *self.0.lock().unwrap();
        vec![TombstoneHold { holder: "db".into(), from, longest: Millis(60_000) }]
    }
}

#[test]
fn a_tombstone_stays_until_its_reader_has_passed_it() {
    let reader = Arc::new(Slow(std::sync::Mutex::new(Offset::ZERO)));
    let many = Many::new(1, |options| options.tombstones = reader.clone());
    let t = many.partition(0);
    t.append(keyed(&[("gone", None)], NOW), Origin::Client, NOW).unwrap();
    let pass = |at: i64| {
        fill(&t, 1, 1);
        assert!(t.compact(NOW.plus(Millis(at))).unwrap());
        table(&t).contains_key("gone")
    };
    assert!(pass(0) && t.held_tombstones().is_empty(), "its horizon is ahead");
    assert!(pass(2000));
    let held = t.held_tombstones();
    assert_eq!((held.len(), &*held[0].holder, held[0].count), (1, "db", 1));
    assert_eq!((held[0].first, held[0].since), (Offset(0), NOW.plus(Millis(1000))));
    *reader.0.lock().unwrap() = Offset(1);
    assert!(!pass(2000));
    assert!(t.held_tombstones().is_empty());
}

#[test]
fn nobody_is_waited_for_without_end() {
    let reader = Arc::new(Slow(std::sync::Mutex::new(Offset::ZERO)));
    let many = Many::new(1, |options| options.tombstones = reader);
    let t = many.partition(0);
    t.append(keyed(&[("gone", None)], NOW), Origin::Client, NOW).unwrap();
    for (at, there) in [(0, true), (60_999, true), (61_000, false)] {
        fill(&t, 1, 1);
        assert!(t.compact(NOW.plus(Millis(at))).unwrap());
        assert_eq!(table(&t).contains_key("gone"), there, "{at}");
    }
}

#[test]
fn a_transaction_whose_marker_was_compacted_away_is_not_open_after_a_crash() {
    let mut fixture = Fixture::new(&CONFIGS);
    let t = fixture.t();
    t.append(sequenced(1, 0, "aborted", true), Origin::Client, NOW).unwrap();
    // The producers' snapshot here knows it as open.
    t.roll(&mut t.writer()).unwrap();
    let abort = ControlRecord::Abort { coordinator_epoch: 0 };
    t.append_marker(ProducerId(1), ProducerEpoch(0), abort, NOW).unwrap();
    fill(&t, 1, 1);
    t.trim(Offset(1)).unwrap();
    for at in [0, 2000] {
        fixture.store().maintain_at(NOW.plus(Millis(at)));
        fill(&t, 1, 1);
    }
    let markers = read_batches(&t, Offset(1), Bound::LogEnd);
    assert!(!markers.iter().any(|batch| batch.header().is_control()), "the marker is gone");
    drop(t);
    fixture.kill();
    fixture.open();
    let marks = fixture.t().marks();
    assert_eq!(marks.last_stable, marks.end);
}
