//! What can be wrong with a batch.

use thiserror::Error;

use crate::Compression;

#[derive(Debug, Error)]
pub enum BatchError {
    #[error("{have} bytes are too few for a record batch, which needs {need}")]
    Short { have: usize, need: usize },
    #[error("magic {0} is not a record batch of version 2")]
    Magic(i8),
    #[error("a batch length of {0} is impossible")]
    Length(i32),
    #[error("the batch's CRC-32C is {found:08x}, its header says {expected:08x}")]
    Crc { expected: u32, found: u32 },
    #[error("compression type {0} is unknown")]
    Codec(i16),
    #[error("the {codec} section does not decompress")]
    Decompress { codec: Compression, source: std::io::Error },
    #[error("the {codec} section does not compress")]
    Compress { codec: Compression, source: std::io::Error },
    #[error("the records are larger than {0} bytes when decompressed")]
    TooLarge(usize),
    #[error("record {index}: {what}")]
    Record { index: u32, what: &'static str },
    #[error("the header counts {expected} records, the section holds {found}")]
    Count { expected: i64, found: i64 },
    #[error("{0}")]
    Varint(#[from] crate::varint::VarintError),
    #[error("a batch holds at most 2147483647 records and bytes")]
    Overflow,
    #[error("this is not a control batch: {0}")]
    Control(&'static str),
}
