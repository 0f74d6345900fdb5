//! What a recovery makes of torn and of rotten bytes, and what readers are then told.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use flumen_types::{Offset, Timestamp};

use crate::tests::testing::*;
use crate::{Bound, OpenError, Origin, Store};

const SEGMENT: (&str, &str) = ("internal.segment.bytes", "1000");

fn record(n: i64) -> bytes::Bytes {
    keyed(&[("k", Some(&format!("{n:04}")))], Timestamp(NOW.0 + n))
}

/// So many records of one size, durable; the bytes of each batch.
fn filled(configs: &[(&str, &str)], count: i64) -> (Fixture, usize) {
    let fixture = Fixture::new(configs);
    for n in 0..count {
        fixture.t().append(record(n), Origin::Client, NOW).unwrap();
    }
    wait_durable(&fixture.t());
    (fixture, record(0).len())
}

fn log(fixture: &Fixture, base: i64) -> PathBuf {
    fixture.folder().join(format!("{base:020}.log"))
}

fn change(path: &std::path::Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut content = fs::read(path).unwrap();
    change(&mut content);
    fs::write(path, content).unwrap();
}

#[test]
fn rot_is_refused_and_what_lies_behind_it_is_kept() {
    // A payload, a header, and two in a row; in the last batch it is not to be told from a torn write.
    for (bits, lost) in [(&[(7, 66)][..], 7..8), (&[(7, 11)], 7..8), (&[(3, 66), (4, 16)], 3..5)] {
        let (mut fixture, batch) = filled(&[("index.interval.bytes", "100")], 10);
        fixture.kill();
        change(&log(&fixture, 0), |content| bits.iter().for_each(|(n, at)| content[n * batch + at] ^= 0x55));
        fixture.open();
        let expected: Vec<i64> = (0..10).filter(|offset| !lost.contains(offset)).collect();
        for _ in 0..3 {
            assert_eq!(readable(&fixture.t()), (expected.clone(), vec![(lost.start, lost.end)]));
            let refused =
                fixture.t().read(Offset(lost.start), 99, Bound::LogEnd, true).unwrap_err().to_string();
            let says =
                format!("offsets {} to {} are lost; read on from {}", lost.start, lost.end - 1, lost.end);
            assert!(
                refused.contains("00000000000000000000.log byte") && refused.contains(&says),
                "{refused}"
            );
            // By time, what is left is found.
            let time = Timestamp(NOW.0 + lost.start);
            assert_eq!(fixture.t().offset_for_time(time).unwrap().unwrap().offset.0, lost.end);
            fixture.reopen();
        }
        fixture.kill();
        fixture.open();
        assert_eq!(readable(&fixture.t()).0, expected);
        assert_eq!(fixture.t().append(plain("next"), Origin::Client, NOW).unwrap().base, Offset(10));
        assert!(fixture.files("").iter().all(|name| !name.contains(".cut-")));
    }
}

#[test]
fn what_a_sync_has_covered_is_never_cut_off() {
    // The last batch, its length, all of the file's end; and a file that is shorter than it was.
    type Harm = fn(&mut Vec<u8>, usize);
    let damages: [(Harm, i64); 4] = [
        (|content, batch| content[9 * batch + 66] ^= 1, 9),
        (|content, batch| content[9 * batch + 8] ^= 0x40, 9),
        (|content, batch| content[7 * batch + 5..].fill(0), 7),
        (|content, batch| content.truncate(8 * batch + 30), 8),
    ];
    for (damage, kept) in damages {
        let (mut fixture, batch) = filled(&[], 10);
        fixture.store().upkeep().checkpoint().unwrap();
        fixture.kill();
        change(&log(&fixture, 0), |content| damage(content, batch));
        for _ in 0..2 {
            fixture.open();
            let t = fixture.t();
            assert_eq!(t.marks().end, Offset(10));
            assert_eq!(readable(&t), ((0..kept).collect(), vec![(kept, 10)]));
            drop(t);
            fixture.kill();
        }
        fixture.open();
        assert_eq!(fixture.t().append(plain("next"), Origin::Client, NOW).unwrap().base, Offset(10));
        wait_durable(&fixture.t());
        fixture.reopen();
        assert_eq!(readable(&fixture.t()), ((0..kept).chain([10]).collect(), vec![(kept, 10)]));
    }
}

#[test]
fn a_log_that_was_cut_between_batches_does_not_give_its_offsets_again() {
    let (mut fixture, batch) = filled(&[], 10);
    fixture.store.take().unwrap().close().unwrap();
    change(&log(&fixture, 0), |content| content.truncate(6 * batch));
    for _ in 0..2 {
        fixture.open();
        assert_eq!(fixture.t().marks().end, Offset(10));
        assert_eq!(fixture.t().lost(), [Offset(6)..Offset(10)]);
        fixture.store.take().unwrap().close().unwrap();
    }
    fixture.open();
    assert_eq!(fixture.t().append(plain("next"), Origin::Client, NOW).unwrap().base, Offset(10));
    wait_durable(&fixture.t());
    assert_eq!(readable(&fixture.t()), ((0..6).chain([10]).collect(), vec![]));
}

#[test]
fn offsets_that_a_recovery_misses_are_not_given_again_by_the_one_after_it() {
    let (mut fixture, batch) = filled(&[], 10);
    fixture.store().upkeep().checkpoint().unwrap();
    fixture.kill();
    change(&log(&fixture, 0), |content| content.truncate(6 * batch));
    for _ in 0..2 {
        fixture.open();
        assert_eq!(fixture.t().marks().end, Offset(10));
        assert_eq!(fixture.t().lost(), [Offset(6)..Offset(10)]);
        // As a delete of another topic does it.
        fixture.store().upkeep().save_checkpoints().unwrap();
        fixture.kill();
    }
}

#[test]
fn a_torn_tail_is_set_aside() {
    let (mut fixture, batch) = filled(&[], 10);
    fixture.kill();
    let whole = fs::read(log(&fixture, 0)).unwrap();
    for (n, tail) in [&b"no batch at all"[..], &b"another"[..]].into_iter().enumerate() {
        change(&log(&fixture, 0), |content| content.extend_from_slice(tail));
        fixture.open();
        fixture.kill();
        assert_eq!(fs::read(log(&fixture, 0)).unwrap(), whole);
        let number = if n == 0 { "" } else { ".1" };
        let kept = log(&fixture, 0).with_extension(format!("log.cut-{}{number}", 10 * batch));
        assert_eq!(fs::read(kept).unwrap(), tail);
    }
    change(&log(&fixture, 0), |content| content.extend_from_slice(&[0; 300]));
    fixture.open();
    assert_eq!(
        fixture.files("").iter().filter(|name| name.contains(".cut-")).count(),
        2,
        "zeros are nothing"
    );
}

#[test]
fn segments_behind_a_torn_one_are_set_aside_and_not_unlinked() {
    let (mut fixture, _) = filled(&[SEGMENT], 50);
    let bases: Vec<i64> = fixture.t().segments_now().iter().map(|segment| segment.base().0).collect();
    fixture.kill();
    let last = fs::read(log(&fixture, bases[3])).unwrap();
    // As if the second had never been written to its end.
    change(&log(&fixture, bases[1]), |content| content.truncate(content.len() - 10));
    fixture.open();
    let t = fixture.t();
    assert_eq!(t.marks().end.0, bases[2] - 1);
    assert_eq!(readable(&t), ((0..bases[2] - 1).collect(), vec![]));
    let kept = log(&fixture, bases[3]).with_extension("log.cut-0");
    assert_eq!(fs::read(kept).unwrap(), last);
    assert!(fixture.files(".deleted").is_empty());
}

#[test]
fn a_rotten_end_of_a_segment_does_not_cost_the_next_ones() {
    let (mut fixture, batch) = filled(&[SEGMENT], 50);
    let second = fixture.t().segments_now()[1].base().0;
    fixture.kill();
    change(&log(&fixture, 0), |content| content[(second as usize - 1) * batch + 66] ^= 1);
    fixture.open();
    let expected: Vec<i64> = (0..50).filter(|offset| *offset != second - 1).collect();
    assert_eq!(readable(&fixture.t()), (expected.clone(), vec![(second - 1, second)]));
    fixture.reopen();
    assert_eq!(readable(&fixture.t()).0, expected);
}

#[test]
fn a_damaged_segment_is_not_compacted_and_those_before_and_behind_it_are() {
    let configs =
        [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0"), ("index.interval.bytes", "100")];
    let mut fixture = Fixture::new(&configs);
    for round in 0..4 {
        let t = fixture.t();
        for _ in 0..5 {
            t.append(keyed(&[("k", Some("v"))], NOW), Origin::Client, NOW).unwrap();
        }
        if round < 3 {
            t.roll(&mut t.writer()).unwrap();
        }
        wait_durable(&t);
    }
    fixture.kill();
    change(&log(&fixture, 5), |content| {
        let at = content.len() / 5 * 2 + 66;
        content[at] ^= 1;
    });
    fixture.open();
    let damaged = fs::read(log(&fixture, 5)).unwrap();
    let t = fixture.t();
    wait_until("the segments are sealed", || !t.segments_now()[2].is_live());
    assert!(t.compact(NOW).unwrap());
    assert!(!t.compact(NOW).unwrap(), "nothing is left to do");
    assert_eq!(readable(&t), (vec![5, 6, 8, 9, 14, 15, 16, 17, 18, 19], vec![(7, 8)]));
    assert_eq!(fs::read(log(&fixture, 5)).unwrap(), damaged);
}

#[test]
fn a_log_in_an_old_format_is_refused() {
    let (mut fixture, _) = filled(&[], 2);
    fixture.kill();
    // Kafka 0.10's: offset 0, format 1, key "k", value "v".
    let mut body = vec![1, 0];
    body.extend_from_slice(&1000_i64.to_be_bytes());
    for field in [b"k", b"v"] {
        body.extend_from_slice(&1_i32.to_be_bytes());
        body.extend_from_slice(field);
    }
    let mut message = 0_i64.to_be_bytes().to_vec();
    message.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
    message.extend_from_slice(&0xe4e3_21bc_u32.to_be_bytes());
    message.extend_from_slice(&body);
    fs::write(log(&fixture, 0), &message).unwrap();
    // After a crash, and in a directory that is adopted after a clean stop.
    for _ in 0..2 {
        match Store::open(fixture.options(), Arc::new(())) {
            Err(error @ (OpenError::Partition { .. } | OpenError::File(_))) => {
                let text = crate::error::chain(&error);
                assert!(text.contains("format 1") && text.contains("00000000000000000000.log"), "{text}");
            }
            other => panic!("{:?}", other.map(|_| ())),
        }
        fs::remove_file(fixture.dir.path().join("data/flumen-topics.json")).ok();
        fs::write(fixture.dir.path().join("data/.kafka_cleanshutdown"), "{}").unwrap();
    }
    assert_eq!(fs::read(log(&fixture, 0)).unwrap(), message);
}

#[test]
fn records_that_are_missing_in_the_middle_are_said_to_be() {
    let (mut fixture, batch) = filled(&[SEGMENT, ("index.interval.bytes", "100")], 60);
    let bases: Vec<i64> = fixture.t().segments_now().iter().map(|segment| segment.base().0).collect();
    fixture.reopen();
    wait_until("it was looked for", || fixture.t().look_for_gaps().is_ok());
    assert_eq!(fixture.t().lost(), []);
    fixture.store.take().unwrap().close().unwrap();
    // One is gone, one was cut between two batches.
    fs::remove_file(log(&fixture, bases[1])).unwrap();
    change(&log(&fixture, bases[3]), |content| content.truncate(content.len() - 2 * batch));
    fixture.open();
    let lost = [Offset(bases[1])..Offset(bases[2]), Offset(bases[4] - 2)..Offset(bases[4])];
    wait_until("they are found", || fixture.t().lost() == lost);
    // Readers get all that there is.
    let missing = |offset: &i64| lost.iter().any(|range| range.contains(&Offset(*offset)));
    assert_eq!(readable(&fixture.t()), ((0..60).filter(|offset| !missing(offset)).collect(), vec![]));
    // On a log that was compacted it is no news.
    fixture.store().set_topic_configs("t", [("cleanup.policy".into(), "compact".into())].into()).unwrap();
    fixture.reopen();
    fixture.t().look_for_gaps().unwrap();
    assert_eq!(fixture.t().lost(), []);
}

#[test]
fn rot_behind_a_clean_stop_is_found_by_the_first_reader_and_never_served() {
    let (mut fixture, batch) = filled(&[SEGMENT, ("index.interval.bytes", "100")], 50);
    let second = fixture.t().segments_now()[1].base().0;
    fixture.store.take().unwrap().close().unwrap();
    // A payload, a count of records, and the last batches of a segment and of the log.
    let last = second as usize - 1;
    change(&log(&fixture, 0), |content| {
        content[3 * batch + 66] ^= 1;
        content[5 * batch + 24] ^= 1;
        content[last * batch + 12] ^= 1;
        content[last * batch + 66] ^= 1;
    });
    let active = fixture.files(".log").pop().unwrap();
    change(&fixture.folder().join(active), |content| *content.last_mut().unwrap() ^= 1);
    fixture.open();
    let lost = [3, 5, second - 1, 49];
    let expected: Vec<i64> = (0..50).filter(|offset| !lost.contains(offset)).collect();
    for _ in 0..2 {
        for _ in 0..2 {
            assert_eq!(
                readable(&fixture.t()),
                (expected.clone(), lost.map(|offset| (offset, offset + 1)).to_vec())
            );
        }
        assert_eq!(fixture.t().lost(), lost.map(|offset| Offset(offset)..Offset(offset + 1)));
        assert_eq!(fixture.t().marks().end, Offset(50));
        fixture.reopen();
    }
    assert_eq!(fixture.t().append(plain("next"), Origin::Client, NOW).unwrap().base, Offset(50));
}

#[test]
fn a_batch_that_the_cleaner_cannot_read_is_met_once() {
    let configs = [("cleanup.policy", "compact"), ("min.cleanable.dirty.ratio", "0")];
    let fixture = Fixture::new(&configs);
    let t = fixture.t();
    for n in 0..2 {
        for _ in 0..5 {
            t.append(keyed(&[("k", Some("v"))], NOW), Origin::Client, NOW).unwrap();
        }
        if n == 0 {
            t.roll(&mut t.writer()).unwrap();
        }
    }
    wait_durable(&t);
    change(&log(&fixture, 0), |content| {
        let at = content.len() / 5 * 2 + 66;
        content[at] ^= 1;
    });
    t.compact(NOW).unwrap_err();
    assert!(t.compact(NOW).unwrap(), "the next pass goes around it");
    assert!(!t.compact(NOW).unwrap());
    assert_eq!(t.lost(), [Offset(2)..Offset(3)]);
}
