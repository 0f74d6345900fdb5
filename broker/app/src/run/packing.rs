//! From packed records to batches that a topic takes.
//!
//! Invariant: the records of a section stay in their order, and each batch is as large as the topic
//! allows at the most.

use bytes::Bytes;
use flumen_host::Packed;
use flumen_log::append::judge;
use flumen_log::config::TopicConfig;
use flumen_records::{
    Attributes, BatchBuilder, BatchError, Compression, HEADER_LEN, NewRecord, PackedBatch, RecordIter,
    RecordRef, record_len, wrap_packed,
};
use flumen_types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The next batch's producer fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stamp {
    pub(super) id: ProducerId,
    pub(super) epoch: ProducerEpoch,
    pub(super) sequence: Sequence,
}

/// Why the topic will not take one of these records, in whatever batch: found here, the others can go.
pub(super) fn refused(packed: &Packed, config: &TopicConfig, now: Timestamp) -> Option<String> {
    let bytes_max = config.max_message_bytes;
    if let Some(bytes) = too_large(packed, bytes_max) {
        return Some(format!("a record of {bytes} bytes is larger than max.message.bytes, {bytes_max}"));
    }
    let judged = |record: RecordRef<'_>| {
        let timestamp = Timestamp(packed.base_timestamp.0.saturating_add(record.timestamp_delta));
        judge(&record, timestamp, config, now).err().map(|why| why.to_string())
    };
    RecordIter::new(&packed.records, packed.count).flatten().find_map(judged)
}

/// The size of the first record that no batch of `bytes_max` can hold.
fn too_large(packed: &Packed, bytes_max: usize) -> Option<usize> {
    if HEADER_LEN + packed.records.len() <= bytes_max {
        return None;
    }
    let records = RecordIter::new(&packed.records, packed.count).flatten();
    records.map(|record| record.raw().len()).find(|length| HEADER_LEN + length > bytes_max)
}

/// Batches of one transaction for one partition, and the sequence that follows them.
pub(super) fn batches(
    packed: &Packed,
    stamp: Stamp,
    bytes_max: usize,
) -> Result<(Vec<Bytes>, Sequence), BatchError> {
    if HEADER_LEN + packed.records.len() <= bytes_max {
        let header = PackedBatch {
            attributes: Attributes::new(Compression::None).with_transactional(),
            producer_id: stamp.id,
            producer_epoch: stamp.epoch,
            base_sequence: stamp.sequence,
            ..PackedBatch::default()
        };
        let batch = wrap_packed(&packed.records, packed.count, packed.base_timestamp, &header)?;
        return Ok((vec![batch], stamp.sequence.plus(packed.count as i32)));
    }
    split(packed, stamp, bytes_max)
}

fn split(packed: &Packed, mut stamp: Stamp, bytes_max: usize) -> Result<(Vec<Bytes>, Sequence), BatchError> {
    let fresh = |stamp: Stamp| {
        BatchBuilder::new(Compression::None).producer(stamp.id, stamp.epoch, stamp.sequence).transactional()
    };
    let mut done = Vec::new();
    let mut builder = fresh(stamp);
    for record in RecordIter::new(&packed.records, packed.count) {
        let record = record?;
        let headers: Vec<_> = record.headers().collect();
        let timestamp = Timestamp(packed.base_timestamp.0.saturating_add(record.timestamp_delta));
        let copy = NewRecord { timestamp, key: record.key, value: record.value, headers: &headers };
        let length = record_len(i32::MAX, i64::from(i32::MAX), &copy);
        if !builder.is_empty() && builder.len_bytes() + length > bytes_max {
            stamp.sequence = stamp.sequence.plus(builder.count() as i32);
            done.push(std::mem::replace(&mut builder, fresh(stamp)).build()?);
        }
        builder.push(&copy);
    }
    stamp.sequence = stamp.sequence.plus(builder.count() as i32);
    done.push(builder.build()?);
    Ok((done, stamp.sequence))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use flumen_records::Batch;

    use super::*;

    fn packed(count: usize) -> Packed {
        let mut builder = BatchBuilder::new(Compression::None);
        for i in 0..count {
            let value = format!("value {i}");
            let headers: [(&[u8], Option<&[u8]>); 1] = [(b"h", Some(b"1"))];
            let record = NewRecord {
                timestamp: Timestamp(1000 + i as i64),
                value: Some(value.as_bytes()),
                headers: &headers,
                key: None,
            };
            builder.push(&record);
        }
        let bytes = builder.build().unwrap();
        Packed { base_timestamp: Timestamp(1000), count: count as u32, records: bytes.slice(HEADER_LEN..) }
    }

    #[test]
    fn a_record_that_no_batch_can_hold_is_found() {
        let small = packed(50);
        assert_eq!(too_large(&small, 80), None);
        let length = small.records.len() / 50;
        assert!(too_large(&small, HEADER_LEN + length - 2).is_some());
    }

    #[test]
    fn what_the_topic_refuses_is_told_before_there_is_a_batch() {
        let topic = |pairs: &[(&str, &str)]| {
            let texts = pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
            TopicConfig::resolve(&texts, &BTreeMap::new()).unwrap()
        };
        let (now, long_ago) = (Timestamp(2000), Timestamp(-3_700_000));
        assert_eq!(refused(&packed(50), &topic(&[]), now), None);
        for (config, now, said) in [
            (topic(&[]), long_ago, "timestamp"),
            (topic(&[("cleanup.policy", "compact")]), now, "without a key"),
            (topic(&[("max.message.bytes", "70")]), now, "max.message.bytes"),
        ] {
            let why = refused(&packed(50), &config, now).expect(said);
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn what_is_too_large_is_split_in_order_and_sequences_go_on() {
        let stamp = Stamp { id: ProducerId(7), epoch: ProducerEpoch(1), sequence: Sequence(10) };
        for bytes_max in [80, 200, 100_000] {
            let (made, next) = batches(&packed(50), stamp, bytes_max).unwrap();
            assert_eq!(next, Sequence(60), "{bytes_max}");
            let mut values = Vec::new();
            let mut expected = Sequence(10);
            for bytes in made {
                assert!(bytes.len() <= bytes_max.max(100), "{} bytes", bytes.len());
                let batch = Batch::parse(bytes).unwrap();
                batch.verify_crc().unwrap();
                assert!(batch.header().is_transactional());
                assert_eq!(batch.header().base_sequence, expected);
                expected = expected.plus(batch.header().records_count);
                for record in &batch.records(1 << 20).unwrap() {
                    let record = record.unwrap();
                    let n = batch.header().base_timestamp.0 + record.timestamp_delta - 1000;
                    assert_eq!(record.value, Some(format!("value {n}").as_bytes()));
                    assert_eq!(record.headers().count(), 1);
                    values.push(n);
                }
            }
            assert_eq!(values, (0..50).collect::<Vec<_>>());
        }
    }
}
