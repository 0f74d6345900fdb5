//! One partition of an internal topic as a coordinator uses it: append, wait, and replay at start.

use std::sync::Arc;

use bytes::Bytes;
use flumen_groups::txn::Producer;
use flumen_groups::{Record, WireError};
use flumen_records::{Batch, BatchBuilder, BatchError, Compression, ControlRecord, NewRecord};
use flumen_types::{Offset, ProducerId, Sequence, Timestamp, TopicPartition};
use thiserror::Error;

use crate::partition_log::{AppendError, Bound, Origin, PartitionLog, ReadError, TrimError, durable};

const READ_BYTES: usize = 1 << 20;
/// More than any batch of these topics unfolds to.
const BATCH_BYTES_MAX: usize = 512 << 20;

/// What is written into every marker; there has been one coordinator only, ever.
const COORDINATOR_EPOCH: i32 = 0;

/// Why an internal topic cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("an internal topic cannot be made")]
    Topic(#[from] crate::topics::TopicError),
    #[error("an internal topic cannot be read back")]
    Replay(#[from] ReplayError),
}

/// Why an internal topic cannot be read back.
#[derive(Debug, Error)]
pub enum ReplayError {
    #[error("{partition} cannot be read at offset {at}")]
    Read { partition: TopicPartition, at: Offset, source: ReadError },
    #[error("{partition} has a batch that cannot be read at offset {at}")]
    Batch { partition: TopicPartition, at: Offset, source: BatchError },
    #[error("{partition} has a record that cannot be understood at offset {at}")]
    Record { partition: TopicPartition, at: Offset, source: WireError },
}

#[derive(Clone)]
pub(crate) struct Journal {
    log: Arc<dyn PartitionLog>,
}

/// What the log says, one after another.
pub(crate) enum Replayed {
    Record { key: Bytes, value: Option<Bytes>, producer: Option<ProducerId>, at: Offset },
    Marker { producer: ProducerId, commit: bool, at: Offset },
}

impl Journal {
    pub(crate) fn new(log: Arc<dyn PartitionLog>) -> Self {
        Journal { log }
    }

    pub(crate) fn id(&self) -> &TopicPartition {
        self.log.id()
    }

    /// Appends records as one batch; the first one's offset. There must be one.
    pub(crate) fn append(
        &self,
        records: impl IntoIterator<Item = Record>,
        producer: Option<Producer>,
        now: Timestamp,
    ) -> Result<Offset, AppendError> {
        let mut batch = BatchBuilder::new(Compression::None);
        if let Some(producer) = producer {
            // The coordinator repeats nothing, so that its batches need no sequence.
            batch = batch.producer(producer.id, producer.epoch, Sequence::NONE).transactional();
        }
        for record in records {
            let (key, value) = (Some(&*record.key), record.value.as_deref());
            batch.push(&NewRecord { timestamp: now, key, value, headers: &[] });
        }
        let batch = batch.build().map_err(AppendError::Corrupt)?;
        self.log.append(batch, Origin::Coordinator, now).map(|appended| appended.base)
    }

    pub(crate) fn append_marker(
        &self,
        producer: Producer,
        commit: bool,
        now: Timestamp,
    ) -> Result<Offset, AppendError> {
        append_marker(&*self.log, producer, commit, now)
    }

    /// Whether the log has reached the disk up to and with `last`.
    pub(crate) async fn durable(&self, last: Offset) -> bool {
        durable(self.log.watch(), last).await
    }

    /// Drops what lies before an offset.
    pub(crate) async fn trim(&self, to: Offset) -> Result<(), TrimError> {
        self.log.trim(to).await.map(drop)
    }

    /// Tells everything from the start of the log to its end.
    pub(crate) async fn replay(
        &self,
        mut each: impl FnMut(Replayed) -> Result<(), WireError>,
    ) -> Result<(), ReplayError> {
        let marks = self.log.marks();
        let mut next = marks.start;
        while next < marks.end {
            let read = match self.log.read(next, READ_BYTES, Bound::LogEnd, true).await {
                Ok(read) => read,
                // One rotten batch is no reason not to start: what it said is lost, the rest is not.
                Err(ReadError::Corrupt { offsets: Some(lost), .. }) if lost.end > next => {
                    tracing::error!(partition = %self.id(), from = %lost.start, upto = %lost.end, "passing over damaged records of groups or transactions");
                    next = lost.end;
                    continue;
                }
                Err(source) => {
                    return Err(ReplayError::Read { partition: self.id().clone(), at: next, source });
                }
            };
            for batch in flumen_records::batches(read.bytes) {
                let batch = batch.map_err(|source| self.bad_batch(next, source))?;
                self.replay_batch(&batch, &mut each)?;
            }
            if read.next <= next {
                break;
            }
            next = read.next;
        }
        Ok(())
    }

    fn replay_batch(
        &self,
        batch: &Batch,
        each: &mut impl FnMut(Replayed) -> Result<(), WireError>,
    ) -> Result<(), ReplayError> {
        let header = batch.header();
        let base = header.base_offset;
        let bad_record = |at, source| ReplayError::Record { partition: self.id().clone(), at, source };
        if header.is_control() {
            // One that compaction has emptied says nothing any more.
            let commit = match batch.control() {
                Ok(ControlRecord::Commit { .. }) => true,
                Ok(ControlRecord::Abort { .. }) => false,
                Ok(ControlRecord::Other(_)) => return Ok(()),
                Err(_) if header.records_count == 0 => return Ok(()),
                Err(source) => return Err(self.bad_batch(base, source)),
            };
            let marker = Replayed::Marker { producer: header.producer_id, commit, at: base };
            return each(marker).map_err(|source| bad_record(base, source));
        }
        let producer = header.is_transactional().then_some(header.producer_id);
        let records = batch.records(BATCH_BYTES_MAX).map_err(|source| self.bad_batch(base, source))?;
        for record in &records {
            let record = record.map_err(|source| self.bad_batch(base, source))?;
            let at = base.plus(record.offset_delta.into());
            let Some(key) = record.key else { continue };
            // Copies, so that one small value does not keep its whole batch in memory.
            let (key, value) = (Bytes::copy_from_slice(key), record.value.map(Bytes::copy_from_slice));
            each(Replayed::Record { key, value, producer, at }).map_err(|source| bad_record(at, source))?;
        }
        Ok(())
    }

    fn bad_batch(&self, at: Offset, source: BatchError) -> ReplayError {
        ReplayError::Batch { partition: self.id().clone(), at, source }
    }
}

/// Ends a producer's transaction on any partition; the marker's offset.
pub(crate) fn append_marker(
    log: &dyn PartitionLog,
    producer: Producer,
    commit: bool,
    now: Timestamp,
) -> Result<Offset, AppendError> {
    let coordinator_epoch = COORDINATOR_EPOCH;
    let control = match commit {
        true => ControlRecord::Commit { coordinator_epoch },
        false => ControlRecord::Abort { coordinator_epoch },
    };
    log.append_marker((producer.id, producer.epoch), control, now).map(|appended| appended.last)
}
