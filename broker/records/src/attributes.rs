//! The 16 attribute bits of a batch.
//!
//! ```text
//! bits 0-2 compression | 3 timestamp type | 4 transactional | 5 control | 6 delete horizon | 7-15 unused
//! ```

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::BatchError;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("\"{0}\" is not a compression; it is one of none, gzip, snappy, lz4, zstd")]
pub struct ParseCompressionError(pub String);

impl FromStr for Compression {
    type Err = ParseCompressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Compression::ALL.into_iter().find(|codec| codec.name() == text);
        found.ok_or_else(|| ParseCompressionError(text.to_string()))
    }
}

/// Who set the timestamps of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TimestampType {
    #[default]
    CreateTime,
    LogAppendTime,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Attributes(pub i16);

const TIMESTAMP_TYPE: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;
const DELETE_HORIZON: i16 = 1 << 6;

impl Attributes {
    pub fn new(compression: Compression) -> Self {
        Attributes(compression as i16)
    }

    pub fn compression(self) -> Result<Compression, BatchError> {
        let code = self.0 & 0x07;
        Compression::ALL.get(code as usize).copied().ok_or(BatchError::Codec(code))
    }

    pub fn timestamp_type(self) -> TimestampType {
        match self.0 & TIMESTAMP_TYPE {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        }
    }

    pub fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    pub fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    /// The base timestamp is the time from which tombstones and markers in it may go (KIP-534).
    pub fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }

    #[must_use]
    pub fn with_compression(self, compression: Compression) -> Self {
        Attributes((self.0 & !0x07) | compression as i16)
    }

    #[must_use]
    pub fn with_log_append_time(self) -> Self {
        Attributes(self.0 | TIMESTAMP_TYPE)
    }

    #[must_use]
    pub fn with_transactional(self) -> Self {
        Attributes(self.0 | TRANSACTIONAL)
    }

    #[must_use]
    pub fn with_control(self) -> Self {
        Attributes(self.0 | CONTROL)
    }

    #[must_use]
    pub fn with_delete_horizon(self) -> Self {
        Attributes(self.0 | DELETE_HORIZON)
    }

    #[must_use]
    pub fn without_delete_horizon(self) -> Self {
        Attributes(self.0 & !DELETE_HORIZON)
    }
}
