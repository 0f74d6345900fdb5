//! What the simulation found (`tests/sim`), each as the smallest case of it. The seeds are those of the day.

use std::fs;

use flumen_types::{Offset, Timestamp};

use crate::tests::testing::*;
use crate::{Bound, Origin};

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

fn first_batch_bytes(log: &std::path::Path) -> u64 {
    let header = flumen_records::BatchHeader::parse(&fs::read(log).unwrap()).unwrap();
    header.total_len() as u64
}

/// Seed 32: the segment with the largest timestamp lay before the start.
#[test]
fn the_latest_record_is_one_that_is_there() {
    let fixture = Fixture::new(&[SMALL]);
    let t = fixture.t();
    for (n, time) in [9000, 1, 2, 3, 4, 5, 6, 7].into_iter().enumerate() {
        let value = n.to_string();
        t.append(keyed(&[("k", Some(value.as_str()))], Timestamp(NOW.0 + time)), Origin::Client, NOW)
            .unwrap();
    }
    wait_durable(&t);
    assert!(t.segments_now().len() > 1);
    assert_eq!(t.max_timestamp().unwrap().unwrap().offset, Offset(0));
    t.trim(Offset(1)).unwrap();
    assert_eq!(t.max_timestamp().unwrap().unwrap().offset, Offset(7));
}

/// Seed 42: a power cut had taken the end of a file, behind which a quarantined range reached. The open
/// never ended; and what was appended next would have been in that range.
#[test]
fn a_quarantined_range_ends_with_its_file() {
    let mut fixture = Fixture::new(&[]);
    fill(&fixture, 3);
    fixture.kill();
    let log = fixture.folder().join("00000000000000000000.log");
    let whole = fs::metadata(&log).unwrap().len();
    let list = format!("0\n1\n{} {} 3 9\n", whole, whole + 500);
    fs::write(fixture.folder().join("00000000000000000000.quarantine"), list).unwrap();
    fixture.open();
    fill(&fixture, 4);
    fixture.kill();
    fixture.open();
    assert_eq!(offsets(&fixture), (0..7).collect::<Vec<_>>());
}

/// Seed 641: the name of a new segment had reached the disk, the records before it had not. The log went on
/// behind a gap, as if records were lost that somebody had been told of.
#[test]
fn a_segment_behind_appends_that_were_lost_goes_with_them() {
    let mut fixture = Fixture::new(&[SMALL]);
    fill(&fixture, 30);
    let bases: Vec<Offset> = fixture.t().segments_now().iter().map(|segment| segment.base()).collect();
    fixture.kill();
    let [.., before, last] = bases[..] else { panic!("{bases:?}") };
    let folder = fixture.folder();
    let path = |base: Offset| folder.join(format!("{:020}.log", base.0));
    let first = first_batch_bytes(&path(before));
    fs::File::options().write(true).open(path(before)).unwrap().set_len(first).unwrap();
    for end in ["", "behind"] {
        let content = if end.is_empty() { Vec::new() } else { fs::read(path(bases[0])).unwrap() };
        fs::write(path(last), content).unwrap();
        fixture.open();
        let t = fixture.t();
        assert_eq!((t.marks().end, t.lost().len()), (before.next(), 0));
        assert_eq!(offsets(&fixture), (0..=before.0).collect::<Vec<_>>());
        drop(t);
        fixture.kill();
    }
}

/// Seed 1272: a bit of the last header had flipped before a clean start, which went by it.
#[test]
fn a_clean_start_does_not_go_by_a_header_that_has_rotted() {
    let mut fixture = Fixture::new(&[]);
    fill(&fixture, 3);
    fixture.store.take().unwrap().close().unwrap();
    let log = fixture.folder().join("00000000000000000000.log");
    let mut content = fs::read(&log).unwrap();
    let last = content.len() / 3 * 2;
    content[last + 23 + 1] ^= 1;
    fs::write(&log, content).unwrap();
    fixture.open();
    assert_eq!(fixture.t().marks().end, Offset(3));
    assert!(fixture.t().read(Offset(2), 100, Bound::LogEnd, true).is_err());
    assert_eq!(fixture.t().append(plain("next"), Origin::Client, NOW).unwrap().base, Offset(3));
}

/// Seed 3191: a recovery left no snapshot behind. Retention then dropped the segments that it had read, and
/// the next recovery began with what an older snapshot knew of the producers.
#[test]
fn producers_are_known_when_their_records_were_dropped_behind_a_recovery() {
    let mut fixture = Fixture::new(&[SMALL, ("file.delete.delay.ms", "0")]);
    for n in 0..20 {
        fixture.t().append(sequenced(7, n, "x", false), Origin::Client, NOW).unwrap();
    }
    wait_durable(&fixture.t());
    fixture.kill();
    for name in fixture.files(".snapshot") {
        fs::remove_file(fixture.folder().join(name)).unwrap();
    }
    fixture.open();
    let last = fixture.t().segments_now().pop().unwrap().base();
    fixture.t().trim(last).unwrap();
    fixture.store().maintain_at(NOW);
    assert_eq!(fixture.t().segments_now().len(), 1);
    fixture.kill();
    fixture.open();
    assert!(fixture.t().append(sequenced(7, 19, "x", false), Origin::Client, NOW).unwrap().duplicate);
    assert!(fixture.t().append(sequenced(7, 22, "x", false), Origin::Client, NOW).is_err());
    assert_eq!(
        fixture.t().append(sequenced(7, 20, "x", false), Origin::Client, NOW).unwrap().base,
        Offset(20)
    );
}
