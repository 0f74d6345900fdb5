//! Message sets of magic 0 and 1: what Kafka's clients wrote and read before record batches.
//!
//! A set is messages one after another. Compressed, it is itself the value of one message, the wrapper,
//! and nothing is wrapped twice.
//!
//! ```text
//! magic 0: offset i64 | size i32 (of 12 on) | CRC-32 u32 (of 16 on) | magic i8 | attributes i8
//!          | key: length i32, or -1, and bytes | value: the same
//! magic 1: the same, with timestamp i64 (-1: none) between attributes and key
//!
//! attributes: bits 0-2 compression | 3 timestamp type, magic 1 only
//! offset in a wrapper: magic 0, that of the log; magic 1, counted from the first in there
//! offset of a wrapper: that of the last in there
//! ```
//!
//! Here they become batches ([`upgrade`]) and batches become them ([`downgrade`]), so that the log holds
//! batches only. What they cannot say is lost on the way: headers, in magic 0 timestamps, and who wrote
//! in which transaction.
//!
//! Invariants: no size, count or offset is trusted; every CRC is checked before what it covers is used,
//! in both directions; what is unpacked is bounded by the caller.

mod down;
mod lz4_checksum;
mod message;
mod up;

use thiserror::Error;

pub use down::downgrade;
pub use message::{Message, Messages};
pub use up::{Room, upgrade};

use crate::{BatchError, Compression};

/// The format of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Magic {
    V0,
    V1,
}

impl Magic {
    /// That of the first message of a set; `None` if it is neither, as with a batch.
    pub fn of(set: &[u8]) -> Option<Magic> {
        match set.get(message::MAGIC_AT)? {
            0 => Some(Magic::V0),
            1 => Some(Magic::V1),
            _ => None,
        }
    }
}

/// What can be wrong with a message set, or with a batch that is to become one.
#[derive(Debug, Error)]
pub enum Error {
    #[error("the message at offset {offset} of a set: {what}")]
    Message { offset: i64, what: &'static str },
    #[error("a message's CRC-32 is {found:08x}, it says {expected:08x}")]
    Crc { expected: u32, found: u32 },
    #[error("a message says that its time is that of its append, which only a broker can say")]
    LogAppendTime,
    #[error("a message set cannot be compressed with {0}")]
    Codec(Compression),
    #[error("the messages are larger than {0} bytes when unpacked")]
    TooLarge(usize),
    #[error("the wrappers of a message set hold too many messages: only {0} more were allowed")]
    TooMany(usize),
    #[error(transparent)]
    Batch(BatchError),
}

impl From<BatchError> for Error {
    fn from(error: BatchError) -> Error {
        match error {
            BatchError::TooLarge(max) => Error::TooLarge(max),
            error => Error::Batch(error),
        }
    }
}
