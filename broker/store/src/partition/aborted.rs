//! The aborted transactions of a partition, by where their markers are.
//!
//! In memory as a whole: an entry is 32 bytes and goes with its segment. On the disk in the
//! `.txnindex` of the segment that holds the marker, written when that is sealed and at each
//! checkpoint; a recovery goes on from it, or rebuilds it from the log.
//!
//! ```text
//! 34 bytes an entry: i16 version = 0, i64 producer id, i64 first offset, i64 last offset (the marker),
//! i64 last stable offset when it was written
//! ```

use std::ops::Range;

use flumen_log::cleaner::Aborted;
use flumen_log::producers::{Ended, ProducerStates};
use flumen_types::{Offset, ProducerId};

const ENTRY_BYTES: usize = 34;

/// A transaction whose records from `first_offset` on are not to be seen, up to its marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTxn {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

/// For a transaction that a marker has just ended.
pub(crate) fn entry(ended: &Ended, after: &ProducerStates) -> Aborted {
    Aborted {
        producer_id: ended.producer_id,
        first_offset: ended.first_offset,
        last_offset: ended.last_offset,
        last_stable: after.first_unstable().unwrap_or(ended.last_offset.next()),
    }
}

fn encode(entry: &Aborted, out: &mut Vec<u8>) {
    out.extend_from_slice(&0i16.to_be_bytes());
    let offsets = [entry.first_offset.0, entry.last_offset.0, entry.last_stable.0];
    for field in std::iter::once(entry.producer_id.0).chain(offsets) {
        out.extend_from_slice(&field.to_be_bytes());
    }
}

fn decode(bytes: &[u8; ENTRY_BYTES]) -> Option<Aborted> {
    let field = |n: usize| bytes[2 + 8 * n..].first_chunk().map(|eight| i64::from_be_bytes(*eight));
    let entry = Aborted {
        producer_id: ProducerId(field(0)?),
        first_offset: Offset(field(1)?),
        last_offset: Offset(field(2)?),
        last_stable: Offset(field(3)?),
    };
    // A marker lies behind what it ends. Zeros are none: what never reached the disk reads so.
    (bytes[..2] == [0, 0] && entry.first_offset < entry.last_offset).then_some(entry)
}

/// Ascending by marker, as they happen.
#[derive(Debug, Default)]
pub(crate) struct AbortedIndex(Vec<Aborted>);

impl AbortedIndex {
    /// Of entries in order.
    pub(crate) fn new(entries: Vec<Aborted>) -> AbortedIndex {
        AbortedIndex(entries)
    }

    pub(crate) fn entries(&self) -> &[Aborted] {
        &self.0
    }

    pub(crate) fn push(&mut self, entry: Aborted) {
        self.0.push(entry);
    }

    /// Those with records in `from..next`, by first offset.
    pub(crate) fn within(&self, from: Offset, next: Offset) -> Vec<AbortedTxn> {
        let first = self.0.partition_point(|entry| entry.last_offset < from);
        let mut found: Vec<AbortedTxn> = self.0[first..]
            .iter()
            // Behind a marker that left nothing open before `next`, no transaction reaches back.
            .scan(false, |past, entry| {
                let before = *past;
                *past = entry.last_stable >= next;
                (!before).then_some(entry)
            })
            .filter(|entry| entry.first_offset < next)
            .map(|entry| AbortedTxn { producer_id: entry.producer_id, first_offset: entry.first_offset })
            .collect();
        found.sort_by_key(|txn| txn.first_offset);
        found
    }

    /// Forgets those whose marker is before the offset.
    pub(crate) fn trim(&mut self, start: Offset) {
        let keep = self.0.partition_point(|entry| entry.last_offset < start);
        self.0.drain(..keep);
    }

    /// Those whose markers are in a segment are now these.
    pub(crate) fn replace(&mut self, base: Offset, next: Option<Offset>, entries: Vec<Aborted>) {
        self.0.splice(self.range(base, next), entries);
    }

    /// Those whose markers are in `base..next`.
    fn range(&self, base: Offset, next: Option<Offset>) -> Range<usize> {
        let before = |offset: Offset| self.0.partition_point(|entry| entry.last_offset < offset);
        let from = before(base);
        from..next.map_or(self.0.len(), before).max(from)
    }

    /// The content of the `.txnindex` of a segment; empty if it needs none.
    pub(crate) fn encode(&self, base: Offset, end: Option<Offset>) -> Vec<u8> {
        let range = self.range(base, end);
        let mut out = Vec::with_capacity(range.len() * ENTRY_BYTES);
        self.0[range].iter().for_each(|entry| encode(entry, &mut out));
        out
    }

    /// Takes in a segment's file; false if it cannot be right.
    pub(crate) fn load(&mut self, content: &[u8]) -> bool {
        self.load_below(content, Offset(i64::MAX))
    }

    /// The same, of markers below an offset.
    pub(crate) fn load_below(&mut self, content: &[u8], upto: Offset) -> bool {
        let (entries, rest) = content.as_chunks::<ENTRY_BYTES>();
        let decoded: Option<Vec<Aborted>> = entries.iter().map(decode).collect();
        let ascends = |entries: &[Aborted]| entries.is_sorted_by(|a, b| a.last_offset < b.last_offset);
        match decoded {
            Some(entries) if rest.is_empty() && ascends(&entries) => {
                self.0.extend(entries.into_iter().filter(|entry| entry.last_offset < upto));
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(producer: i64, first: i64, last: i64, last_stable: i64) -> Aborted {
        Aborted {
            producer_id: ProducerId(producer),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable: Offset(last_stable),
        }
    }

    fn index() -> AbortedIndex {
        AbortedIndex(vec![entry(1, 5, 10, 8), entry(2, 8, 20, 21), entry(1, 30, 40, 41)])
    }

    #[test]
    fn a_range_finds_those_that_overlap_it() {
        let producers = |from, next| -> Vec<i64> {
            index().within(Offset(from), Offset(next)).iter().map(|txn| txn.producer_id.0).collect()
        };
        assert_eq!(producers(0, 5), Vec::<i64>::new());
        assert_eq!(producers(0, 6), [1]);
        assert_eq!(producers(9, 12), [1, 2]);
        assert_eq!(producers(11, 31), [2, 1]);
        assert_eq!(producers(41, 100), Vec::<i64>::new());
    }

    #[test]
    fn a_segments_file_reads_back_and_garbage_does_not() {
        let content = index().encode(Offset(10), Some(Offset(40)));
        assert_eq!(content.len(), 2 * ENTRY_BYTES);
        let mut loaded = AbortedIndex::default();
        assert!(loaded.load(&content));
        assert_eq!(loaded.0, index().0[..2]);
        assert!(!loaded.load(&content[1..]));
        assert!(!loaded.load(&[0xff; ENTRY_BYTES]));
        // As a write that was cut short leaves it.
        assert!(!loaded.load(&[&content[..ENTRY_BYTES], &[0; ENTRY_BYTES]].concat()));
        assert!(!loaded.load(&[&content[ENTRY_BYTES..], &content[..ENTRY_BYTES]].concat()));
        loaded.trim(Offset(11));
        assert_eq!(loaded.0, index().0[1..2]);
    }
}
