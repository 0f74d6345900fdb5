//! Who still has to read tombstones, as whoever knows the readers says.

pub use flumen_log::cleaner::{HeldTombstones, TombstoneHold};
use flumen_types::TopicPartition;

use crate::locks::lock;
use crate::partition::Partition;

/// Contract for implementers: asked at the start of each compaction, on a cleaner's thread, and before the
/// first answer can be known it says that everything is held. What it names stays in the log.
pub trait TombstoneReaders: std::fmt::Debug + Send + Sync + 'static {
    fn holds(&self, tp: &TopicPartition) -> Vec<TombstoneHold>;
}

/// Nobody: Kafka's own rule.
impl TombstoneReaders for () {
    fn holds(&self, _: &TopicPartition) -> Vec<TombstoneHold> {
        Vec::new()
    }
}

impl Partition {
    /// Tombstones past their delete horizon that the last compaction left for somebody.
    pub fn held_tombstones(&self) -> Vec<HeldTombstones> {
        lock(&self.held_tombstones).clone()
    }
}
