//! From what a guest returned to what is sent to which partition.
//!
//! Invariants: a guest's counts, lengths, offset deltas, indexes and masks are checked before they are
//! used; whatever is wrong with them is a sentence about the guest, never a panic.

use std::sync::Arc;

use bytes::Bytes;
use flumen_records::RecordIter;
use flumen_types::{Timestamp, partitioner};

use crate::bindings::flumen::plugin::types::OutBatch;
use crate::chunk::Chunk;
use crate::io::Packed;
use crate::section::{Heads, Packer};

/// Of a reason that a guest gives, no more than this is kept.
const REASON_MAX: usize = 8 << 10;

/// Records on their way to one partition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Routed {
    pub topic: Arc<str>,
    pub partition: u32,
    pub packed: Packed,
}

/// A record of a chunk that cannot be done, by its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejected {
    pub index: u32,
    pub reason: String,
}

/// The topics that a plugin writes to, in the order in which it names them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outputs(Vec<Output>);

#[derive(Clone, Debug)]
struct Output {
    topic: Arc<str>,
    partitions: u32,
    /// Where records without a key go for now.
    sticky: u32,
}

impl Outputs {
    pub(crate) fn new(topics: impl IntoIterator<Item = (Arc<str>, u32)>) -> Outputs {
        let output = |(topic, partitions): (Arc<str>, u32)| Output {
            topic,
            partitions: partitions.max(1),
            sticky: rand::random_range(0..partitions.max(1)),
        };
        Outputs(topics.into_iter().map(output).collect())
    }

    /// Checks what a guest made and divides it among partitions.
    pub(crate) fn route(&mut self, batches: Vec<OutBatch>, bytes_max: usize) -> Result<Vec<Routed>, String> {
        let bytes: usize = batches.iter().map(|b| b.records.len()).sum();
        if bytes > bytes_max {
            return Err(format!("it returned {bytes} bytes from one call; limits.output is {bytes_max}"));
        }
        let mut routed = Vec::with_capacity(batches.len());
        for batch in batches {
            self.route_one(batch, &mut routed)?;
        }
        Ok(routed)
    }

    fn route_one(&mut self, batch: OutBatch, routed: &mut Vec<Routed>) -> Result<(), String> {
        let outputs = self.0.len();
        let output = self
            .0
            .get_mut(batch.output as usize)
            .ok_or_else(|| format!("it wrote to output {}, and has {outputs}", batch.output))?;
        check(&batch)?;
        if batch.count == 0 {
            return Ok(());
        }
        let whole = |topic: &Arc<str>, partition, batch: OutBatch| Routed {
            topic: topic.clone(),
            partition,
            packed: Packed {
                base_timestamp: Timestamp(batch.base_timestamp),
                count: batch.count,
                records: batch.records.into(),
            },
        };
        match batch.partition {
            Some(partition) if partition >= output.partitions => Err(format!(
                "it wrote to partition {partition} of {:?}, which has {}",
                output.topic, output.partitions
            )),
            Some(partition) => {
                routed.push(whole(&output.topic, partition, batch));
                Ok(())
            }
            None if output.partitions == 1 => {
                routed.push(whole(&output.topic, 0, batch));
                Ok(())
            }
            None => {
                let mut spread = Spread::new(output);
                for head in Heads::new(&batch.records, batch.count) {
                    let head = head.map_err(|error| error.to_string())?;
                    spread.push(
                        head.key(),
                        batch.base_timestamp.saturating_add(head.timestamp_delta),
                        head.rest,
                    );
                }
                spread.finish(routed);
                Ok(())
            }
        }
    }

    /// The records of a chunk that `keep` has a bit for, for every output.
    pub(crate) fn keep(&mut self, chunk: &Chunk, keep: &Mask) -> Result<Vec<Routed>, String> {
        let mut routed = Vec::with_capacity(self.0.len());
        for output in &mut self.0 {
            if output.partitions == 1
                && let Some(records) = untouched(chunk, keep)
            {
                let base_timestamp = Timestamp(chunk.base_timestamp);
                let packed = Packed { base_timestamp, count: chunk.count, records };
                routed.push(Routed { topic: output.topic.clone(), partition: 0, packed });
                continue;
            }
            let mut spread = Spread::new(output);
            for (index, head) in Heads::new(&chunk.records, chunk.count).enumerate() {
                let head = head.map_err(|error| error.to_string())?;
                if keep.has(index as u32) {
                    spread.push(head.key(), chunk.timestamp(head.timestamp_delta), head.rest);
                }
            }
            spread.finish(&mut routed);
        }
        Ok(routed)
    }
}

/// Divides records of one output among its partitions.
struct Spread<'a> {
    output: &'a mut Output,
    packers: Vec<Packer>,
    keyless: bool,
}

impl<'a> Spread<'a> {
    fn new(output: &'a mut Output) -> Spread<'a> {
        let packers = (0..output.partitions).map(|_| Packer::default()).collect();
        Spread { output, packers, keyless: false }
    }

    #[inline]
    fn push(&mut self, key: Option<&[u8]>, timestamp: i64, rest: &[u8]) {
        let partition = match key {
            _ if self.packers.len() == 1 => 0,
            Some(key) => partitioner::for_key(key, self.output.partitions),
            None => {
                self.keyless = true;
                self.output.sticky
            }
        };
        self.packers[partition as usize].push(timestamp, rest);
    }

    fn finish(self, routed: &mut Vec<Routed>) {
        if self.keyless {
            self.output.sticky = (self.output.sticky + 1) % self.output.partitions;
        }
        for (partition, packer) in self.packers.into_iter().enumerate() {
            if let Some(packed) = packer.finish() {
                let topic = self.output.topic.clone();
                routed.push(Routed { topic, partition: partition as u32, packed });
            }
        }
    }
}

/// The chunk's own bytes, where all of it is kept and its deltas count 0, 1, 2 … already.
fn untouched(chunk: &Chunk, keep: &Mask) -> Option<Bytes> {
    if chunk.append_timestamp.is_some() || keep.ones() != chunk.count {
        return None;
    }
    let mut heads = Heads::new(&chunk.records, chunk.count).enumerate();
    let counts = heads.all(|(i, head)| head.is_ok_and(|head| head.offset_delta == i as i32));
    counts.then(|| chunk.records.clone())
}

/// Every record is read once.
fn check(batch: &OutBatch) -> Result<(), String> {
    let mut found = 0;
    for record in RecordIter::new(&batch.records, batch.count) {
        let record = record.map_err(|error| format!("it returned a broken batch: {error}"))?;
        if record.offset_delta != found as i32 {
            return Err(format!(
                "record {found} of a batch it returned has offset delta {}",
                record.offset_delta
            ));
        }
        found += 1;
    }
    if found == batch.count {
        Ok(())
    } else {
        Err(format!("a batch it returned counts {} records and holds {found}", batch.count))
    }
}

/// Which records of a chunk a filter keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mask {
    bits: Vec<u8>,
}

impl Mask {
    /// Checks the mask's length, and clears the bits of what was rejected and of what is not there.
    pub(crate) fn new(mut bits: Vec<u8>, count: u32, rejected: &[Rejected]) -> Result<Mask, String> {
        let expected = (count as usize).div_ceil(8);
        if bits.len() != expected {
            return Err(format!(
                "it returned a mask of {} bytes for {count} records, which take {expected}",
                bits.len()
            ));
        }
        if let (Some(last), 1..) = (bits.last_mut(), count % 8) {
            *last &= (1 << (count % 8)) - 1;
        }
        for Rejected { index, .. } in rejected {
            bits[*index as usize / 8] &= !(1 << (index % 8));
        }
        Ok(Mask { bits })
    }

    #[inline]
    pub(crate) fn has(&self, index: u32) -> bool {
        self.bits[index as usize / 8] >> (index % 8) & 1 == 1
    }

    pub(crate) fn ones(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }
}

/// Checks indexes, drops repetitions, shortens reasons; in order of position.
pub(crate) fn rejections(
    given: impl IntoIterator<Item = (u32, String)>,
    count: u32,
) -> Result<Vec<Rejected>, String> {
    let mut rejected = Vec::new();
    for (index, reason) in given {
        if index >= count {
            return Err(format!("it rejected record {index} of {count}"));
        }
        rejected.push(Rejected { index, reason: shortened(reason) });
    }
    rejected.sort_by_key(|r| r.index);
    rejected.dedup_by_key(|r| r.index);
    Ok(rejected)
}

pub(crate) fn shortened(mut reason: String) -> String {
    if reason.len() > REASON_MAX {
        let end = reason.floor_char_boundary(REASON_MAX);
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

#[cfg(test)]
mod tests {
    use flumen_records::{NewRecord, write_record};
    use flumen_types::Offset;

    use super::*;

    fn section(keys: &[Option<&str>], step: i32) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, key) in keys.iter().enumerate() {
            let value = format!("{i}");
            let record = NewRecord {
                key: key.map(str::as_bytes),
                value: Some(value.as_bytes()),
                ..NewRecord::default()
            };
            write_record(&mut out, step * i as i32, i as i64, &record);
        }
        out
    }

    fn batch(output: u32, partition: Option<u32>, keys: &[Option<&str>]) -> OutBatch {
        let count = keys.len() as u32;
        OutBatch { output, partition, base_timestamp: 5, count, records: section(keys, 1) }
    }

    fn outputs() -> Outputs {
        Outputs::new([("one".into(), 1), ("four".into(), 4)])
    }

    fn values(routed: &Routed) -> Vec<(i64, String)> {
        RecordIter::new(&routed.packed.records, routed.packed.count)
            .enumerate()
            .map(|(i, r)| {
                let r = r.unwrap();
                assert_eq!(r.offset_delta, i as i32);
                let value = String::from_utf8(r.value.unwrap().to_vec()).unwrap();
                (routed.packed.base_timestamp.0 + r.timestamp_delta, value)
            })
            .collect()
    }

    #[test]
    fn records_go_by_key_and_keep_order_and_timestamps() {
        let keys = [Some("a"), Some("b"), Some("a"), Some("c"), Some("b"), Some("a")];
        let routed = outputs().route(vec![batch(1, None, &keys)], 1000).unwrap();
        let total: u32 = routed.iter().map(|r| r.packed.count).sum();
        assert_eq!(total, 6);
        for r in &routed {
            for (timestamp, value) in values(r) {
                let i: usize = value.parse().unwrap();
                assert_eq!(timestamp, 5 + i as i64);
                assert_eq!(r.partition, partitioner::for_key(keys[i].unwrap().as_bytes(), 4));
            }
            assert!(values(r).is_sorted());
        }
    }

    #[test]
    fn records_without_a_key_stick_for_a_call_and_then_move_on() {
        let mut outputs = outputs();
        let partitions: Vec<u32> = (0..4)
            .map(|_| {
                let routed = outputs.route(vec![batch(1, None, &[None; 5])], 1000).unwrap();
                assert_eq!((routed.len(), routed[0].packed.count), (1, 5));
                routed[0].partition
            })
            .collect();
        let distinct: std::collections::BTreeSet<_> = partitions.iter().collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn lies_are_found() {
        let good = batch(0, None, &[None, None]);
        let lies = [
            OutBatch { output: 2, ..good.clone() },
            OutBatch { count: 1, ..good.clone() },
            OutBatch { count: 3, ..good.clone() },
            OutBatch { count: u32::MAX, ..good.clone() },
            OutBatch { count: 0, ..good.clone() },
            OutBatch { partition: Some(1), ..good.clone() },
            OutBatch { records: section(&[None, None], 2), ..good.clone() },
            OutBatch { records: vec![0xff; 20], ..good.clone() },
        ];
        for lie in lies {
            assert!(outputs().route(vec![lie.clone()], 1000).is_err(), "{lie:?}");
        }
        assert!(outputs().route(vec![good.clone(), good.clone()], 2 * good.records.len() - 1).is_err());
        assert!(outputs().route(vec![good], 1000).is_ok());
        assert!(Mask::new(vec![0; 2], 8, &[]).is_err());
        assert!(Mask::new(vec![], 1, &[]).is_err());
        assert!(rejections([(3, String::new())], 3).is_err());
    }

    #[test]
    fn a_filter_keeps_by_its_mask() {
        let keys = [Some("a"), None, Some("c")];
        let chunk = Chunk {
            topic: "in".into(),
            partition: 0,
            base_offset: 10,
            base_timestamp: 100,
            append_timestamp: None,
            count: 3,
            records: section(&keys, 1).into(),
            next: Offset(13),
        };
        let mut outputs = Outputs::new([("out".into(), 1)]);
        let rejected = rejections([(0, "bad".to_owned()), (0, "again".to_owned())], 3).unwrap();
        assert_eq!(rejected.len(), 1);
        let all = Mask::new(vec![0xff], 3, &[]).unwrap();
        assert_eq!(all.ones(), 3);
        let routed = outputs.keep(&chunk, &all).unwrap();
        assert_eq!(routed[0].packed.records, chunk.records);
        let some = Mask::new(vec![0xff], 3, &rejected).unwrap();
        let routed = outputs.keep(&chunk, &some).unwrap();
        assert_eq!(values(&routed[0]), [(101, "1".to_owned()), (102, "2".to_owned())]);
        let none = Mask::new(vec![0], 3, &[]).unwrap();
        assert_eq!(outputs.keep(&chunk, &none).unwrap(), []);

        // A topic that stamps records itself: its time is what a reader sees.
        let stamped = Chunk { append_timestamp: Some(7), ..chunk };
        let routed = outputs.keep(&stamped, &all).unwrap();
        assert_eq!(values(&routed[0])[2], (7, "2".to_owned()));
    }
}
