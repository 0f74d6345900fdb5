//! Ids, offsets, time and sizes: the nouns every other room uses.
//!
//! Invariants: every type here is a plain value, `Copy` where it is small, without IO, clocks or
//! randomness. Arithmetic that could leave the range of Kafka's wire integers is spelled out.

mod ids;
mod offset;
pub mod partitioner;
pub mod safeguard;
mod size;
mod time;

/// As many partitions as a topic is made with, or is given at once.
pub const PARTITIONS_MAX: u32 = 10_000;

pub use ids::{LeaderEpoch, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicPartition};
pub use offset::Offset;
pub use size::{ByteSize, ParseSizeError};
pub use time::{Millis, ParseMillisError, Timestamp};
