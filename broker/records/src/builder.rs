//! Making batches: from records, or around a section that is packed already.

use bytes::Bytes;
use flumen_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::batch::seal;
use crate::header::{HEADER_LEN, MAGIC};
use crate::record::{NewRecord, RecordIter, write_record};
use crate::{Attributes, BatchError, BatchHeader, Compression, codec};

/// What a batch's header says beside its records.
#[derive(Clone, Debug)]
pub struct PackedBatch {
    pub base_offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub attributes: Attributes,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: Sequence,
}

impl Default for PackedBatch {
    fn default() -> Self {
        PackedBatch {
            base_offset: Offset::ZERO,
            leader_epoch: LeaderEpoch::UNKNOWN,
            attributes: Attributes::default(),
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
        }
    }
}

/// Collects records into one batch. Offset deltas count from 0 unless set by `push_at`.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    options: PackedBatch,
    base_timestamp: Option<Timestamp>,
    max_timestamp: Timestamp,
    last_offset_delta: i32,
    count: i32,
    section: Vec<u8>,
}

impl BatchBuilder {
    pub fn new(compression: Compression) -> Self {
        BatchBuilder {
            options: PackedBatch { attributes: Attributes::new(compression), ..PackedBatch::default() },
            base_timestamp: None,
            max_timestamp: Timestamp::NONE,
            last_offset_delta: -1,
            count: 0,
            section: Vec::new(),
        }
    }

    #[must_use]
    pub fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) -> Self {
        self.options.producer_id = id;
        self.options.producer_epoch = epoch;
        self.options.base_sequence = base_sequence;
        self
    }

    #[must_use]
    pub fn transactional(mut self) -> Self {
        self.options.attributes = self.options.attributes.with_transactional();
        self
    }

    #[must_use]
    pub fn control(mut self) -> Self {
        self.options.attributes = self.options.attributes.with_control();
        self
    }

    #[must_use]
    pub fn base_offset(mut self, offset: Offset) -> Self {
        self.options.base_offset = offset;
        self
    }

    #[must_use]
    pub fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.options.leader_epoch = epoch;
        self
    }

    pub fn push(&mut self, record: &NewRecord<'_>) {
        self.push_at(self.last_offset_delta + 1, record);
    }

    /// A record at an offset delta of the caller's choice; they must grow.
    pub fn push_at(&mut self, offset_delta: i32, record: &NewRecord<'_>) {
        debug_assert!(offset_delta > self.last_offset_delta, "offset deltas grow");
        let base = *self.base_timestamp.get_or_insert(record.timestamp);
        write_record(&mut self.section, offset_delta, record.timestamp.since(base), record);
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.last_offset_delta = offset_delta;
        self.count += 1;
    }

    /// The size of the batch before compression.
    pub fn len_bytes(&self) -> usize {
        HEADER_LEN + self.section.len()
    }

    pub fn count(&self) -> usize {
        self.count as usize
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn build(self) -> Result<Bytes, BatchError> {
        if self.section.len() > i32::MAX as usize - HEADER_LEN {
            return Err(BatchError::Overflow);
        }
        let facts = Facts {
            base_timestamp: self.base_timestamp.unwrap_or(Timestamp::NONE),
            max_timestamp: self.max_timestamp,
            last_offset_delta: self.last_offset_delta.max(0),
            count: self.count,
        };
        frame(&self.options, &facts, &self.section)
    }
}

struct Facts {
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    last_offset_delta: i32,
    count: i32,
}

fn frame(options: &PackedBatch, facts: &Facts, section: &[u8]) -> Result<Bytes, BatchError> {
    let header = BatchHeader {
        base_offset: options.base_offset,
        batch_length: 0,
        leader_epoch: options.leader_epoch,
        magic: MAGIC,
        crc: 0,
        attributes: options.attributes,
        last_offset_delta: facts.last_offset_delta,
        base_timestamp: facts.base_timestamp,
        max_timestamp: facts.max_timestamp,
        producer_id: options.producer_id,
        producer_epoch: options.producer_epoch,
        base_sequence: options.base_sequence,
        records_count: facts.count,
    };
    let mut out = Vec::with_capacity(HEADER_LEN + section.len());
    header.write(&mut out);
    codec::compress(options.attributes.compression()?, section, &mut out)?;
    if out.len() > i32::MAX as usize {
        return Err(BatchError::Overflow);
    }
    seal(&mut out);
    Ok(out.into())
}

/// A batch around a section that is packed already (by a plugin, say). Every record is read once: the
/// count must be true and offset deltas must grow.
pub fn wrap_packed(
    section: &[u8],
    count: u32,
    base_timestamp: Timestamp,
    options: &PackedBatch,
) -> Result<Bytes, BatchError> {
    let count_i32 = i32::try_from(count).map_err(|_| BatchError::Overflow)?;
    let mut facts =
        Facts { base_timestamp, max_timestamp: Timestamp::NONE, last_offset_delta: -1, count: count_i32 };
    let mut found = 0;
    for record in RecordIter::new(section, count) {
        let record = record?;
        if record.offset_delta <= facts.last_offset_delta {
            return Err(BatchError::Record { index: found, what: "its offset delta does not grow" });
        }
        facts.last_offset_delta = record.offset_delta;
        let timestamp = Timestamp(base_timestamp.0.saturating_add(record.timestamp_delta));
        facts.max_timestamp = facts.max_timestamp.max(timestamp);
        found += 1;
    }
    if found != count {
        return Err(BatchError::Count { expected: count.into(), found: found.into() });
    }
    facts.last_offset_delta = facts.last_offset_delta.max(0);
    frame(options, &facts, section)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Batch, ControlRecord, assign, batches, control_batch, stamp_log_append_time};

    type Field = Option<Vec<u8>>;
    type Row = (i64, Field, Field, Vec<(Vec<u8>, Field)>);

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let field = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40));
        let header = (proptest::collection::vec(any::<u8>(), 0..8), field.clone());
        let row = (0_i64..1 << 45, field.clone(), field, proptest::collection::vec(header, 0..4));
        proptest::collection::vec(row, 1..30)
    }

    fn build(rows: &[Row], codec: Compression) -> Bytes {
        let mut builder = BatchBuilder::new(codec).producer(ProducerId(7), ProducerEpoch(1), Sequence(3));
        for (timestamp, key, value, headers) in rows {
            let headers: Vec<_> = headers.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
            let record = NewRecord {
                timestamp: Timestamp(*timestamp),
                key: key.as_deref(),
                value: value.as_deref(),
                headers: &headers,
            };
            builder.push(&record);
        }
        builder.build().unwrap()
    }

    proptest! {
        #[test]
        fn records_come_back_from_every_codec(rows in rows(), base in 0_i64..1 << 50) {
            for codec in Compression::ALL {
                let mut bytes = build(&rows, codec).to_vec();
                assign(&mut bytes, Offset(base), LeaderEpoch(4));
                let batch = Batch::parse(bytes.into()).unwrap();
                batch.verify_crc().unwrap();
                prop_assert_eq!(batch.header().base_offset, Offset(base));
                prop_assert_eq!(batch.header().next_offset(), Offset(base + rows.len() as i64));
                prop_assert_eq!(batch.header().last_sequence(), Sequence(2 + rows.len() as i32));
                let records = batch.records(1 << 20).unwrap();
                prop_assert_eq!(records.iter().count(), rows.len());
                for (record, (timestamp, key, value, headers)) in records.iter().zip(&rows) {
                    let record = record.unwrap();
                    prop_assert_eq!(batch.header().base_timestamp.0 + record.timestamp_delta, *timestamp);
                    prop_assert_eq!(record.key, key.as_deref());
                    prop_assert_eq!(record.value, value.as_deref());
                    let found: Vec<_> = record.headers().map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
                    prop_assert_eq!(&found, headers);
                }
                let max = rows.iter().map(|r| r.0).max().unwrap();
                prop_assert_eq!(batch.header().max_timestamp, Timestamp(max));
            }
        }

        #[test]
        fn a_flipped_bit_is_found_and_never_a_panic(rows in rows(), at: prop::sample::Index, bit in 0_u32..8) {
            let good = build(&rows, Compression::None);
            let mut bytes = good.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            if let Ok(header) = BatchHeader::parse(&bytes) {
                prop_assert!(header.total_len() >= HEADER_LEN);
                header.last_sequence();
                header.next_offset();
            }
            if let Ok(batch) = Batch::parse(bytes.into()) {
                // Base offset and leader epoch lie outside the CRC; everything else must be caught.
                prop_assert_eq!(batch.verify_crc().is_ok(), at < 8 || (12..16).contains(&at));
                if let Ok(records) = batch.records(1 << 20) { records.iter().for_each(drop); }
            }
        }

        #[test]
        fn a_cut_is_a_partial_batch_and_never_a_panic(rows in rows(), at: prop::sample::Index) {
            let good = build(&rows, Compression::None);
            let cut = good.slice(..at.index(good.len()));
            prop_assert_eq!(batches(cut).count(), 0);
            let mut two = good.to_vec();
            two.extend_from_slice(&good);
            prop_assert_eq!(batches(two.into()).filter(|b| b.is_ok()).count(), 2);
        }

        #[test]
        fn any_section_is_records_or_an_error(section: Vec<u8>, count in 0_u32..50) {
            let read = RecordIter::new(&section, count).filter(|r| r.is_ok()).count();
            prop_assert!(read <= count as usize);
            wrap_packed(&section, count, Timestamp(0), &PackedBatch::default()).ok();
        }
    }

    #[test]
    fn a_packed_section_is_wrapped_as_it_would_be_built() {
        let mut builder = BatchBuilder::new(Compression::None);
        for i in 0..5 {
            let value = format!("v{i}");
            builder.push(&NewRecord {
                timestamp: Timestamp(100 + i),
                value: Some(value.as_bytes()),
                ..NewRecord::default()
            });
        }
        let built = builder.build().unwrap();
        let wrapped = wrap_packed(&built[HEADER_LEN..], 5, Timestamp(100), &PackedBatch::default()).unwrap();
        assert_eq!(built, wrapped);
        for lie in [4, 6, u32::MAX] {
            assert!(
                wrap_packed(&built[HEADER_LEN..], lie, Timestamp(100), &PackedBatch::default()).is_err(),
                "{lie}"
            );
        }
    }

    #[test]
    fn log_append_time_keeps_the_crc_true() {
        let mut bytes = build(&[(5, None, Some(vec![1]), vec![])], Compression::None).to_vec();
        stamp_log_append_time(&mut bytes, Timestamp(99));
        let batch = Batch::parse(bytes.into()).unwrap();
        batch.verify_crc().unwrap();
        assert_eq!(batch.header().max_timestamp, Timestamp(99));
        assert_eq!(batch.header().attributes.timestamp_type(), crate::TimestampType::LogAppendTime);
    }

    #[test]
    fn a_marker_that_compaction_emptied_ends_nothing() {
        let commit = ControlRecord::Commit { coordinator_epoch: 3 };
        let marker = control_batch(ProducerId(9), ProducerEpoch(2), commit, Timestamp(1));
        let mut emptied = marker[..HEADER_LEN].to_vec();
        emptied[57..].copy_from_slice(&[0; 4]);
        seal(&mut emptied);
        let emptied = Batch::parse(emptied.into()).unwrap();
        assert_eq!(emptied.control().unwrap(), ControlRecord::Other(-1));
    }

    #[test]
    fn a_base_offset_out_of_range_is_no_panic() {
        let mut bytes = build(&[(0, None, None, vec![])], Compression::None).to_vec();
        for base in [i64::MAX, i64::MIN] {
            bytes[..8].copy_from_slice(&base.to_be_bytes());
            let header = BatchHeader::parse(&bytes).unwrap();
            assert!(header.next_offset() >= header.base_offset);
        }
    }

    #[test]
    fn markers_come_back() {
        for marker in
            [ControlRecord::Commit { coordinator_epoch: 3 }, ControlRecord::Abort { coordinator_epoch: 0 }]
        {
            let bytes = control_batch(ProducerId(9), ProducerEpoch(2), marker, Timestamp(1));
            let batch = Batch::parse(bytes).unwrap();
            batch.verify_crc().unwrap();
            assert!(batch.header().is_control() && batch.header().is_transactional());
            assert_eq!(batch.control().unwrap(), marker);
        }
    }
}
