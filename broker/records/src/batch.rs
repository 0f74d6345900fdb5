//! A whole batch as one piece of bytes, and what is patched in it on the way through.

use bytes::Bytes;
use flumen_types::{LeaderEpoch, Offset, Timestamp};

use crate::header::{CRC_AT, CRC_FROM, EPOCH_AT, LENGTH_OVERHEAD, MAX_TIMESTAMP_AT};
use crate::{BatchError, BatchHeader, ControlRecord, HEADER_LEN, RecordIter, codec, crc32c};

/// Exactly one whole batch. Its header has been read; its CRC and its records have not been checked.
#[derive(Clone, Debug)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
}

impl Batch {
    /// Takes the first batch off `bytes`; `None` when nothing, or only a part of a batch, is left.
    pub fn split_first(bytes: &mut Bytes) -> Result<Option<Batch>, BatchError> {
        if bytes.len() < HEADER_LEN {
            return Ok(None);
        }
        let header = BatchHeader::parse(bytes)?;
        if bytes.len() < header.total_len() {
            return Ok(None);
        }
        let bytes = bytes.split_to(header.total_len());
        Ok(Some(Batch { header, bytes }))
    }

    /// A batch that must be whole and alone.
    pub fn parse(bytes: Bytes) -> Result<Batch, BatchError> {
        let header = BatchHeader::parse(&bytes)?;
        if bytes.len() != header.total_len() {
            return Err(BatchError::Short { have: bytes.len(), need: header.total_len() });
        }
        Ok(Batch { header, bytes })
    }

    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    pub fn verify_crc(&self) -> Result<(), BatchError> {
        self.header.verify_crc(&self.bytes)
    }

    /// The records section, decompressed; an error past `bytes_max`.
    pub fn payload(&self, bytes_max: usize) -> Result<Bytes, BatchError> {
        let codec = self.header.attributes.compression()?;
        codec::decompress(codec, self.bytes.slice(HEADER_LEN..), bytes_max)
    }

    pub fn records(&self, bytes_max: usize) -> Result<Records, BatchError> {
        let count = u32::try_from(self.header.records_count)
            .map_err(|_| BatchError::Count { expected: self.header.records_count.into(), found: 0 })?;
        Ok(Records { payload: self.payload(bytes_max)?, count })
    }

    /// The one record of a control batch.
    pub fn control(&self) -> Result<ControlRecord, BatchError> {
        ControlRecord::read(self)
    }
}

/// A batch's records, held decompressed.
#[derive(Clone, Debug)]
pub struct Records {
    payload: Bytes,
    count: u32,
}

impl Records {
    pub fn iter(&self) -> RecordIter<'_> {
        RecordIter::new(&self.payload, self.count)
    }

    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// As the header counts them; the iterator tells whether it lied.
    pub fn count(&self) -> u32 {
        self.count
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = Result<crate::RecordRef<'a>, BatchError>;
    type IntoIter = RecordIter<'a>;

    fn into_iter(self) -> RecordIter<'a> {
        self.iter()
    }
}

/// The batches one after another; ends at a partial batch, or after an error.
pub fn batches(bytes: Bytes) -> impl Iterator<Item = Result<Batch, BatchError>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let next = Batch::split_first(&mut rest).transpose()?;
        if next.is_err() {
            rest = Bytes::new();
        }
        Some(next)
    })
}

/// Patches the two fields that a broker sets; both lie outside the CRC.
///
/// # Panics
/// If `batch` is shorter than a header: the caller has parsed it.
pub fn assign(batch: &mut [u8], base: Offset, epoch: LeaderEpoch) {
    batch[..8].copy_from_slice(&base.0.to_be_bytes());
    batch[EPOCH_AT..EPOCH_AT + 4].copy_from_slice(&epoch.0.to_be_bytes());
}

/// Makes `now` the timestamp of all records (LogAppendTime), with a new CRC.
///
/// # Panics
/// If `batch` is shorter than a header: the caller has parsed it.
pub fn stamp_log_append_time(batch: &mut [u8], now: Timestamp) {
    let attributes = i16::from_be_bytes([batch[CRC_FROM], batch[CRC_FROM + 1]]);
    let stamped = crate::Attributes(attributes).with_log_append_time();
    batch[CRC_FROM..CRC_FROM + 2].copy_from_slice(&stamped.0.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&now.0.to_be_bytes());
    seal(batch);
}

/// Sets length and CRC of a batch that is otherwise complete.
///
/// # Panics
/// If `batch` is shorter than a header.
pub fn seal(batch: &mut [u8]) {
    let length = (batch.len() - LENGTH_OVERHEAD) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c(&batch[CRC_FROM..]);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}
