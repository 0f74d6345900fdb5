//! Kafka's record batch, version 2: header, records, codecs, control records; and the message sets that
//! came before it.
//!
//! Invariants: nothing here panics on bytes from a disk, a socket or a guest; no count or length in
//! them is trusted before the bytes behind it have been seen; a decompressed section is bounded by the
//! caller. A batch on its way through the broker is one opaque `Bytes` ([`Batch`]).
//!
//! All but [`message_set`] knows batches only: [`BatchError::Magic`] names what was found instead, and
//! [`old_message_format`] tells it from garbage.

mod attributes;
mod batch;
mod builder;
mod check;
mod codec;
mod control;
mod error;
mod header;
pub mod message_set;
mod old_format;
mod record;
pub mod varint;

pub use attributes::{Attributes, Compression, ParseCompressionError, TimestampType};
pub use batch::{Batch, Records, assign, batches, seal, stamp_log_append_time};
pub use builder::{BatchBuilder, PackedBatch, wrap_packed};
pub use check::Check;
pub use codec::{compress, decompress};
pub use control::{ControlRecord, control_batch};
pub use error::BatchError;
pub use header::{BatchHeader, HEADER_LEN, MAGIC};
pub use old_format::{old_message_format, old_message_len};
pub use record::{Headers, NewRecord, RecordIter, RecordRef, record_len, write_record};

/// CRC-32C (Castagnoli), as the batch header carries it.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
