//! Record batches as a case writes them and as an answer shows them, good and bad ones.
//!
//! ```text
//! batch(a, b)                                          two records of these values, all else as a producer's
//! batch{codec: zstd, producerId: $p, producerEpoch: 0, baseSequence: 3, records: [{key: k, value: null}]}
//! batch{crc: bad, records: a}                          every field of the header can be said
//! messages{magic: 1, records: [a]}                     a message set of old
//! ```
//!
//! Read answers show what differs from the first form.

pub mod codec;
pub mod old;
pub mod read;
pub mod write;

/// The time of records that say none: long past, and the same for every run.
pub const TIMESTAMP: i64 = 1_700_000_000_000;

/// Bytes from the beginning of a batch to its length, and to what that counts.
pub const LENGTH_AT: usize = 8;
pub const LENGTH_END: usize = 12;
/// From here on the CRC goes over the batch.
pub const CRC_END: usize = 21;

pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
