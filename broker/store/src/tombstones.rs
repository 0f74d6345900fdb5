//! Who still has to read tombstones, as whoever knows the readers says.

pub use flumen_log::cleaner::{HeldTombstones, TombstoneHold};
use flumen_types::TopicPartition;

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
