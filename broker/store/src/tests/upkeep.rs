//! Trim, retention and compaction on real files.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::{fs, io};

use flumen_records::ControlRecord;
use flumen_types::{Millis, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::segment::{CLEANED, SWAP};
use crate::segment::{DELETED, Part};
use crate::tests::testing::*;
use crate::{Bound, Options, Origin, ReadError, Scope, Site, Store, TrimError};

const SMALL: (&str, &str) = ("internal.segment.bytes", "300");

fn fill(fixture: &Fixture, count: i64) {
    for n in 0..count {
        fixture.t().append(plain(&n.to_string()), Origin::Client, Timestamp(NOW.0 + n)).unwrap();
    }
    wait_durable(&fixture.t());
}

fn offsets(fixture: &Fixture) -> Vec<i64> {
    read_all(&fixture.t()).into_iter().map(|(offset, ..)| offset).collect()
}

#[test]
fn a_trim_moves_the_start_and_survives_a_crash() {
    let mut fixture = Fixture::new(&[SMALL]);
    fill(&fixture, 30);
    let segments = fixture.t().segments_now().len();
    assert_eq!(fixture.t().trim(Offset(17)).unwrap(), Offset(17));
    assert_eq!(fixture.t().trim(Offset(3)).unwrap(), Offset(17));
    assert!(matches!(fixture.t().trim(Offset(31)), Err(TrimError::OutOfRange { .. })));
    assert!(matches!(
        fixture.t().read(Offset(16), 100, Bound::LogEnd, true),
        Err(ReadError::OutOfRange { start: Offset(17), .. })
    ));
    fixture.store().maintain_at(NOW);
    assert!(fixture.t().segments_now().len() < segments);
    assert_eq!(offsets(&fixture), (17..30).collect::<Vec<_>>());
    fixture.kill();
    fixture.open();
    assert_eq!(offsets(&fixture), (17..30).collect::<Vec<_>>());
    assert_eq!(fixture.t().trim(Offset::UNKNOWN).unwrap(), Offset(30));
    assert!(offsets(&fixture).is_empty());
}

#[test]
fn the_old_go_and_so_does_the_active_segment() {
    let mut fixture = Fixture::new(&[SMALL, ("retention.ms", "1000"), ("file.delete.delay.ms", "0")]);
    fill(&fixture, 30);
    fixture.store().maintain_at(NOW.plus(Millis(500)));
    assert_eq!(offsets(&fixture).len(), 30);
    fixture.store().maintain_at(NOW.plus(Millis(2000)));
    assert!(offsets(&fixture).is_empty());
    let marks = fixture.t().marks();
    assert_eq!((marks.start, marks.end), (Offset(30), Offset(30)));
    wait_until("the files are gone", || fixture.files(".deleted").is_empty());
    assert_eq!(fixture.files(".log"), ["00000000000000000030.log"]);
    for _ in 0..2 {
        fixture.reopen();
        assert_eq!(fixture.t().marks().start, Offset(30));
    }
    assert_eq!(fixture.t().append(plain("x"), Origin::Client, NOW).unwrap().base, Offset(30));
}

#[test]
fn a_log_is_kept_to_its_size() {
    let fixture = Fixture::new(&[SMALL, ("retention.bytes", "700")]);
    fill(&fixture, 30);
    fixture.store().maintain_at(NOW);
    let size = fixture.t().size_bytes();
    assert!((700..1300).contains(&size), "{size}");
    assert_eq!(offsets(&fixture).last(), Some(&29));
}

#[test]
fn a_changed_setting_does_not_wait_for_the_next_round() {
    let fixture = Fixture::new(&[SMALL]);
    fill(&fixture, 30);
    fixture.store().set_topic_configs("t", [("retention.bytes".into(), "0".into())].into()).unwrap();
    // Which comes in five minutes.
    wait_until("old segments are gone", || fixture.t().marks().start.0 > 0);
}

#[test]
fn a_compacted_log_that_also_forgets_drops_what_is_old_whatever_its_keys() {
    let configs = [SMALL, ("cleanup.policy", "compact,delete"), ("retention.ms", "1000"), COMPACT[1]];
    let fixture = Fixture::new(&configs);
    let t = fixture.t();
    for n in 0..20 {
        let key = format!("key-{}", n % 4);
        t.append(keyed(&[(key.as_str(), Some("x"))], NOW.plus(Millis(n * 100))), Origin::Client, NOW)
            .unwrap();
    }
    wait_durable(&t);
    fixture.store().maintain_at(NOW.plus(Millis(1900)));
    let left = offsets(&fixture);
    assert!(left.len() < 10, "compacted: {left:?}");
    fixture.store().maintain_at(NOW.plus(Millis(2600)));
    let left = offsets(&fixture);
    assert!(!left.is_empty() && left.iter().all(|offset| *offset >= 16), "{left:?}");
    fixture.store().maintain_at(NOW.plus(Millis(2950)));
    assert!(offsets(&fixture).is_empty());
}

#[test]
fn an_append_that_makes_a_log_too_large_does_not_wait_for_what_it_pushes_out() {
    let fixture = Fixture::new(&[SMALL, ("retention.bytes", "300"), ("file.delete.delay.ms", "3600000")]);
    fill(&fixture, 30);
    assert_eq!(fixture.t().marks().start, Offset(0), "appends drop nothing");
    fixture.store().maintain_at(NOW);
    assert!(fixture.t().marks().start > Offset(0));
    // They have other names, and are unlinked by the reaper's thread when their time has come.
    assert!(!fixture.files(".deleted").is_empty());
    assert_eq!(fixture.files(".log").len(), fixture.t().segments_now().len());
}

const COMPACT: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0"),
    ("delete.retention.ms", "10000"),
    ("index.interval.bytes", "100"),
];

/// Keys 0..7, the value is the round; key 3 is deleted in the last.
fn rounds(fixture: &Fixture, count: i32) -> BTreeMap<String, Option<String>> {
    let mut latest = BTreeMap::new();
    for round in 0..count {
        for key in 0..7 {
            let (key, value) = (key.to_string(), format!("round {round}"));
            let value = if key == "3" && round == count - 1 { None } else { Some(value) };
            let batch = keyed(&[(key.as_str(), value.as_deref())], NOW);
            fixture.t().append(batch, Origin::Client, NOW).unwrap();
            latest.insert(key, value);
        }
    }
    let t = fixture.t();
    t.roll(&mut t.writer()).unwrap();
    t.append(keyed(&[("last", Some("x"))], NOW), Origin::Client, NOW).unwrap();
    wait_durable(&t);
    latest.insert("last".into(), Some("x".into()));
    latest
}

fn table(fixture: &Fixture) -> BTreeMap<String, Option<String>> {
    read_all(&fixture.t()).into_iter().map(|(_, key, value)| (key, value)).collect()
}

#[test]
fn compaction_keeps_the_latest_of_each_key_and_then_drops_tombstones() {
    let mut configs = COMPACT.to_vec();
    configs.push(("internal.segment.bytes", "600"));
    let mut fixture = Fixture::new(&configs);
    let mut latest = rounds(&fixture, 30);
    let (before, ends, size) = (read_all(&fixture.t()), fixture.t().marks().end, fixture.t().size_bytes());
    fixture.store().maintain_at(NOW);
    let after = read_all(&fixture.t());
    assert_eq!(table(&fixture), latest);
    assert_eq!(after.len(), latest.len());
    assert!(after.iter().all(|record| before.contains(record)), "offsets and values stay as they were");
    assert!(fixture.t().size_bytes() < size / 4);
    assert_eq!(fixture.t().marks().end, ends);
    for from in 0..ends.0 {
        assert!(fixture.t().read(Offset(from), 1, Bound::HighWatermark, true).unwrap().next.0 > from);
    }
    fixture.reopen();
    assert_eq!(table(&fixture), latest);
    fixture.kill();
    fixture.open();
    assert_eq!(table(&fixture), latest);

    // The tombstone goes with the first pass behind its horizon.
    fixture.t().append(keyed(&[("new", Some("y"))], NOW), Origin::Client, NOW).unwrap();
    let t = fixture.t();
    t.roll(&mut t.writer()).unwrap();
    t.append(keyed(&[("new", Some("z"))], NOW), Origin::Client, NOW).unwrap();
    wait_durable(&t);
    drop(t);
    fixture.store().maintain_at(NOW.plus(Millis(20_000)));
    latest.remove("3");
    latest.insert("new".into(), Some("z".into()));
    assert_eq!(table(&fixture), latest);
}

#[test]
fn compaction_drops_aborted_records_and_leaves_open_transactions_alone() {
    let mut fixture = Fixture::new(&COMPACT);
    let t = fixture.t();
    t.append(sequenced(1, 0, "aborted", true), Origin::Client, NOW).unwrap();
    let abort = ControlRecord::Abort { coordinator_epoch: 0 };
    t.append_marker(ProducerId(1), ProducerEpoch(0), abort, NOW).unwrap();
    t.append(keyed(&[("k", Some("old"))], NOW), Origin::Client, NOW).unwrap();
    t.append(keyed(&[("k", Some("new"))], NOW), Origin::Client, NOW).unwrap();
    t.roll(&mut t.writer()).unwrap();
    t.append(sequenced(2, 0, "open", true), Origin::Client, NOW).unwrap();
    t.append(keyed(&[("k", Some("newest"))], NOW), Origin::Client, NOW).unwrap();
    t.roll(&mut t.writer()).unwrap();
    t.append(keyed(&[("z", Some("z"))], NOW), Origin::Client, NOW).unwrap();
    wait_durable(&t);
    assert!(t.compact(NOW).unwrap());
    drop(t);
    let expected = ["new", "open", "newest", "z"];
    let values = |fixture: &Fixture| -> Vec<String> {
        read_all(&fixture.t()).into_iter().filter_map(|(_, _, value)| value).collect()
    };
    assert_eq!(values(&fixture), expected);
    fixture.kill();
    fixture.open();
    assert_eq!(values(&fixture), expected);
    assert!(fixture.t().append(sequenced(2, 0, "open", true), Origin::Client, NOW).unwrap().duplicate);
}

#[test]
fn readers_of_a_replaced_segment_read_on() {
    let mut configs = COMPACT.to_vec();
    configs.push(("internal.segment.bytes", "600"));
    let fixture = Fixture::new(&configs);
    rounds(&fixture, 10);
    let old = fixture.t().segments_now();
    fixture.store().maintain_at(NOW);
    for segment in &old[..old.len() - 1] {
        let wanted = crate::segment::read::Wanted {
            from: segment.base(),
            limit: Offset(1 << 40),
            end: Offset(1 << 40),
            bytes_max: 1 << 20,
            min_one: true,
        };
        let read = segment.read(wanted, &Arc::default());
        assert_eq!(read.unwrap().unwrap().bytes.len() as u64, segment.size());
    }
}

#[test]
fn appends_reads_and_compaction_at_once_show_every_reader_a_consistent_log() {
    let mut configs = COMPACT.to_vec();
    configs.extend([("internal.segment.bytes", "4000"), ("file.delete.delay.ms", "0")]);
    let fixture = Fixture::new(&configs);
    const WRITERS: usize = 3;
    const ROUNDS: i32 = 300;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let t = fixture.t();
                scope.spawn(move || {
                    for round in 0..ROUNDS {
                        let (key, value) = (format!("{writer}-{}", round % 5), format!("{round:06}"));
                        let batch = keyed(&[(key.as_str(), Some(value.as_str()))], NOW);
                        t.append(batch, Origin::Client, NOW).unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            let t = fixture.t();
            scope.spawn(move || {
                // Of each key, values only grow; offsets too.
                let (mut from, mut seen) = (Offset(0), BTreeMap::<String, String>::new());
                while from.0 < (WRITERS as i64) * i64::from(ROUNDS) {
                    let read = t.read(from, 700, Bound::HighWatermark, true).unwrap();
                    let mut last = from;
                    for batch in flumen_records::batches(read.bytes).map(Result::unwrap) {
                        batch.verify_crc().unwrap();
                        assert!(batch.header().last_offset() >= last);
                        last = batch.header().last_offset();
                        for record in &batch.records(1 << 20).unwrap() {
                            let record = record.unwrap();
                            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                            let (key, value) = (text(record.key.unwrap()), text(record.value.unwrap()));
                            let before = seen.insert(key, value.clone());
                            assert!(before.is_none_or(|before| before < value));
                        }
                    }
                    from = read.next;
                }
                for (key, value) in seen {
                    let slot: i32 = key[2..].parse().unwrap();
                    assert_eq!(value, format!("{:06}", ROUNDS - 5 + slot));
                }
            });
        }
        while !writers.iter().all(|writer| writer.is_finished()) {
            fixture.store().maintain_at(NOW);
        }
    });
    wait_durable(&fixture.t());
    fixture.store().maintain_at(NOW);
    let size = fixture.t().size_bytes();
    assert!(size < 10_000, "{size}");
    assert_eq!(size, fixture.t().segments_now().iter().map(|segment| segment.size()).sum::<u64>());
}

/// What names there were when the segments of a run were to be off the disk.
#[derive(Default)]
struct Replaced {
    folder: Mutex<PathBuf>,
    seen: Mutex<Vec<Vec<String>>>,
}

impl Faults for Replaced {
    fn sync(&self, _: Scope, site: Site) -> io::Result<()> {
        if site == Site::ReplacedSegments {
            let entries = fs::read_dir(&*self.folder.lock().unwrap())?;
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut logs: Vec<String> =
                names.filter(|name| name.ends_with(".log") || name.ends_with(".log.swap")).collect();
            logs.sort();
            self.seen.lock().unwrap().push(logs);
        }
        Ok(())
    }
}

/// Else a power cut could keep the swap's last name and bring back what it replaced (found by
/// tests/crash, seed 3).
#[test]
fn what_a_swap_replaces_is_off_the_disk_before_the_swap_takes_its_place() {
    let mut fixture = Fixture::new(&COMPACT);
    let latest = rounds(&fixture, 10);
    fixture.kill();
    let replaced = Arc::new(Replaced::default());
    *replaced.folder.lock().unwrap() = fixture.folder();
    let options = Options { files: Arc::new(Faulty(replaced.clone())), ..fixture.options() };
    fixture.store = Some(Store::open(options.clone(), Arc::new(())).unwrap());
    let segments = fixture.t().segments_now();
    fixture.store().maintain_at(NOW);
    let left = |segments: &[Arc<crate::segment::Segment>]| -> Vec<String> {
        segments.iter().map(|segment| format!("{:020}.log", segment.base().0)).collect()
    };
    let mut expected = vec![format!("{:020}.log.swap", 0)];
    expected.extend(left(&segments[segments.len() - 1..]));
    assert_eq!(*replaced.seen.lock().unwrap(), [expected.clone()]);
    // A crash behind the swap's first name: the open that finishes it does the same.
    let whole = fs::read(fixture.folder().join(format!("{:020}.log", 0))).unwrap();
    fixture.kill();
    fs::write(fixture.folder().join(&expected[0]), whole).unwrap();
    fixture.store = Some(Store::open(options, Arc::new(())).unwrap());
    assert_eq!(*replaced.seen.lock().unwrap(), [expected.clone(), expected]);
    assert_eq!(table(&fixture), latest);
}

#[test]
fn checkpoints_that_are_written_at_once_do_not_meet() {
    let fixture = Fixture::new(&[]);
    fill(&fixture, 3);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| fixture.store().upkeep().checkpoint().unwrap()));
        }
    });
}

#[test]
fn a_crash_at_any_step_of_a_swap_loses_nothing() {
    let mut fixture = Fixture::new(&COMPACT);
    let latest = rounds(&fixture, 10);
    fixture.store.take().unwrap().close().unwrap();
    let folder = fixture.folder();
    let old = fs::read_to_string(folder.join("partition.metadata")).unwrap();
    let base = Offset(0);
    let content = |part: Part| fs::read(part.path(&folder, base, "")).unwrap();
    let before = [Part::Log, Part::Index, Part::TimeIndex].map(|part| (part, content(part)));
    fixture.open();
    fixture.store().maintain_at(NOW);
    fixture.store.take().unwrap().close().unwrap();
    let after = [Part::Log, Part::Index, Part::TimeIndex].map(|part| (part, content(part)));
    assert!(after[0].1.len() < before[0].1.len());

    for (suffix, old_there) in [(CLEANED, true), (SWAP, true), (SWAP, false)] {
        for (part, bytes) in &before {
            fs::remove_file(part.path(&folder, base, "")).ok();
            if old_there {
                fs::write(part.path(&folder, base, ""), bytes).unwrap();
            }
        }
        for (part, bytes) in &after {
            fs::write(part.path(&folder, base, suffix), bytes).unwrap();
        }
        fs::remove_file(fixture.dir.path().join("data/.kafka_cleanshutdown")).ok();
        fixture.open();
        assert_eq!(table(&fixture), latest, "{suffix} {old_there}");
        let size = fixture.t().segments_now()[0].size();
        let expected = if suffix == SWAP { after[0].1.len() } else { before[0].1.len() };
        assert_eq!(size, expected as u64);
        assert!(fixture.files(suffix).is_empty());
        fixture.kill();
    }
    assert_eq!(fs::read_to_string(folder.join("partition.metadata")).unwrap(), old);
}

#[test]
fn a_segments_largest_timestamp_is_that_of_all_its_records() {
    let fixture = Fixture::new(&[("retention.ms", "1000000")]);
    let t = fixture.t();
    for n in [0, 500] {
        t.append(keyed(&[("k", Some("x"))], NOW.plus(Millis(n))), Origin::Client, NOW).unwrap();
        // Whoever asks while it grows is told of what there is.
        assert_eq!(t.max_timestamp().unwrap().unwrap().timestamp, NOW.plus(Millis(n)));
    }
    t.append(keyed(&[("k", Some("x"))], NOW.plus(Millis(900))), Origin::Client, NOW).unwrap();
    t.roll(&mut t.writer()).unwrap();
    t.append(keyed(&[("k", Some("x"))], NOW), Origin::Client, NOW).unwrap();
    wait_durable(&t);
    assert_eq!(t.offset_for_time(NOW.plus(Millis(800))).unwrap().unwrap().offset, Offset(2));
}

#[test]
fn a_crash_while_a_segment_is_dropped_leaves_all_of_it_or_nothing() {
    let mut fixture = Fixture::new(&[SMALL]);
    let abort = ControlRecord::Abort { coordinator_epoch: 0 };
    let t = fixture.t();
    t.append(sequenced(1, 0, "aborted", true), Origin::Client, NOW).unwrap();
    t.append_marker(ProducerId(1), ProducerEpoch(0), abort, NOW).unwrap();
    drop(t);
    fill(&fixture, 10);
    fixture.store.take().unwrap().close().unwrap();
    // The first step of dropping it, whichever that is.
    let names = fixture.files("");
    fixture.open();
    let doomed = fixture.t().segments_now()[0].doom().unwrap();
    fixture.kill();
    let first = doomed[0].file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(first, "00000000000000000000.log.deleted");
    for path in &doomed[1..] {
        fs::write(path.with_extension(""), "").unwrap();
    }
    assert!(names.contains(&"00000000000000000000.txnindex".to_string()));
    fixture.open();
    let mut left = fixture.files("").into_iter().filter(|name| !name.ends_with(".deleted"));
    assert!(!left.any(|name| name.starts_with("00000000000000000000")));
}

#[test]
fn a_compaction_that_fails_leaves_the_log_as_it_was_and_no_file_behind() {
    let mut configs = COMPACT.to_vec();
    configs.push(("internal.segment.bytes", "600"));
    let fixture = Fixture::new(&configs);
    let latest = rounds(&fixture, 10);
    let leftovers = || [CLEANED, SWAP].map(|suffix| fixture.files(suffix).len());
    // While it is installed: a name is taken, by what cannot be replaced.
    let second = fixture.t().segments_now()[1].base();
    let taken = Part::Log.path(&fixture.folder(), second, DELETED);
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("x"), "").unwrap();
    fixture.t().compact(NOW).unwrap_err();
    assert_eq!((leftovers(), fixture.files(".log").len()), ([0, 0], fixture.t().segments_now().len()));
    // What was installed before that stays.
    assert_eq!(table(&fixture), latest);
    fs::remove_dir_all(&taken).unwrap();
    assert!(fixture.t().compact(NOW).unwrap());
    assert_eq!(table(&fixture), latest);
    // While it is written: a batch in the midst is damaged.
    rounds(&fixture, 2);
    let last = fixture.t().segments_now().into_iter().rfind(|segment| !segment.is_live()).unwrap();
    let log = Part::Log.path(&fixture.folder(), last.base(), "");
    let mut damaged = fs::read(&log).unwrap();
    *damaged.last_mut().unwrap() ^= 1;
    fs::write(&log, damaged).unwrap();
    fixture.t().compact(NOW).unwrap_err();
    assert_eq!(leftovers(), [0, 0]);
}

#[test]
fn a_swap_that_was_left_behind_is_not_installed_over_what_took_its_place() {
    let mut configs = COMPACT.to_vec();
    configs.push(("internal.segment.bytes", "600"));
    let mut fixture = Fixture::new(&configs);
    let latest = rounds(&fixture, 10);
    let second = fixture.t().segments_now()[1].base();
    let stale = fs::read(Part::Log.path(&fixture.folder(), second, "")).unwrap();
    let configs = configs.iter().filter(|(key, _)| *key != SMALL.0);
    let configs = configs.map(|(k, v)| (k.to_string(), v.to_string())).collect();
    fixture.store().set_topic_configs("t", configs).unwrap();
    wait_until("all is one segment", || {
        fixture.t().compact(NOW).unwrap();
        fixture.t().segments_now().len() == 2
    });
    fixture.kill();
    fs::write(Part::Log.path(&fixture.folder(), second, SWAP), stale).unwrap();
    fixture.open();
    assert_eq!(fixture.t().segments_now().len(), 2);
    assert_eq!(table(&fixture), latest);
    assert!(fixture.files(SWAP).is_empty());
}

#[test]
fn a_compaction_gives_up_when_the_store_stops() {
    let fixture = Fixture::new(&COMPACT);
    rounds(&fixture, 10);
    let t = fixture.t();
    t.shared.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(!t.compact(NOW).unwrap());
    assert_eq!((fixture.files(CLEANED).len(), t.cleaned_upto()), (0, None));
    t.shared.stopping.store(false, std::sync::atomic::Ordering::Relaxed);
    assert!(t.compact(NOW).unwrap());
}
