//! What a produce from version 3 on carries for a partition, by Kafka's rules: one batch, of magic 2, in a codec
//! that clients of the time know. Behind it may be a part of another, which nobody reads.
//!
//! What else is wrong with the batch, the log says.

use bytes::Bytes;
use flumen_protocol::ErrorCode;
use flumen_records::{BatchHeader, Compression};

/// KIP-110.
const FIRST_WITH_ZSTD: i16 = 7;

pub(super) fn single_batch(records: &Bytes, version: i16) -> Result<Bytes, (ErrorCode, &'static str)> {
    let damaged = Err((ErrorCode::CorruptMessage, "the bytes are no batch"));
    let length = match first_entry(records) {
        Entry::None => return Err((ErrorCode::InvalidRecord, "there is no whole batch")),
        Entry::Damaged => return damaged,
        Entry::Whole { magic: 2, length } => length,
        Entry::Whole { .. } => {
            return Err((ErrorCode::InvalidRecord, "from Produce version 3 on batches have magic 2"));
        }
    };
    match first_entry(&records[length..]) {
        Entry::None => {}
        Entry::Damaged => return damaged,
        Entry::Whole { .. } => {
            let words = "from Produce version 3 on there is one batch for a partition";
            return Err((ErrorCode::InvalidRecord, words));
        }
    }
    let batch = records.slice(..length);
    let codec = BatchHeader::parse(&batch).map(|header| header.attributes.compression());
    if matches!(codec, Ok(Ok(Compression::Zstd))) && version < FIRST_WITH_ZSTD {
        return Err((ErrorCode::UnsupportedCompressionType, "zstd needs Produce version 7"));
    }
    Ok(batch)
}

/// What a sequence of batches or messages begins with.
enum Entry {
    /// Less than a whole one.
    None,
    Damaged,
    Whole {
        magic: u8,
        length: usize,
    },
}

/// Every magic has an offset, a length and, 16 bytes in, its number in common.
fn first_entry(bytes: &[u8]) -> Entry {
    const OVERHEAD: usize = 12;
    /// Of a message of magic 0 without key and value.
    const SIZE_MIN: i32 = 14;
    let Some(size) = bytes.get(8..OVERHEAD).and_then(|four| four.try_into().ok()) else { return Entry::None };
    let size = i32::from_be_bytes(size);
    if size < SIZE_MIN {
        return Entry::Damaged;
    }
    let length = OVERHEAD + size as usize;
    match bytes.get(16) {
        None => Entry::None,
        Some(3..) => Entry::Damaged,
        Some(_) if bytes.len() < length => Entry::None,
        Some(&magic) => Entry::Whole { magic, length },
    }
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, NewRecord};

    use super::*;

    fn batch() -> Bytes {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord::default());
        builder.build().unwrap()
    }

    fn error(records: &[u8]) -> ErrorCode {
        single_batch(&Bytes::copy_from_slice(records), 9).unwrap_err().0
    }

    #[test]
    fn one_batch_is_taken_and_what_is_cut_behind_it_is_not() {
        let batch = batch();
        assert_eq!(single_batch(&batch, 9).unwrap(), batch);
        let with_tail = [&batch[..], b"tail"].concat();
        assert_eq!(single_batch(&Bytes::from(with_tail), 9).unwrap(), batch);
    }

    #[test]
    fn everything_else_is_refused() {
        let batch = batch();
        assert_eq!(error(&[&batch[..], &batch[..]].concat()), ErrorCode::InvalidRecord);
        assert_eq!(error(&batch[..batch.len() - 1]), ErrorCode::InvalidRecord);
        assert_eq!(error(b""), ErrorCode::InvalidRecord);
        assert_eq!(error(&[0; 40]), ErrorCode::CorruptMessage);
        for (magic, expected) in [(1, ErrorCode::InvalidRecord), (3, ErrorCode::CorruptMessage)] {
            let mut other = batch.to_vec();
            other[16] = magic;
            assert_eq!(error(&other), expected, "magic {magic}");
        }
    }
}
