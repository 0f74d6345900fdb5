//! A batch with only the survivors in it: same offsets, same producer, same sequences, same codec.

use bytes::Bytes;
use flumen_records::{
    Batch, BatchError, BatchHeader, Compression, HEADER_LEN, NewRecord, RecordIter, TimestampType, compress,
    seal, write_record,
};
use flumen_types::Timestamp;

#[derive(Default)]
pub(super) struct Survivors {
    pub(super) payload: Bytes,
    /// Positions in the batch, ascending.
    pub(super) kept: Vec<u32>,
    pub(super) tombstones: bool,
}

/// `horizon`: the delete horizon to set; one that the batch has stays. Without any, the base timestamp is that
/// of the first record, as in a batch that a producer made.
pub(super) fn rewrite(
    batch: &Batch,
    survivors: &Survivors,
    horizon: Option<Timestamp>,
) -> Result<Bytes, BatchError> {
    let old = batch.header();
    if survivors.kept.is_empty() {
        return Ok(emptied(old));
    }
    let stamped = old.attributes.timestamp_type() == TimestampType::LogAppendTime;
    let known = horizon.or(old.attributes.has_delete_horizon().then_some(old.base_timestamp));
    let mut base_timestamp = known;
    let mut section = Vec::with_capacity(survivors.payload.len());
    let mut max_timestamp = Timestamp::NONE;
    let mut kept = survivors.kept.iter().copied().peekable();
    let count = u32::try_from(old.records_count).unwrap_or_default();
    for (i, record) in RecordIter::new(&survivors.payload, count).enumerate() {
        if kept.next_if_eq(&(i as u32)).is_none() {
            continue;
        }
        let record = record?;
        let own = Timestamp(old.base_timestamp.0.saturating_add(record.timestamp_delta));
        let timestamp = if stamped { old.max_timestamp } else { own };
        let base = *base_timestamp.get_or_insert(timestamp);
        let headers: Vec<_> = record.headers().collect();
        let copy = NewRecord { timestamp, key: record.key, value: record.value, headers: &headers };
        write_record(&mut section, record.offset_delta, timestamp.since(base), &copy);
        max_timestamp = max_timestamp.max(timestamp);
    }
    let header = BatchHeader {
        attributes: if horizon.is_some() { old.attributes.with_delete_horizon() } else { old.attributes },
        base_timestamp: base_timestamp.unwrap_or(old.base_timestamp),
        max_timestamp,
        records_count: survivors.kept.len() as i32,
        ..old.clone()
    };
    let mut out = Vec::with_capacity(HEADER_LEN + section.len());
    header.write(&mut out);
    compress(old.attributes.compression()?, &section, &mut out)?;
    seal(&mut out);
    Ok(out.into())
}

/// The header alone, with nothing to decompress and nothing to expire.
fn emptied(old: &BatchHeader) -> Bytes {
    let attributes = old.attributes.with_compression(Compression::None).without_delete_horizon();
    let header = BatchHeader { attributes, base_timestamp: Timestamp::NONE, records_count: 0, ..old.clone() };
    let mut out = Vec::with_capacity(HEADER_LEN);
    header.write(&mut out);
    seal(&mut out);
    out.into()
}
