//! A record as a caller gives or gets it.

use bytes::Bytes;
use flumen_records::{Batch, BatchError, NewRecord, RecordIter, TimestampType, record_len};
use flumen_types::{Offset, Timestamp};

/// One record, owned; its pieces are slices of the batch it came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    /// In order; names may repeat.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// A record with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub offset: Offset,
    pub record: Record,
}

impl Record {
    /// Passes the record as flumen-records wants it.
    pub(crate) fn with_new<T>(&self, then: impl FnOnce(&NewRecord<'_>) -> T) -> T {
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            self.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
        then(&NewRecord {
            timestamp: self.timestamp,
            key: self.key.as_deref(),
            value: self.value.as_deref(),
            headers: &headers,
        })
    }

    /// About what it takes in a batch.
    pub(crate) fn len_bytes(&self) -> usize {
        self.with_new(|record| record_len(i32::MAX, i64::from(i32::MAX), record))
    }

    /// The first header of this name; an absent value reads as an empty one.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let found = self.headers.iter().find(|(key, _)| key == name.as_bytes());
        found.map(|(_, value)| value.as_deref().unwrap_or_default())
    }
}

/// The records of a batch from `from` on; its CRC is checked, and its size when decompressed.
pub fn read_batch(batch: &Batch, from: Offset, bytes_max: usize) -> Result<Vec<Received>, BatchError> {
    batch.verify_crc()?;
    let header = batch.header();
    let count = u32::try_from(header.records_count)
        .map_err(|_| BatchError::Count { expected: header.records_count.into(), found: 0 })?;
    let payload = batch.payload(bytes_max)?;
    let appended = header.attributes.timestamp_type() == TimestampType::LogAppendTime;
    let mut records = Vec::new();
    for record in RecordIter::new(&payload, count) {
        let record = record?;
        let offset = header.base_offset.plus(record.offset_delta.into());
        if offset < from {
            continue;
        }
        let created = Timestamp(header.base_timestamp.0.saturating_add(record.timestamp_delta));
        let slice = |bytes: &[u8]| payload.slice_ref(bytes);
        records.push(Received {
            offset,
            record: Record {
                timestamp: if appended { header.max_timestamp } else { created },
                key: record.key.map(slice),
                value: record.value.map(slice),
                headers: record.headers().map(|(name, value)| (slice(name), value.map(slice))).collect(),
            },
        });
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, Compression};

    use super::*;

    fn record(text: &'static str) -> Record {
        Record {
            timestamp: Timestamp(1_000),
            key: Some(Bytes::from_static(text.as_bytes())),
            value: None,
            headers: vec![
                (Bytes::from_static(b"h"), None),
                (Bytes::from_static(b"h"), Some(Bytes::from_static(b"2"))),
            ],
        }
    }

    #[test]
    fn what_is_written_is_read_from_the_asked_offset_on() {
        let mut builder = BatchBuilder::new(Compression::Lz4).base_offset(Offset(40));
        for text in ["a", "b", "c"] {
            record(text).with_new(|new| builder.push(new));
        }
        let batch = Batch::parse(builder.build().unwrap()).unwrap();
        let read = read_batch(&batch, Offset(41), 1 << 20).unwrap();
        assert_eq!(
            read,
            [
                Received { offset: Offset(41), record: record("b") },
                Received { offset: Offset(42), record: record("c") },
            ]
        );
    }

    #[test]
    fn a_flipped_bit_is_an_error() {
        let mut builder = BatchBuilder::new(Compression::None);
        record("a").with_new(|new| builder.push(new));
        let mut bytes = builder.build().unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        let batch = Batch::parse(bytes.into()).unwrap();
        assert!(matches!(read_batch(&batch, Offset(0), 1 << 20), Err(BatchError::Crc { .. })));
    }

    #[test]
    fn the_first_header_of_a_name_is_found() {
        assert_eq!(record("a").header("h"), Some(&b""[..]));
        assert_eq!(record("a").header("x"), None);
    }
}
