//! Bytes that rot in a segment while the broker is stopped, or runs and wrote them itself, and what readers get.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use flumen_types::{Offset, Timestamp};

use crate::tests::testing::*;
use crate::{Bound, Origin};

const BATCHES: i64 = 30;

/// Batches of so many records, of one size, in several segments; the bytes of a batch.
fn filled(interval: &str, records: i64) -> (Fixture, usize) {
    let fixture = Fixture::new(&[("internal.segment.bytes", "700"), ("index.interval.bytes", interval)]);
    for n in 0..BATCHES {
        fixture.t().append(batch(n, records), Origin::Client, NOW).unwrap();
    }
    wait_durable(&fixture.t());
    (fixture, batch(0, records).len())
}

fn batch(n: i64, records: i64) -> bytes::Bytes {
    let value = format!("{n:04}");
    keyed(&vec![("k", Some(value.as_str())); records as usize], Timestamp(NOW.0 + n))
}

fn logs(fixture: &Fixture) -> Vec<(i64, PathBuf)> {
    let names = fixture.files(".log").into_iter();
    names.map(|name| (name[..20].parse().unwrap(), fixture.folder().join(name))).collect()
}

fn flip(path: &PathBuf, at: usize, mask: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at as u64).unwrap();
    file.write_all_at(&[byte[0] ^ mask], at as u64).unwrap();
}

/// Harms a byte of one batch in the second segment, or in the last; the first offset of it.
fn harm(fixture: &Fixture, records: i64, size: usize, place: Place, byte: usize) -> i64 {
    let logs = logs(fixture);
    assert!(logs.len() >= 3);
    let (base, path) = &logs[if place == Place::LastOfLog { logs.len() - 1 } else { 1 }];
    let count = fs::metadata(path).unwrap().len() as usize / size;
    let at = match place {
        Place::First => 0,
        Place::Middle => count / 2,
        Place::Last | Place::LastOfLog => count - 1,
    };
    flip(path, at * size + byte, 1);
    base + at as i64 * records
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    First,
    Middle,
    Last,
    LastOfLog,
}

const PLACES: [Place; 4] = [Place::First, Place::Middle, Place::Last, Place::LastOfLog];

#[derive(Clone, Copy, Debug)]
enum While {
    Running,
    Stopped,
    Killed,
    Repaired,
}

/// What can be read and what is told, from the front and from everywhere, also by the next start.
fn check(fixture: &mut Fixture, records: i64, rotten: i64, case: &str) {
    let whole: Vec<i64> = (0..BATCHES).map(|n| n * records).filter(|offset| *offset != rotten).collect();
    let lost = rotten..rotten + records;
    for n in 0..2 {
        let t = fixture.t();
        for offset in (0..BATCHES * records).rev() {
            let read = t.read(Offset(offset), 1, Bound::HighWatermark, true);
            match lost.contains(&offset) {
                true => assert!(read.is_err(), "{case}: {offset} in start {n}"),
                false => {
                    let next = (offset / records + 1) * records;
                    assert_eq!(read.unwrap().next, Offset(next), "{case}: {offset} in start {n}");
                }
            }
        }
        assert_eq!(readable(&t), (whole.clone(), vec![(lost.start, lost.end)]), "{case}");
        assert_eq!(t.lost(), [Offset(lost.start)..Offset(lost.end)], "{case}");
        assert_eq!(t.marks().end, Offset(BATCHES * records), "{case}");
        drop(t);
        fixture.reopen();
    }
    let next = fixture.t().append(batch(0, records), Origin::Client, NOW).unwrap();
    assert_eq!(next.base, Offset(BATCHES * records), "{case}");
}

fn each_case(bytes: &[usize], whiles: &[While]) {
    for records in [1, 3] {
        for (interval, place) in ["100", "4096"].into_iter().flat_map(|i| PLACES.map(|place| (i, place))) {
            for (byte, when) in bytes.iter().flat_map(|byte| whiles.iter().map(move |when| (*byte, *when))) {
                let case =
                    format!("byte {byte} of {place:?}, {records} records, index each {interval}, {when:?}");
                // Behind the last batch nothing tells where a log that was killed has ended.
                if place == Place::LastOfLog && matches!(when, While::Killed) {
                    continue;
                }
                let (mut fixture, size) = filled(interval, records);
                match when {
                    While::Running => {}
                    While::Stopped | While::Repaired => fixture.store.take().unwrap().close().unwrap(),
                    While::Killed => fixture.kill(),
                }
                let rotten = harm(&fixture, records, size, place, byte);
                if matches!(when, While::Repaired) {
                    let left = repair(&fixture);
                    assert!(left.iter().all(|finding| !finding.remedy.is_some()), "{case}");
                    assert!(!fixture.folder().join("set-aside").exists(), "{case}: nothing is set aside");
                }
                if fixture.store.is_none() {
                    fixture.open();
                }
                check(&mut fixture, records, rotten, &case);
            }
        }
    }
}

#[test]
fn a_base_offset_that_rots_costs_its_batch_and_no_other() {
    each_case(&[3, 7], &[While::Running, While::Stopped, While::Killed]);
}

#[test]
fn a_repair_quarantines_the_batch_whose_base_offset_has_rotted_and_nothing_else() {
    each_case(&[3, 7], &[While::Repaired]);
}

#[test]
fn what_this_process_wrote_and_read_before_is_checked_by_each_read() {
    each_case(&[66], &[While::Running]);
    let (mut fixture, size) = filled("100", 1);
    assert_eq!(readable(&fixture.t()).0.len() as i64, BATCHES);
    let rotten = harm(&fixture, 1, size, Place::Middle, 66);
    check(&mut fixture, 1, rotten, "behind a read");
}

/// Keys of their own, each twice, so that compaction leaves every second batch: the bytes of one.
fn compactable(segment_bytes: &str) -> (Fixture, usize) {
    let fixture = Fixture::new(&[
        ("internal.segment.bytes", segment_bytes),
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
    ]);
    let batch = |n: i64| {
        let key = format!("{:04}", n / 2);
        keyed(&[(key.as_str(), Some("v"))], Timestamp(NOW.0 + n))
    };
    for n in 0..BATCHES {
        fixture.t().append(batch(n), Origin::Client, NOW).unwrap();
    }
    wait_durable(&fixture.t());
    (fixture, batch(0).len())
}

#[test]
fn compaction_gives_no_batch_a_new_life_under_an_offset_that_has_rotted() {
    // Of the second segment, by which others are hidden, or are not.
    for (byte, mask) in [(7, 1), (7, 4), (3, 1), (7, 64)] {
        for place in [Place::First, Place::Middle, Place::Last] {
            let case = format!("byte {byte} ^ {mask} of {place:?}");
            let (mut fixture, size) = compactable("700");
            let t = fixture.t();
            wait_until("the segments are sealed", || {
                t.segments_now().iter().rev().skip(1).all(|segment| !segment.is_live())
            });
            let active = t.segments_now().pop().unwrap().base().0;
            let damaged = t.segments_now()[1].base();
            let behind = t.segments_now()[2].base().0;
            let rotten = match place {
                Place::First => damaged.0,
                Place::Middle => damaged.0 + (behind - damaged.0) / 2,
                _ => behind - 1,
            };
            let at = (rotten - damaged.0) as usize * size + byte;
            flip(&logs(&fixture)[1].1, at, mask);
            drop(t);
            for _ in 0..2 {
                fixture.store().maintain_at(NOW);
            }
            for _ in 0..2 {
                let t = fixture.t();
                assert_eq!(t.lost(), [Offset(rotten)..Offset(rotten + 1)], "{case}");
                let whole = |n: i64| {
                    let stays = n % 2 == 1 || n >= active || (damaged.0..behind).contains(&n);
                    // Its later record is lost, or in the active segment, which nobody compacts.
                    let needed = n + 1 == rotten || n + 1 >= active;
                    n != rotten && (stays || needed)
                };
                let expected: Vec<i64> = (0..BATCHES).filter(|n| whole(*n)).collect();
                assert_eq!(readable(&t).0, expected, "{case}");
                drop(t);
                fixture.reopen();
            }
        }
    }
}

#[test]
fn where_compaction_has_left_gaps_the_batch_before_a_rotten_one_is_kept() {
    let (mut fixture, size) = compactable("1500");
    let t = fixture.t();
    wait_until("the segments are sealed", || {
        t.segments_now().iter().rev().skip(1).all(|segment| !segment.is_live())
    });
    drop(t);
    fixture.store().maintain_at(NOW);
    let before = readable(&fixture.t()).0;
    assert_eq!(before[..8], [1, 3, 5, 7, 9, 11, 13, 15]);
    // To 10, right behind where 9 ends, and 11 was no other: nothing is between.
    flip(&logs(&fixture)[0].1, 6 * size + 7, 13 ^ 10);
    for _ in 0..2 {
        let t = fixture.t();
        assert_eq!(t.read(Offset(11), 1, Bound::HighWatermark, true).unwrap().next, Offset(12));
        let whole: Vec<i64> = before.iter().copied().filter(|offset| *offset != 13).collect();
        assert_eq!(readable(&t), (whole, vec![(12, 15)]));
        assert_eq!(t.lost(), [Offset(12)..Offset(15)]);
        drop(t);
        fixture.reopen();
    }
}

/// Bytes of a header: its base offset's last, the largest timestamp's last but one, a record's.
#[test]
fn no_time_is_answered_for_from_a_batch_that_has_rotted() {
    for byte in [7, 41, 66] {
        let (fixture, size) = filled("100", 1);
        let t = fixture.t();
        let rotten = harm(&fixture, 1, size, Place::Middle, byte);
        let found = t.offset_for_time(Timestamp(NOW.0 + rotten)).unwrap().unwrap();
        let next = Timestamp(NOW.0 + rotten + 1);
        assert_eq!((found.offset, found.timestamp), (Offset(rotten + 1), next), "byte {byte}");
        assert_eq!(t.lost(), [Offset(rotten)..Offset(rotten + 1)], "byte {byte}");

        let (fixture, size) = filled("100", 1);
        let t = fixture.t();
        assert_eq!(harm(&fixture, 1, size, Place::LastOfLog, byte), BATCHES - 1);
        let found = t.max_timestamp().unwrap().unwrap();
        let latest = Timestamp(NOW.0 + BATCHES - 2);
        assert_eq!((found.offset, found.timestamp), (Offset(BATCHES - 2), latest), "byte {byte}");
        assert_eq!(t.lost(), [Offset(BATCHES - 1)..Offset(BATCHES)], "byte {byte}");
    }
}
