//! What the store tells its owner, and where a partition stands.

use flumen_types::{LeaderEpoch, Offset, TopicPartition};

/// Told of what changes on its own; the owner wakes its waiters.
///
/// Contract for implementers: calls come from the store's threads with a lock of the partition
/// held, in order for one partition. Keep them short, and do not call the partition from them.
pub trait Events: Send + Sync + 'static {
    /// The start, the high watermark or the last stable offset moved, or the partition was poisoned.
    fn marks(&self, tp: &TopicPartition, marks: Marks);

    /// `done` of `of` partitions are loaded.
    fn recovery(&self, _done: usize, _of: usize) {}
}

/// The offsets that bound what readers may see.
///
/// `start <= last_stable <= high_watermark <= end` but for a moment after a trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// The first offset that can be read.
    pub start: Offset,
    /// The durable end: a sync has covered everything below. (On a topic with `flush.messages` or
    /// `flush.ms`: the end.)
    pub high_watermark: Offset,
    /// No open transaction reaches below this.
    pub last_stable: Offset,
    /// The offset the next record gets.
    pub end: Offset,
    pub epoch: LeaderEpoch,
    /// A sync failed: nothing is appended until a restart has recovered the partition.
    pub failed: bool,
}

/// Hears nothing; for tools that only read.
impl Events for () {
    fn marks(&self, _: &TopicPartition, _: Marks) {}
}
