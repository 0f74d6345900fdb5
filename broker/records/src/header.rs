//! The 61 bytes in front of every batch's records.
//!
//! ```text
//!  0 base offset i64           21 attributes i16          43 producer id i64
//!  8 batch length i32 (12 on)  23 last offset delta i32   51 producer epoch i16
//! 12 leader epoch i32          27 base timestamp i64      53 base sequence i32
//! 16 magic i8 (2)              35 max timestamp i64       57 records count i32
//! 17 CRC-32C u32 (of 21 on)                               61 records
//! ```

use flumen_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::{Attributes, BatchError, crc32c};

pub const HEADER_LEN: usize = 61;
pub const MAGIC: i8 = 2;
/// What the batch length does not count: itself and the base offset.
pub(crate) const LENGTH_OVERHEAD: usize = 12;
pub(crate) const EPOCH_AT: usize = 12;
pub(crate) const CRC_AT: usize = 17;
/// The CRC covers all from here on.
pub(crate) const CRC_FROM: usize = 21;
pub(crate) const MAX_TIMESTAMP_AT: usize = 35;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    pub batch_length: i32,
    pub leader_epoch: LeaderEpoch,
    pub magic: i8,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: Sequence,
    pub records_count: i32,
}

impl BatchHeader {
    /// Reads the header at the start of `bytes`; the records behind it need not be there.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let bytes: &[u8; HEADER_LEN] =
            bytes.first_chunk().ok_or(BatchError::Short { have: bytes.len(), need: HEADER_LEN })?;
        let magic = bytes[16] as i8;
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        let batch_length = i32_at(bytes, 8);
        if batch_length < (HEADER_LEN - LENGTH_OVERHEAD) as i32 {
            return Err(BatchError::Length(batch_length));
        }
        Ok(BatchHeader {
            base_offset: Offset(i64_at(bytes, 0)),
            batch_length,
            leader_epoch: LeaderEpoch(i32_at(bytes, EPOCH_AT)),
            magic,
            crc: i32_at(bytes, CRC_AT) as u32,
            attributes: Attributes(i16_at(bytes, CRC_FROM)),
            last_offset_delta: i32_at(bytes, 23),
            base_timestamp: Timestamp(i64_at(bytes, 27)),
            max_timestamp: Timestamp(i64_at(bytes, MAX_TIMESTAMP_AT)),
            producer_id: ProducerId(i64_at(bytes, 43)),
            producer_epoch: ProducerEpoch(i16_at(bytes, 51)),
            base_sequence: Sequence(i32_at(bytes, 53)),
            records_count: i32_at(bytes, 57),
        })
    }

    /// Appends the 61 bytes as they stand here.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.base_offset.0.to_be_bytes());
        out.extend_from_slice(&self.batch_length.to_be_bytes());
        out.extend_from_slice(&self.leader_epoch.0.to_be_bytes());
        out.push(self.magic as u8);
        out.extend_from_slice(&self.crc.to_be_bytes());
        out.extend_from_slice(&self.attributes.0.to_be_bytes());
        out.extend_from_slice(&self.last_offset_delta.to_be_bytes());
        out.extend_from_slice(&self.base_timestamp.0.to_be_bytes());
        out.extend_from_slice(&self.max_timestamp.0.to_be_bytes());
        out.extend_from_slice(&self.producer_id.0.to_be_bytes());
        out.extend_from_slice(&self.producer_epoch.0.to_be_bytes());
        out.extend_from_slice(&self.base_sequence.0.to_be_bytes());
        out.extend_from_slice(&self.records_count.to_be_bytes());
    }

    /// The whole batch in bytes, header and records.
    pub fn total_len(&self) -> usize {
        LENGTH_OVERHEAD + self.batch_length as usize
    }

    /// Of a damaged header it is some offset: the base lies outside the CRC and can be anything.
    /// `batch`: the bytes that it is the header of.
    pub fn verify_crc(&self, batch: &[u8]) -> Result<(), BatchError> {
        let covered = batch.get(CRC_FROM..self.total_len());
        let covered = covered.ok_or(BatchError::Short { have: batch.len(), need: self.total_len() })?;
        match crc32c(covered) {
            found if found == self.crc => Ok(()),
            found => Err(BatchError::Crc { expected: self.crc, found }),
        }
    }

    pub fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(i64::from(self.last_offset_delta)))
    }

    /// The offset that follows the batch.
    pub fn next_offset(&self) -> Offset {
        Offset(self.last_offset().0.saturating_add(1))
    }

    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence == Sequence::NONE {
            return Sequence::NONE;
        }
        self.base_sequence.plus(self.last_offset_delta)
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes.is_transactional()
    }

    pub fn is_control(&self) -> bool {
        self.attributes.is_control()
    }
}

fn i16_at(bytes: &[u8; HEADER_LEN], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8; HEADER_LEN], at: usize) -> i32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    i32::from_be_bytes(four)
}

fn i64_at(bytes: &[u8; HEADER_LEN], at: usize) -> i64 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(eight)
}
