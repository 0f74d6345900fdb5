//! The seam for storage engines: one partition, as everything above it sees it.
//!
//! The plain values of the contract (marks, bounds, refusals) are those of the local store, the only
//! engine so far; a second engine moves them here.

use async_trait::async_trait;
use bytes::Bytes;
use flumen_records::ControlRecord;
use flumen_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};
use tokio::sync::watch;

pub use flumen_store::{
    AbortedTxn, AppendError, Appended, Bound, Health, Marks, Origin, Read, ReadError, TimedOffset, TrimError,
};

/// One partition's log.
///
/// Contract, held to by the suite in `contract.rs`, which every implementation passes:
///
/// - Offsets ascend without gaps in the order in which appends return. An append is seen whole or not
///   at all; one that is refused has changed nothing.
/// - An append is durable when [`Marks::high_watermark`] in [`watch`](PartitionLog::watch) is above
///   [`Appended::last`]; if [`Marks::failed`] comes first, it may be lost.
/// - A repeated batch of an idempotent producer is answered with the offsets it got the first time.
/// - A read gives whole batches from the one that holds `from` on and nothing at or above its bound;
///   nothing at all is no error. Below the start or above the end it is refused as out of range.
/// - Marks only move on, and what a watcher sees has happened.
#[async_trait]
pub trait PartitionLog: Send + Sync + 'static {
    fn id(&self) -> &TopicPartition;

    /// Appends whole batches; short enough to be called from a connection's task.
    fn append(&self, batches: Bytes, origin: Origin, now: Timestamp) -> Result<Appended, AppendError>;

    /// Ends a producer's transaction on this partition.
    fn append_marker(
        &self,
        producer: (ProducerId, ProducerEpoch),
        control: ControlRecord,
        now: Timestamp,
    ) -> Result<Appended, AppendError>;

    /// With `min_one` the first batch even if it alone is over `bytes_max`.
    async fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        bound: Bound,
        min_one: bool,
    ) -> Result<Read, ReadError>;

    /// Start, high watermark, last stable offset and end, now and whenever they move.
    fn watch(&self) -> watch::Receiver<Marks>;

    /// The same, now. A copy on purpose: whoever keeps what a watch lends has the next append wait, and whatever
    /// it asks the partition then wait for that.
    fn marks(&self) -> Marks {
        *self.watch().borrow()
    }

    /// The first record at or after a time, or the latest of all. It may lie above a reader's bound.
    async fn find(&self, time: TimeQuery) -> Result<Option<TimedOffset>, ReadError>;

    /// The largest epoch at or below this one and the offset at which it ends.
    async fn offset_for_epoch(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)>;

    /// Everybody who has written with a producer id and has not been silent for too long.
    fn producers(&self) -> Vec<ActiveProducer>;

    /// Of its segments on the device; for people, not for decisions.
    fn size_bytes(&self) -> u64;

    /// How it is; for people as well, and asked for seldom.
    fn health(&self) -> Health;

    /// Drops what lies before an offset ([`Offset::UNKNOWN`]: the high watermark); the new start.
    async fn trim(&self, to: Offset) -> Result<Offset, TrimError>;
}

/// A producer as a partition knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
    pub last_sequence: Sequence,
    pub last_timestamp: Timestamp,
    /// Of who ended its last transaction; -1 if there was none.
    pub coordinator_epoch: i32,
    /// Where its open transaction begins.
    pub open_since: Option<Offset>,
}

/// Which record [`PartitionLog::find`] looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeQuery {
    AtOrAfter(Timestamp),
    Latest,
}

/// Waits until an append is durable; false if the partition failed first.
pub async fn durable(mut marks: watch::Receiver<Marks>, last: Offset) -> bool {
    match marks.wait_for(|marks| marks.high_watermark > last || marks.failed).await {
        Ok(marks) => marks.high_watermark > last,
        Err(_) => false,
    }
}
