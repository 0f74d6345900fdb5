//! What a recovery behind a checkpoint reads, and what it knows without reading.

use std::fs;
use std::sync::Arc;

use flumen_records::ControlRecord;
use flumen_types::{Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::clock::OsClock;
use crate::error::ReadError;
use crate::tests::testing::*;
use crate::{Bound, Clock, Origin, Store};

/// An entry of the index a batch.
const DENSE: (&str, &str) = ("index.interval.bytes", "0");

fn append(fixture: &Fixture, offsets: std::ops::Range<i64>) {
    for n in offsets {
        let batch = keyed(&[("k", Some(&format!("{n:04}")))], Timestamp(NOW.0 + (n % 7) * 100 + n));
        assert_eq!(fixture.t().append(batch, Origin::Client, NOW).unwrap().base, Offset(n));
    }
    wait_durable(&fixture.t());
}

fn checkpoint(fixture: &Fixture) {
    fixture.store().upkeep().checkpoint().unwrap();
}

#[test]
fn a_recovery_reads_only_what_is_past_the_recovery_point() {
    let mut fixture = Fixture::new(&[DENSE]);
    append(&fixture, 0..50);
    checkpoint(&fixture);
    append(&fixture, 50..60);
    fixture.kill();
    let log = fixture.folder().join("00000000000000000000.log");
    let mut content = fs::read(&log).unwrap();
    let batch = content.len() / 60;
    // Rot that a recovery would find if it looked there; and some that it has to find.
    content[20 * batch + 70] ^= 1;
    content[55 * batch + 70] ^= 1;
    fs::write(&log, content).unwrap();
    fixture.open();
    let t = fixture.t();
    let found: Vec<_> = t.segments_now()[0].damage().ranges().iter().map(|range| range.first).collect();
    assert_eq!(found, [Offset(55)]);
    assert_eq!((t.marks().start, t.marks().end), (Offset(0), Offset(60)));
    // Whoever reads there is told.
    assert!(matches!(t.read(Offset(20), 1 << 20, Bound::LogEnd, true), Err(ReadError::Corrupt { .. })));
    drop(t);
    append(&fixture, 60..70);
}

#[test]
fn what_is_not_read_again_is_not_promised() {
    let mut fixture = Fixture::new(&[DENSE]);
    append(&fixture, 0..50);
    checkpoint(&fixture);
    append(&fixture, 50..60);
    fixture.kill();
    let options = fixture.options();
    let progress = options.progress.clone();
    fixture.store = Some(Store::open(options, Arc::new(())).unwrap());
    let opening = progress.at(OsClock.instant());
    assert_eq!(opening.bytes, opening.bytes_done);
    // The last entry of the index below the point is of the batch before it.
    assert_eq!(opening.bytes, fixture.t().size_bytes() / 60 * 11);
}

#[test]
fn an_index_that_a_crash_has_spoilt_costs_time_and_nothing_else() {
    type Harm = fn(&std::path::Path);
    let harms: [Harm; 5] = [
        |index| fs::remove_file(index).unwrap(),
        |index| fs::write(index, []).unwrap(),
        |index| fs::write(index, [7; 24]).unwrap(),
        |index| {
            let mut content = fs::read(index).unwrap();
            let end = content.len() - 4;
            content[end..].copy_from_slice(&300_u32.to_be_bytes());
            fs::write(index, content).unwrap();
        },
        |index| {
            let content = fs::read(index).unwrap();
            fs::write(index, &content[..content.len() / 16 * 8]).unwrap();
        },
    ];
    for harm in harms {
        let mut fixture = Fixture::new(&[DENSE]);
        append(&fixture, 0..30);
        checkpoint(&fixture);
        append(&fixture, 30..35);
        fixture.kill();
        harm(&fixture.folder().join("00000000000000000000.index"));
        fixture.open();
        assert_eq!(read_all(&fixture.t()).len(), 35);
        append(&fixture, 35..40);
        checkpoint(&fixture);
        fixture.kill();
        fixture.open();
        assert_eq!(read_all(&fixture.t()).len(), 40);
        for n in 0..40 {
            let read = fixture.t().read(Offset(n), 1, Bound::LogEnd, true).unwrap();
            assert_eq!(read.next, Offset(n + 1));
        }
    }
}

#[test]
fn producers_and_transactions_are_known_from_before_and_from_behind_the_point() {
    let abort = ControlRecord::Abort { coordinator_epoch: 0 };
    let mut fixture = Fixture::new(&[DENSE]);
    let t = fixture.t();
    let begin =
        |id: i64, sequence| t.append(sequenced(id, sequence, "v", true), Origin::Client, NOW).unwrap();
    let end = |id: i64| t.append_marker(ProducerId(id), ProducerEpoch(0), abort, NOW).unwrap();
    begin(1, 0);
    end(1);
    begin(2, 0);
    begin(3, 0);
    wait_durable(&t);
    checkpoint(&fixture);
    end(2);
    begin(1, 1);
    end(1);
    wait_durable(&t);
    let before = t.read(Offset(0), 1 << 20, Bound::LastStable, true).unwrap();
    let known = |t: &crate::Partition| {
        let aborted = crate::locks::read(&t.aborted).entries().to_vec();
        (t.producers(), t.marks().last_stable, aborted)
    };
    let expected = known(&t);
    assert_eq!(expected.2.len(), 3);
    drop(t);
    for _ in 0..3 {
        fixture.kill();
        fixture.open();
        let t = fixture.t();
        assert_eq!(known(&t), expected);
        let read = t.read(Offset(0), 1 << 20, Bound::LastStable, true).unwrap();
        assert_eq!((read.bytes, read.aborted), (before.bytes.clone(), before.aborted.clone()));
        assert!(t.append(sequenced(1, 1, "v", true), Origin::Client, NOW).unwrap().duplicate);
        checkpoint(&fixture);
    }
}

#[test]
fn a_checkpoint_leaves_one_snapshot_and_none_of_an_open_segment_that_was_rolled() {
    let mut fixture = Fixture::new(&[DENSE]);
    for n in 0..5 {
        append(&fixture, n * 10..n * 10 + 10);
        checkpoint(&fixture);
    }
    assert_eq!(fixture.files(".snapshot"), ["00000000000000000050.snapshot"]);
    let t = fixture.t();
    // Taken before the roll, written behind it.
    append(&fixture, 50..55);
    t.take_moment().unwrap();
    t.roll(&mut t.writer()).unwrap();
    t.mark_dirty();
    wait_until("the segment is saved", || !t.segments_now()[0].is_live());
    let index = fs::read(fixture.folder().join("00000000000000000000.index")).unwrap();
    checkpoint(&fixture);
    assert_eq!(fs::read(fixture.folder().join("00000000000000000000.index")).unwrap(), index);
    assert_eq!(t.recovery_point(), Offset(55));
    drop(t);
    append(&fixture, 55..60);
    fixture.kill();
    fixture.open();
    assert_eq!(read_all(&fixture.t()).len(), 60);
}

/// A client has five batches under way when its broker is killed, and the snapshot that the recovery begins
/// with is from behind them.
#[test]
fn what_was_under_way_is_known_behind_a_snapshot() {
    for clean in [true, false] {
        let mut fixture = Fixture::new(&[("internal.segment.bytes", "300")]);
        for n in 0..9 {
            fixture.t().append(sequenced(7, n, "under way", false), Origin::Client, NOW).unwrap();
        }
        wait_durable(&fixture.t());
        checkpoint(&fixture);
        if clean {
            fixture.reopen();
        } else {
            fixture.kill();
            fixture.open();
        }
        let t = fixture.t();
        for n in 4..9 {
            let again = t.append(sequenced(7, n, "under way", false), Origin::Client, NOW).unwrap();
            assert!(again.duplicate && again.base == Offset(n.into()), "{n}: {again:?}");
        }
        assert_eq!(t.marks().end, Offset(9));
    }
}
