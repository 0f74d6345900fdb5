//! What the simulation found (`tests/sim`), each as the smallest case of it. The seeds are those of the day.

use std::fs;
use std::io;
use std::sync::Arc;

use flumen_records::ControlRecord;
use flumen_types::{Millis, Offset, ProducerEpoch, ProducerId, Timestamp};

use crate::tests::testing::*;
use crate::{Bound, Options, Origin, Store};

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

/// The same where no recovery point tells how far the log reached at the stop: only the CRC does.
#[test]
fn a_clean_start_without_a_recovery_point_goes_by_no_header_that_has_rotted() {
    let mut fixture = Fixture::new(&[]);
    fill(&fixture, 3);
    fixture.store.take().unwrap().close().unwrap();
    fs::remove_file(fixture.dir.path().join("data/recovery-point-offset-checkpoint")).unwrap();
    let log = fixture.folder().join("00000000000000000000.log");
    let mut content = fs::read(&log).unwrap();
    let last = content.len() / 3 * 2;
    content[last + 23 + 1] ^= 1;
    fs::write(&log, content).unwrap();
    fixture.open();
    assert_eq!(fixture.t().marks().end, Offset(2));
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

const COMPACT: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("min.cleanable.dirty.ratio", "0"),
    ("delete.retention.ms", "1000"),
    ("index.interval.bytes", "0"),
];

fn abort(fixture: &Fixture, id: i64) {
    let abort = ControlRecord::Abort { coordinator_epoch: 0 };
    fixture.t().append_marker(ProducerId(id), ProducerEpoch(0), abort, NOW).unwrap();
}

fn put(fixture: &Fixture, key: &str) {
    fixture.t().append(keyed(&[(key, Some("v"))], NOW), Origin::Client, NOW).unwrap();
    wait_durable(&fixture.t());
}

/// What is there from now on is in another segment.
fn roll(fixture: &Fixture) {
    let t = fixture.t();
    t.roll(&mut t.writer()).unwrap();
    put(fixture, "roll");
}

/// Seed 1553: retention had dropped the producer's data, and compaction the snapshot that knew of it. A recovery
/// found its marker alone, and took nothing from it but what begins anew.
#[test]
fn a_producer_of_whom_only_a_marker_is_left_goes_on_behind_a_crash() {
    let mut fixture = Fixture::new(&COMPACT);
    fixture.t().append(sequenced(7, 0, "aborted", true), Origin::Client, NOW).unwrap();
    roll(&fixture);
    abort(&fixture, 7);
    put(&fixture, "k");
    put(&fixture, "k");
    roll(&fixture);
    fixture.t().trim(Offset(1)).unwrap();
    fixture.store().maintain_at(NOW);
    assert_eq!(fixture.t().segments_now()[0].base(), Offset(1), "retention has dropped the first");
    assert_eq!(offsets(&fixture), [1, 4, 5], "and the second is compacted");
    fixture.kill();
    fixture.open();
    let t = fixture.t();
    assert!(t.append(sequenced(7, 2, "x", false), Origin::Client, NOW).is_err());
    assert!(t.append(sequenced(7, 0, "aborted", true), Origin::Client, NOW).unwrap().duplicate);
    assert_eq!(t.append(sequenced(7, 1, "x", false), Origin::Client, NOW).unwrap().base, Offset(6));
}

/// Beside seed 1553: a checkpoint has snapshots between the bases of segments too.
#[test]
fn a_checkpoint_does_not_remember_a_transaction_whose_marker_was_compacted_away() {
    let mut fixture = Fixture::new(&COMPACT);
    put(&fixture, "a");
    put(&fixture, "b");
    fixture.t().append(sequenced(7, 0, "aborted", true), Origin::Client, NOW).unwrap();
    wait_durable(&fixture.t());
    fixture.store().upkeep().checkpoint().unwrap();
    assert_eq!(fixture.t().recovery_point(), Offset(3));
    abort(&fixture, 7);
    fixture.t().append(sequenced(7, 1, "x", false), Origin::Client, NOW).unwrap();
    for at in [0, 0, 2000] {
        roll(&fixture);
        fixture.store().maintain_at(NOW.plus(Millis(at)));
    }
    let batches = read_batches(&fixture.t(), Offset(0), Bound::LogEnd);
    assert!(!batches.iter().any(|batch| batch.header().is_control()), "the marker is gone");
    fixture.kill();
    fixture.open();
    let marks = fixture.t().marks();
    assert_eq!(marks.last_stable, marks.end);
}

/// A disk that breaks with what is to be written next of aborted transactions.
struct NoTxnIndex;

impl Faults for NoTxnIndex {
    fn write(&self, bytes: usize) -> io::Result<usize> {
        const ENTRY_BYTES: usize = 34;
        if bytes == ENTRY_BYTES { Err(io::Error::from_raw_os_error(5)) } else { Ok(bytes) }
    }
}

/// Seed 6717: a recovery was cut short when it had emptied the list of a segment's aborted transactions to write
/// it anew. The next one began behind them, and believed that there were none.
#[test]
fn a_recovery_that_is_cut_short_leaves_the_next_one_what_it_goes_by() {
    let mut fixture = Fixture::new(&[("index.interval.bytes", "0")]);
    put(&fixture, "a");
    fixture.t().append(sequenced(7, 0, "aborted", true), Origin::Client, NOW).unwrap();
    abort(&fixture, 7);
    put(&fixture, "b");
    fixture.store().upkeep().checkpoint().unwrap();
    roll(&fixture);
    let before = fixture.t().read(Offset(0), 1 << 20, Bound::LastStable, true).unwrap().aborted;
    assert_eq!(before.len(), 1);
    fixture.kill();
    let broken = Options { files: Arc::new(Faulty::new(NoTxnIndex)), ..fixture.options() };
    assert!(Store::open(broken, Arc::new(())).is_err());
    fixture.open();
    assert_eq!(fixture.t().read(Offset(0), 1 << 20, Bound::LastStable, true).unwrap().aborted, before);
}

/// Seed 5630: a reader had come over whole batches to a broken one, and all of them were called lost.
#[test]
fn what_is_told_as_lost_begins_where_it_is_broken() {
    let mut fixture = Fixture::new(&[("index.interval.bytes", "0")]);
    fill(&fixture, 5);
    fixture.store.take().unwrap().close().unwrap();
    let log = fixture.folder().join("00000000000000000000.log");
    let mut content = fs::read(&log).unwrap();
    let batch = content.len() / 5;
    content[3 * batch + 16] ^= 0x40;
    fs::write(&log, content).unwrap();
    fixture.open();
    let t = fixture.t();
    assert_eq!(t.read(Offset(1), 1 << 20, Bound::LogEnd, true).unwrap().next, Offset(3));
    assert_eq!(t.lost(), [Offset(3)..Offset(4)]);
}

/// Seed 17777: a length that had rotted led a reader into the midst of another batch. What lay behind that place was
/// quarantined, and of the batch that was whole the end with it.
#[test]
fn a_batch_is_not_lost_to_the_rotten_length_of_another() {
    let mut fixture = Fixture::new(&[("index.interval.bytes", "0")]);
    fill(&fixture, 6);
    fixture.store.take().unwrap().close().unwrap();
    let log = fixture.folder().join("00000000000000000000.log");
    let mut content = fs::read(&log).unwrap();
    let batch = content.len() / 6;
    content[2 * batch + 11] ^= 0x20;
    fs::write(&log, content).unwrap();
    fixture.open();
    let t = fixture.t();
    for from in [3, 0, 3] {
        let _ = t.read(Offset(from), 1 << 20, Bound::LogEnd, true);
    }
    assert_eq!(t.lost(), [Offset(2)..Offset(3)]);
    for whole in [0, 1, 3, 4, 5] {
        assert_eq!(t.read(Offset(whole), 1, Bound::LogEnd, true).unwrap().next, Offset(whole + 1));
    }
}

/// Seed 53629: by a length that had rotted a reader came behind the end, and passed over what was between.
#[test]
fn what_a_rotten_length_reaches_over_is_not_passed_over() {
    let mut fixture = Fixture::new(&[("index.interval.bytes", "100")]);
    fill(&fixture, 6);
    fixture.store.take().unwrap().close().unwrap();
    let log = fixture.folder().join("00000000000000000000.log");
    let mut content = fs::read(&log).unwrap();
    let batch = content.len() / 6;
    content[2 * batch + 10] ^= 0x40;
    fs::write(&log, content).unwrap();
    fixture.open();
    let t = fixture.t();
    assert_eq!(t.read(Offset(3), 1, Bound::LogEnd, true).unwrap().next, Offset(4));
    assert_eq!(t.lost(), [Offset(2)..Offset(3)]);
}

/// Seeds 58924 and 62198: of a transaction that was aborted before the start, a pass kept the data and not the
/// marker. A recovery, which reads both, had it open for ever.
#[test]
fn a_transaction_before_the_start_does_not_outlive_its_marker() {
    let mut fixture = Fixture::new(&COMPACT);
    fixture.t().append(sequenced(7, 0, "aborted", true), Origin::Client, NOW).unwrap();
    abort(&fixture, 7);
    put(&fixture, "a");
    fixture.t().trim(Offset(2)).unwrap();
    for at in [0, 0, 2000] {
        roll(&fixture);
        fixture.store().maintain_at(NOW.plus(Millis(at)));
    }
    assert_eq!(fixture.t().segments_now()[0].base(), Offset(0));
    fixture.kill();
    fixture.open();
    let marks = fixture.t().marks();
    assert_eq!(marks.last_stable, marks.end);
}
