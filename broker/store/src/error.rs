//! What can go wrong, one enum for each thing a caller asks for.
//!
//! Invariants: a message says what, where and what to do; its cause is its `source`, never repeated.
//! [`AppendError`] and [`ReadError`] have a variant for each answer that Kafka has a code for.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use flumen_log::append::Invalid;
use flumen_log::producers::ProducerError;
use flumen_records::BatchError;
use flumen_types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};
use thiserror::Error;

/// An operation of the file system that failed, and on what.
#[derive(Debug, Error)]
#[error("cannot {doing} {}", path.display())]
pub struct FileError {
    pub doing: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

/// The deed that is never tried again.
pub(crate) const SYNC: &str = "sync";

impl FileError {
    /// For `map_err`: names the deed and the file.
    pub(crate) fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        let path = path.to_path_buf();
        move |source| FileError { doing, path, source }
    }

    /// For everybody whom one failure concerns.
    pub(crate) fn again(&self) -> FileError {
        let source = match self.source.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(self.source.kind(), self.source.to_string()),
        };
        FileError { doing: self.doing, path: self.path.clone(), source }
    }

    /// Whether the disk, the quota or the limit of a file's size (ulimit -f) has no room; that passes when room is
    /// made.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self.source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
    }

    /// Whether it is the want of something (room, descriptors, memory) that comes back, so that the
    /// deed can be tried again. A failed sync never can: the kernel may have dropped what it covered.
    pub fn is_passing(&self) -> bool {
        let out_of = [libc::EMFILE, libc::ENFILE, libc::ENOMEM];
        let scarce = self.source.raw_os_error().is_some_and(|code| out_of.contains(&code))
            || self.source.kind() == io::ErrorKind::OutOfMemory;
        self.doing != SYNC && (self.is_full() || scarce)
    }
}

/// Why a data directory cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    #[error(
        "data directory {} is in use by another process{holder}; stop that one, or set another data.dir",
        dir.display()
    )]
    InUse { dir: PathBuf, holder: String },
    #[error(
        "{}: {key}={found} was written by a newer Flumen, this one knows up to {known}; start the newer one",
        path.display()
    )]
    NewerVersion { path: PathBuf, key: &'static str, found: String, known: u32 },
    #[error("{}: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("partition {partition} cannot be loaded")]
    Partition { partition: TopicPartition, source: FileError },
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a topic cannot be made or changed.
#[derive(Debug, Error)]
pub enum TopicError {
    #[error("Topic '{0}' already exists.")]
    Exists(String),
    #[error("topic \"{0}\" does not exist")]
    Unknown(String),
    #[error(
        "\"{0}\" is not a topic's name; use up to 249 letters, digits, dots, dashes and underscores, not \".\" or \"..\""
    )]
    BadName(String),
    #[error("topic \"{topic}\" has {have} partitions and cannot be given {wanted}; they can only grow")]
    Partitions { topic: String, have: i32, wanted: i32 },
    #[error("topic \"{topic}\": {reason}")]
    Config { topic: String, reason: String },
    #[error("the store is closed")]
    Closed,
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why an append was refused; each answers one of Kafka's error codes. Nothing was written.
#[derive(Debug, Error)]
pub enum AppendError {
    /// CORRUPT_MESSAGE
    #[error("the batch is corrupt")]
    Corrupt(#[source] BatchError),
    /// INVALID_RECORD
    #[error("the batch is not acceptable: {0}")]
    InvalidRecord(&'static str),
    /// UNSUPPORTED_FOR_MESSAGE_FORMAT
    #[error("record format {0} is not supported; batches are of format 2")]
    UnsupportedMagic(i8),
    /// MESSAGE_TOO_LARGE
    #[error("a batch of {size} bytes is over max.message.bytes={max}")]
    TooLarge { size: usize, max: usize },
    /// RECORD_LIST_TOO_LARGE
    #[error("{size} bytes at once do not fit in a segment of {max}")]
    ListTooLarge { size: usize, max: u64 },
    /// INVALID_TIMESTAMP
    #[error("timestamp {found} is further from the broker's clock ({now}) than the topic allows")]
    InvalidTimestamp { found: Timestamp, now: Timestamp },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER
    #[error("producer {producer}: sequence {found} came where {expected} was to come")]
    OutOfOrderSequence { producer: ProducerId, found: Sequence, expected: Sequence },
    /// INVALID_PRODUCER_EPOCH
    #[error("producer {producer}: epoch {found} is fenced by {current}")]
    InvalidProducerEpoch { producer: ProducerId, found: ProducerEpoch, current: ProducerEpoch },
    /// INVALID_TXN_STATE
    #[error("producer {producer} sent a batch outside of the transaction that it has open")]
    InvalidTxnState { producer: ProducerId },
    /// TRANSACTION_COORDINATOR_FENCED
    #[error("a marker of coordinator epoch {found} comes after one of {current}")]
    CoordinatorFenced { found: i32, current: i32 },
    /// KAFKA_STORAGE_ERROR
    #[error("the partition cannot be written")]
    Storage(#[from] FileError),
    /// KAFKA_STORAGE_ERROR, until the broker restarts
    #[error("the partition took a failed sync and takes no more appends until a restart recovers it")]
    Poisoned,
    /// NOT_LEADER_OR_FOLLOWER: deleted, or the store was closed
    #[error("the partition is closed")]
    Closed,
}

/// Why a trim was refused.
#[derive(Debug, Error)]
pub enum TrimError {
    /// OFFSET_OUT_OF_RANGE
    #[error("offset {offset} is above the high watermark {high_watermark}")]
    OutOfRange { offset: Offset, high_watermark: Offset },
    /// KAFKA_STORAGE_ERROR
    #[error(transparent)]
    Storage(#[from] FileError),
}

/// Why a compaction pass ended early. What it had swapped by then stays.
#[derive(Debug, Error)]
pub(crate) enum CompactError {
    #[error("the partition is closed")]
    Stopped,
    #[error("the batch at {} byte {position} cannot be read", path.display())]
    Batch { path: PathBuf, position: u64, source: BatchError },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    File(#[from] FileError),
}

/// Why a read was refused.
#[derive(Debug, Error)]
pub enum ReadError {
    /// OFFSET_OUT_OF_RANGE
    #[error("offset {offset} is outside of {start}..={end}")]
    OutOfRange { offset: Offset, start: Offset, end: Offset },
    /// CORRUPT_MESSAGE
    #[error("the log is damaged at {} byte {position}{}", path.display(), said_offsets(offsets))]
    Corrupt { path: PathBuf, position: u64, offsets: Option<Range<Offset>> },
    /// KAFKA_STORAGE_ERROR
    #[error(transparent)]
    Storage(#[from] FileError),
}

fn said_offsets(offsets: &Option<Range<Offset>>) -> String {
    offsets.as_ref().map_or_else(String::new, |lost| {
        format!(": offsets {} to {} are lost; read on from {}", lost.start, lost.end.plus(-1), lost.end)
    })
}

impl From<Invalid> for AppendError {
    fn from(invalid: Invalid) -> Self {
        match invalid {
            Invalid::Corrupt(source) => AppendError::Corrupt(source),
            Invalid::TooLarge { size, max } => AppendError::TooLarge { size, max },
            Invalid::Record(why) => AppendError::InvalidRecord(why),
            Invalid::Timestamp { found, now } => AppendError::InvalidTimestamp { found, now },
        }
    }
}

impl From<ProducerError> for AppendError {
    fn from(error: ProducerError) -> Self {
        match error {
            ProducerError::OutOfOrder { id, expected, found } => {
                AppendError::OutOfOrderSequence { producer: id, found, expected }
            }
            ProducerError::Fenced { id, found, current } => {
                AppendError::InvalidProducerEpoch { producer: id, found, current }
            }
            ProducerError::OutsideTransaction { id } => AppendError::InvalidTxnState { producer: id },
            ProducerError::CoordinatorFenced { found, current, .. } => {
                AppendError::CoordinatorFenced { found, current }
            }
        }
    }
}

/// An error with its causes, for a line in the log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
