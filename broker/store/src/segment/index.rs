//! A segment's sparse index in memory: from offset to place, from time to offset.
//!
//! The active segment's index lives here and is written when the segment is sealed, a part of it at each
//! checkpoint; that of a sealed one is loaded when it is asked for. Both are small: an entry each `index.interval.bytes`.
//!
//! ```text
//! .index      8 bytes an entry:  i32 offset of a batch's last record - base, i32 place of the batch
//! .timeindex  12 bytes an entry: i64 largest timestamp so far, i32 offset of its batch's last record - base
//! ```
//!
//! Invariants: offsets and places strictly increase; so do the times. What is loaded from a file is
//! checked for that, and rebuilt from the log when it is not so.

use flumen_records::BatchHeader;
use flumen_types::{Offset, Timestamp};

use crate::segment::index_file::Place;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OffsetEntry {
    relative: u32,
    position: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    timestamp: i64,
    relative: u32,
}

#[derive(Clone, Debug)]
pub(crate) struct SegmentIndex {
    base: Offset,
    offsets: Vec<OffsetEntry>,
    times: Vec<TimeEntry>,
    /// The largest timestamp so far, which the next time entry will say.
    largest: Option<TimeEntry>,
    bytes_since_entry: u64,
    /// Entries that the files have.
    saved: Saved,
}

/// How many entries of each file are in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Saved {
    offsets: usize,
    times: usize,
}

/// What the two files of a live segment lack, and where it goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) offsets: (u64, Vec<u8>),
    pub(crate) times: (u64, Vec<u8>),
    upto: Saved,
}

const OFFSET_BYTES: usize = 8;
const TIME_BYTES: usize = 12;

impl SegmentIndex {
    pub(crate) fn new(base: Offset) -> SegmentIndex {
        SegmentIndex {
            base,
            offsets: Vec::new(),
            times: Vec::new(),
            largest: None,
            bytes_since_entry: 0,
            saved: Saved::default(),
        }
    }

    /// Takes in the next batch, which begins at `position`.
    pub(crate) fn note(&mut self, position: u64, header: &BatchHeader, interval_bytes: u64) {
        let relative = header.last_offset().since(self.base) as u32;
        let timestamp = header.max_timestamp.0;
        if timestamp >= 0 && self.largest.is_none_or(|largest| timestamp > largest.timestamp) {
            self.largest = Some(TimeEntry { timestamp, relative });
        }
        if self.bytes_since_entry > interval_bytes {
            self.offsets.push(OffsetEntry { relative, position: position as u32 });
            self.note_time();
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += header.total_len() as u64;
    }

    /// The last time entry, which says the segment's largest timestamp.
    pub(crate) fn seal(&mut self) {
        self.note_time();
    }

    fn note_time(&mut self) {
        if let Some(largest) = self.largest
            && self.times.last().is_none_or(|last| largest.timestamp > last.timestamp)
        {
            self.times.push(largest);
        }
    }

    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    pub(crate) fn offset_entries(&self) -> usize {
        self.offsets.len()
    }

    pub(crate) fn time_entries(&self) -> usize {
        self.times.len()
    }

    /// The largest timestamp; `NONE` if no record carries one.
    pub(crate) fn largest_timestamp(&self) -> Timestamp {
        self.largest.map_or(Timestamp::NONE, |largest| Timestamp(largest.timestamp))
    }

    /// Where to begin looking for an offset: the batch found there ends at or before it.
    pub(crate) fn position_of(&self, offset: Offset) -> u64 {
        self.place_of(offset).position
    }

    pub(crate) fn place_of(&self, offset: Offset) -> Place {
        let relative = offset.since(self.base);
        let after = self.offsets.partition_point(|entry| i64::from(entry.relative) <= relative);
        let Some(at) = after.checked_sub(1) else { return Place::FRONT };
        let OffsetEntry { relative, position } = self.offsets[at];
        Place { position: position.into(), last: Some(self.base.plus(relative.into())) }
    }

    /// Where the last entry points: everything behind is less than an interval and a batch.
    pub(crate) fn last_position(&self) -> u64 {
        self.offsets.last().map_or(0, |entry| u64::from(entry.position))
    }

    /// An offset before (or at) the first record at or after this time.
    pub(crate) fn offset_before(&self, time: Timestamp) -> Offset {
        let after = self.times.partition_point(|entry| entry.timestamp < time.0);
        after.checked_sub(1).map_or(self.base, |at| self.base.plus(i64::from(self.times[at].relative)))
    }

    pub(crate) fn encode_offsets(&self) -> Vec<u8> {
        encode_offsets(&self.offsets)
    }

    pub(crate) fn encode_times(&self) -> Vec<u8> {
        encode_times(&self.times)
    }

    /// What a recovery needs of it, up to now: also the largest timestamp, though its entry is not due.
    pub(crate) fn tail(&mut self) -> Tail {
        self.note_time();
        let Saved { offsets, times } = self.saved;
        Tail {
            offsets: ((offsets * OFFSET_BYTES) as u64, encode_offsets(&self.offsets[offsets..])),
            times: ((times * TIME_BYTES) as u64, encode_times(&self.times[times..])),
            upto: Saved { offsets: self.offsets.len(), times: self.times.len() },
        }
    }

    /// The files have it.
    pub(crate) fn note_saved(&mut self, tail: &Tail) {
        self.saved = tail.upto;
    }

    /// Forgets what is behind the last entry whose batch ends below an offset; where that batch begins,
    /// and its last offset. `None` if there is none.
    pub(crate) fn cut_below(&mut self, offset: Offset) -> Option<(u64, Offset)> {
        let relative = offset.since(self.base);
        self.offsets.truncate(self.offsets.partition_point(|entry| i64::from(entry.relative) < relative));
        let last = *self.offsets.last()?;
        self.times.truncate(self.times.partition_point(|entry| entry.relative <= last.relative));
        self.largest = self.times.last().copied().filter(|entry| entry.timestamp >= 0);
        self.saved = Saved { offsets: self.offsets.len(), times: self.times.len() };
        self.bytes_since_entry = 0;
        Some((last.position.into(), self.base.plus(last.relative.into())))
    }

    /// What two files of a sealed segment of `size` bytes say; `None` if they cannot be right.
    pub(crate) fn decode(base: Offset, size: u64, offsets: &[u8], times: &[u8]) -> Option<SegmentIndex> {
        let (offset_entries, []) = offsets.as_chunks::<OFFSET_BYTES>() else { return None };
        let (time_entries, []) = times.as_chunks::<TIME_BYTES>() else { return None };
        let u32_at =
            |bytes: &[u8], at: usize| bytes[at..].first_chunk().map(|four| u32::from_be_bytes(*four));
        let mut index = SegmentIndex::new(base);
        for bytes in offset_entries {
            let entry = OffsetEntry { relative: u32_at(bytes, 0)?, position: u32_at(bytes, 4)? };
            let follows =
                |last: &OffsetEntry| entry.relative > last.relative && entry.position > last.position;
            if !index.offsets.last().is_none_or(follows) || u64::from(entry.position) >= size {
                return None;
            }
            index.offsets.push(entry);
        }
        for bytes in time_entries {
            let timestamp = bytes.first_chunk().map(|eight| i64::from_be_bytes(*eight))?;
            let entry = TimeEntry { timestamp, relative: u32_at(bytes, 8)? };
            if index.times.last().is_some_and(|last| timestamp <= last.timestamp) {
                return None;
            }
            index.times.push(entry);
        }
        index.largest = index.times.last().copied().filter(|entry| entry.timestamp >= 0);
        index.saved = Saved { offsets: index.offsets.len(), times: index.times.len() };
        Some(index)
    }

    /// Goes on with the index of a segment of `size` bytes that was closed.
    pub(crate) fn reopen(&mut self, size: u64) {
        self.bytes_since_entry = size - self.last_position();
    }
}

fn encode_offsets(entries: &[OffsetEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * OFFSET_BYTES);
    for entry in entries {
        out.extend_from_slice(&entry.relative.to_be_bytes());
        out.extend_from_slice(&entry.position.to_be_bytes());
    }
    out
}

fn encode_times(entries: &[TimeEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * TIME_BYTES);
    for entry in entries {
        out.extend_from_slice(&entry.timestamp.to_be_bytes());
        out.extend_from_slice(&entry.relative.to_be_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use flumen_records::{Batch, BatchBuilder, Compression, NewRecord, assign};
    use flumen_types::LeaderEpoch;

    use super::*;

    fn header(offset: i64, timestamp: i64) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord {
            timestamp: Timestamp(timestamp),
            value: Some(&[0; 40]),
            ..NewRecord::default()
        });
        let mut bytes = builder.build().unwrap().to_vec();
        assign(&mut bytes, Offset(offset), LeaderEpoch(0));
        Batch::parse(Bytes::from(bytes)).unwrap().header().clone()
    }

    fn note(index: &mut SegmentIndex, offsets: std::ops::Range<i64>) {
        for offset in offsets {
            index.note(offset as u64 * 100, &header(1000 + offset, 7 * (offset % 5) + offset), 0);
        }
    }

    #[test]
    fn tails_make_up_the_files_and_a_cut_index_goes_on_as_if_it_had_been_whole() {
        let (mut offsets, mut times) = (Vec::new(), Vec::new());
        let mut index = SegmentIndex::new(Offset(1000));
        for part in [0..3, 3..20, 20..20, 20..31] {
            note(&mut index, part);
            let tail = index.tail();
            assert_eq!((tail.offsets.0, tail.times.0), (offsets.len() as u64, times.len() as u64));
            offsets.extend_from_slice(&tail.offsets.1);
            times.extend_from_slice(&tail.times.1);
            index.note_saved(&tail);
        }
        assert_eq!(
            (offsets.as_slice(), times.as_slice()),
            (&*index.encode_offsets(), &*index.encode_times())
        );
        for point in 1000..1032 {
            let mut cut = SegmentIndex::decode(Offset(1000), 3100, &offsets, &times).unwrap();
            let Some((position, last)) = cut.cut_below(Offset(point)) else {
                assert!(point <= 1001, "the first batch has no entry");
                continue;
            };
            assert_eq!((position, last), (100 * (point - 1001) as u64, Offset(point - 1)));
            note(&mut cut, point - 1001..31);
            assert_eq!(cut.encode_offsets(), offsets);
            cut.seal();
            assert_eq!(cut.largest_timestamp(), index.largest_timestamp());
        }
    }
}
