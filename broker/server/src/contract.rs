//! What every [`PartitionLog`] has to do: one suite, run against each implementation.
//!
//! An implementation calls [`contract_suite!`] with a function that opens an empty log, and keeps alive
//! whatever the log needs.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_records::{Batch, BatchBuilder, Compression, ControlRecord, NewRecord, batches};
use flumen_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use tokio::time::timeout;

use crate::partition_log::{
    AppendError, Appended, Bound, Marks, Origin, PartitionLog, Read, ReadError, TimeQuery, TrimError, durable,
};

type Log = Arc<dyn PartitionLog>;

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
const PRODUCER: (ProducerId, ProducerEpoch) = (ProducerId(7), ProducerEpoch(0));
const COMMIT: ControlRecord = ControlRecord::Commit { coordinator_epoch: 0 };
const ABORT: ControlRecord = ControlRecord::Abort { coordinator_epoch: 0 };
const PATIENCE: Duration = Duration::from_secs(10);

/// One test for each clause of the contract.
macro_rules! contract_suite {
    ($open:path) => {
        $crate::contract::contract_suite!(
            @tests $open:
            offsets_ascend_without_gaps
            what_is_durable_is_told
            a_refused_append_changes_nothing
            a_repeated_batch_gets_its_first_offsets
            a_gap_in_a_sequence_is_refused
            reads_give_whole_batches_from_the_one_asked_for
            reads_respect_the_room_but_for_the_first_batch
            reads_outside_of_the_log_are_refused
            committed_readers_wait_for_the_end_of_a_transaction
            committed_readers_are_told_what_was_aborted
            records_are_found_by_time
            epochs_end_at_the_end
            a_trim_moves_the_start
            waiters_are_woken
        );
    };
    (@tests $open:path: $($name:ident)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                let (log, _alive) = $open().await;
                $crate::contract::$name(log).await;
            }
        )*
    };
}
pub(crate) use contract_suite;

fn records(builder: BatchBuilder, times: &[i64]) -> Bytes {
    let mut builder = builder;
    for time in times {
        let value = format!("value at {time}");
        builder.push(&NewRecord {
            timestamp: Timestamp(NOW.0 + time),
            key: Some(b"key"),
            value: Some(value.as_bytes()),
            headers: &[],
        });
    }
    builder.build().unwrap()
}

pub(crate) fn plain(times: &[i64]) -> Bytes {
    records(BatchBuilder::new(Compression::None), times)
}

fn sequenced(first: i32, count: usize) -> Bytes {
    let builder = BatchBuilder::new(Compression::None).producer(PRODUCER.0, PRODUCER.1, Sequence(first));
    records(builder, &vec![0; count])
}

fn transactional(first: i32, count: usize) -> Bytes {
    let builder =
        BatchBuilder::new(Compression::Lz4).producer(PRODUCER.0, PRODUCER.1, Sequence(first)).transactional();
    records(builder, &vec![0; count])
}

fn append(log: &Log, batches: Bytes) -> Appended {
    log.append(batches, Origin::Client, NOW).unwrap()
}

async fn settled(log: &Log, appended: Appended) -> Appended {
    assert!(timeout(PATIENCE, durable(log.watch(), appended.last)).await.unwrap());
    appended
}

async fn end(log: &Log, control: ControlRecord) {
    let marker = log.append_marker(PRODUCER, control, NOW).unwrap();
    settled(log, marker).await;
}

async fn read(log: &Log, from: i64, bound: Bound) -> Read {
    log.read(Offset(from), 1 << 20, bound, true).await.unwrap()
}

fn spans(read: &Read) -> Vec<(i64, i64)> {
    let span = |batch: Batch| (batch.header().base_offset.0, batch.header().last_offset().0);
    batches(read.bytes.clone()).map(|batch| span(batch.unwrap())).collect()
}

fn marks(log: &Log) -> Marks {
    log.marks()
}

pub(crate) async fn offsets_ascend_without_gaps(log: Log) {
    for (count, base, last) in [(1, 0, 0), (3, 1, 3), (2, 4, 5)] {
        let appended = append(&log, plain(&vec![0; count]));
        assert_eq!((appended.base, appended.last, appended.duplicate), (Offset(base), Offset(last), false));
    }
    let two = append(&log, [plain(&[0, 0]), plain(&[0])].concat().into());
    assert_eq!((two.base, two.last), (Offset(6), Offset(8)));
    settled(&log, two).await;
    assert_eq!(spans(&read(&log, 0, Bound::HighWatermark).await), [(0, 0), (1, 3), (4, 5), (6, 7), (8, 8)]);
}

pub(crate) async fn what_is_durable_is_told(log: Log) {
    let appended = append(&log, plain(&[0, 0]));
    settled(&log, appended).await;
    let marks = marks(&log);
    assert!(marks.high_watermark > appended.last && marks.end >= marks.high_watermark);
    assert_eq!(marks.start, Offset(0));
    assert!(!marks.failed);
}

pub(crate) async fn a_refused_append_changes_nothing(log: Log) {
    settled(&log, append(&log, plain(&[0]))).await;
    let mut broken = plain(&[0, 0]).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    let refused = log.append(broken.into(), Origin::Client, NOW);
    assert!(matches!(refused, Err(AppendError::Corrupt(_))), "{refused:?}");
    let mut torn = plain(&[0]);
    torn.truncate(torn.len() - 3);
    assert!(log.append(torn, Origin::Client, NOW).is_err());
    assert!(log.append(Bytes::from_static(b"nothing like a batch"), Origin::Client, NOW).is_err());
    assert_eq!(append(&log, plain(&[0])).base, Offset(1));
}

pub(crate) async fn a_repeated_batch_gets_its_first_offsets(log: Log) {
    append(&log, plain(&[0]));
    let first = append(&log, sequenced(0, 3));
    append(&log, sequenced(3, 1));
    let again = append(&log, sequenced(0, 3));
    assert_eq!((again.base, again.last, again.duplicate), (first.base, first.last, true));
    assert_eq!(append(&log, plain(&[0])).base, Offset(5));
}

pub(crate) async fn a_gap_in_a_sequence_is_refused(log: Log) {
    append(&log, sequenced(0, 2));
    let refused = log.append(sequenced(3, 1), Origin::Client, NOW);
    assert!(matches!(refused, Err(AppendError::OutOfOrderSequence { .. })), "{refused:?}");
    assert_eq!(append(&log, sequenced(2, 1)).base, Offset(2));
}

pub(crate) async fn reads_give_whole_batches_from_the_one_asked_for(log: Log) {
    for _ in 0..3 {
        settled(&log, append(&log, plain(&[0, 0]))).await;
    }
    let middle = read(&log, 3, Bound::HighWatermark).await;
    assert_eq!(spans(&middle), [(2, 3), (4, 5)]);
    assert_eq!(middle.next, Offset(6));
    let nothing = read(&log, 6, Bound::HighWatermark).await;
    assert!(nothing.bytes.is_empty() && nothing.next == Offset(6));
}

pub(crate) async fn reads_respect_the_room_but_for_the_first_batch(log: Log) {
    let size = plain(&[0, 0]).len();
    for _ in 0..3 {
        settled(&log, append(&log, plain(&[0, 0]))).await;
    }
    let room = async |bytes_max, min_one| {
        let read = log.read(Offset(0), bytes_max, Bound::HighWatermark, min_one).await.unwrap();
        spans(&read).len()
    };
    assert_eq!(room(2 * size, true).await, 2);
    assert_eq!(room(3 * size - 1, true).await, 2);
    assert_eq!(room(1, true).await, 1);
    assert_eq!(room(1, false).await, 0);
}

pub(crate) async fn reads_outside_of_the_log_are_refused(log: Log) {
    settled(&log, append(&log, plain(&[0, 0]))).await;
    for outside in [-1, 3, 100] {
        let refused = log.read(Offset(outside), 100, Bound::HighWatermark, true).await;
        assert!(matches!(refused, Err(ReadError::OutOfRange { .. })), "{outside}: {refused:?}");
    }
}

pub(crate) async fn committed_readers_wait_for_the_end_of_a_transaction(log: Log) {
    settled(&log, append(&log, plain(&[0]))).await;
    settled(&log, append(&log, transactional(0, 2))).await;
    settled(&log, append(&log, plain(&[0]))).await;
    assert_eq!(spans(&read(&log, 0, Bound::LastStable).await), [(0, 0)]);
    assert_eq!(spans(&read(&log, 0, Bound::HighWatermark).await), [(0, 0), (1, 2), (3, 3)]);
    end(&log, COMMIT).await;
    let committed = read(&log, 0, Bound::LastStable).await;
    assert_eq!(spans(&committed), [(0, 0), (1, 2), (3, 3), (4, 4)]);
    assert!(committed.aborted.is_empty());
}

pub(crate) async fn committed_readers_are_told_what_was_aborted(log: Log) {
    settled(&log, append(&log, transactional(0, 2))).await;
    end(&log, ABORT).await;
    settled(&log, append(&log, transactional(2, 1))).await;
    end(&log, COMMIT).await;
    let all = read(&log, 0, Bound::LastStable).await;
    let told: Vec<_> =
        all.aborted.iter().map(|aborted| (aborted.producer_id, aborted.first_offset)).collect();
    assert_eq!(told, [(PRODUCER.0, Offset(0))]);
    assert!(read(&log, 3, Bound::LastStable).await.aborted.is_empty());
    assert!(read(&log, 0, Bound::HighWatermark).await.aborted.is_empty());
}

pub(crate) async fn records_are_found_by_time(log: Log) {
    settled(&log, append(&log, plain(&[10, 20]))).await;
    settled(&log, append(&log, plain(&[50, 30]))).await;
    let at = async |time: i64| {
        let found = log.find(TimeQuery::AtOrAfter(Timestamp(NOW.0 + time))).await.unwrap();
        found.map(|found| (found.offset.0, found.timestamp.0 - NOW.0))
    };
    assert_eq!(at(0).await, Some((0, 10)));
    assert_eq!(at(11).await, Some((1, 20)));
    assert_eq!(at(21).await, Some((2, 50)));
    assert_eq!(at(51).await, None);
    let latest = log.find(TimeQuery::Latest).await.unwrap().unwrap();
    assert_eq!(latest.offset, Offset(2));
}

pub(crate) async fn epochs_end_at_the_end(log: Log) {
    settled(&log, append(&log, plain(&[0, 0]))).await;
    let epoch = marks(&log).epoch;
    assert_eq!(log.offset_for_epoch(epoch).await, Some((epoch, Offset(2))));
    assert_eq!(log.offset_for_epoch(LeaderEpoch(-1)).await, None);
}

pub(crate) async fn a_trim_moves_the_start(log: Log) {
    settled(&log, append(&log, plain(&[0, 0, 0]))).await;
    assert_eq!(log.trim(Offset(2)).await.unwrap(), Offset(2));
    assert_eq!(log.trim(Offset(1)).await.unwrap(), Offset(2), "never back");
    let refused = log.read(Offset(1), 100, Bound::HighWatermark, true).await;
    assert!(matches!(refused, Err(ReadError::OutOfRange { .. })));
    assert!(matches!(log.trim(Offset(4)).await, Err(TrimError::OutOfRange { .. })));
    assert_eq!(log.trim(Offset::UNKNOWN).await.unwrap(), Offset(3));
    assert_eq!(marks(&log).start, Offset(3));
    assert_eq!(append(&log, plain(&[0])).base, Offset(3));
}

pub(crate) async fn waiters_are_woken(log: Log) {
    let waiting = tokio::spawn(durable(log.watch(), Offset(1)));
    settled(&log, append(&log, plain(&[0]))).await;
    assert!(!waiting.is_finished());
    append(&log, plain(&[0]));
    assert!(timeout(PATIENCE, waiting).await.unwrap().unwrap());
}
