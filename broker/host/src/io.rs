//! What the host needs of a broker.
//!
//! The application implements it over the server in the same process; the tests over a small model in
//! memory. Everything the pumps promise rests on the contracts here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flumen_records::Batch;
use flumen_types::{Offset, Timestamp, TopicPartition};
use thiserror::Error;

/// Topics, group offsets, cursors and transactional producers.
///
/// Contract: each method may be called at any time, concurrently, and its future may be dropped. All of
/// them are called on the runtime that the [`Host`](crate::Host) was made on.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// How many partitions the topic has; makes the topic, as the configuration would, if there is none.
    async fn partitions(&self, topic: &str) -> Result<u32, IoError>;

    /// What tells the topic from every other that has had, or will have, its name.
    async fn topic_id(&self, topic: &str) -> Result<String, IoError>;

    /// Committed records from `from` on. At once if there are any; otherwise waits up to `wait` for
    /// some. At least one batch, if there is one, however large.
    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        bytes_max: usize,
        wait: Duration,
    ) -> Result<Read, IoError>;

    /// The group's offset, with every transaction decided that had an offset of it pending.
    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<GroupOffset>, IoError>;

    /// The source's cursor as its last committed transaction left it.
    async fn cursor(&self, source: &str, task: u32) -> Result<Option<Vec<u8>>, IoError>;

    /// InitProducerId: fences every earlier producer of that id, and aborts what it left open.
    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, IoError>;

    /// Transactional ids that begin with this and have a transaction open.
    async fn open_transactions(&self, prefix: &str) -> Result<Vec<String>, IoError>;

    /// Where the partition's committed records end now; none where there is no such partition.
    fn end(&self, topic: &str, partition: u32) -> Option<Offset>;
}

/// One transaction after another. The first `send`, `offsets` or `cursor` begins one.
///
/// Contract: [`IoError::Refused`] from `send` leaves the transaction as it was; after any other error
/// nothing but dropping the producer is allowed, and what was open is aborted by the next producer of the
/// same id, or by its timeout. What can never be taken is refused by `send` where that can be known, and
/// by `commit` otherwise. `commit` and `abort` with nothing open do nothing.
#[async_trait]
pub trait Producer: Send {
    async fn send(&mut self, topic: &str, partition: u32, records: Packed) -> Result<(), IoError>;
    /// Committed so that [`GroupOffset::by_pump`] tells.
    async fn offsets(&mut self, group: &str, offsets: &[(TopicPartition, Offset)]) -> Result<(), IoError>;
    async fn cursor(&mut self, source: &str, task: u32, cursor: &[u8]) -> Result<(), IoError>;
    /// Durable and visible to `read_committed` readers on return.
    async fn commit(&mut self) -> Result<(), IoError>;
    async fn abort(&mut self) -> Result<(), IoError>;
}

/// Where a group is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOffset {
    pub offset: Offset,
    /// By a [`Producer`]; else a person, or another program, has set it.
    pub by_pump: bool,
}

/// What a read found.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// Whole batches in order, without control batches and aborted ones; the first may begin before
    /// the offset that was asked for.
    pub batches: Vec<Batch>,
    /// Where to read on.
    pub next: Offset,
    /// The last stable offset: where committed records end.
    pub end: Offset,
    /// The first offset that there still is.
    pub start: Offset,
}

/// Records for one partition: a packed section with offset deltas 0 .. count - 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    pub base_timestamp: Timestamp,
    pub count: u32,
    pub records: Bytes,
}

#[derive(Clone, Debug, Error)]
pub enum IoError {
    /// Another producer of the same transactional id has begun.
    #[error("a newer instance has taken over")]
    Fenced,
    /// The offset lies before the start (retention) or behind the end.
    #[error("offset {asked} of {topic}-{partition} is outside of {start}..{end}")]
    OutOfRange { topic: Arc<str>, partition: u32, asked: Offset, start: Offset, end: Offset },
    /// What was sent can never be taken: too large, or the topic refuses it.
    #[error("{0}")]
    Refused(String),
    /// Anything that may pass.
    #[error("{0}")]
    Unavailable(String),
}
