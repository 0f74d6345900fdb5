//! Packed records sections: cutting them, and writing records anew.
//!
//! A section is `count` records end to end, each with its own length in front, so that cutting costs no
//! copy; offset deltas then do not begin at 0, which a guest's input need not. What goes *to* a topic must count 0, 1, 2 …; there each record's head (length, timestamp delta, offset
//! delta) is written anew and the rest is copied.
//!
//! Invariants: nothing here trusts a count or a length; a section that lies is an error.

use flumen_records::varint;
use flumen_types::Timestamp;
use thiserror::Error;

use crate::io::Packed;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum SectionError {
    #[error("record {0} is cut short or malformed")]
    Record(u32),
    #[error("bytes follow the last of {0} records")]
    Surplus(u32),
}

/// One record, read no further than its key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a> {
    pub timestamp_delta: i64,
    pub offset_delta: i32,
    /// From the key's length on.
    pub rest: &'a [u8],
    /// With its length in front.
    pub raw: &'a [u8],
}

impl<'a> Head<'a> {
    /// The key; none where it is null or malformed.
    pub(crate) fn key(&self) -> Option<&'a [u8]> {
        let mut at = 0;
        let length = usize::try_from(varint::read_i32(self.rest, &mut at).ok()?).ok()?;
        self.rest.get(at..at.checked_add(length)?)
    }
}

/// Walks over the records' heads. Yields one error, and then nothing, where the section lies.
pub(crate) struct Heads<'a> {
    section: &'a [u8],
    at: usize,
    index: u32,
    count: u32,
}

impl<'a> Heads<'a> {
    pub(crate) fn new(section: &'a [u8], count: u32) -> Self {
        Heads { section, at: 0, index: 0, count }
    }

    #[inline]
    fn read(&mut self) -> Option<Head<'a>> {
        let start = self.at;
        let length = usize::try_from(varint::read_i32(self.section, &mut self.at).ok()?).ok()?;
        let end = self.at.checked_add(length)?;
        let body = self.section.get(self.at..end)?;
        // The attributes' byte.
        let mut at = 1;
        let timestamp_delta = varint::read_i64(body, &mut at).ok()?;
        let offset_delta = varint::read_i32(body, &mut at).ok()?;
        self.at = end;
        let raw = &self.section[start..end];
        (offset_delta >= 0).then_some(Head { timestamp_delta, offset_delta, rest: &body[at..], raw })
    }
}

impl<'a> Iterator for Heads<'a> {
    type Item = Result<Head<'a>, SectionError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            let surplus = self.index == self.count && self.at < self.section.len();
            self.index = u32::MAX;
            return surplus.then_some(Err(SectionError::Surplus(self.count)));
        }
        let head = self.read();
        let index = self.index;
        self.index = if head.is_some() { index + 1 } else { u32::MAX };
        Some(head.ok_or(SectionError::Record(index)))
    }
}

/// The byte at which the record at `index` begins; lengths only, as the section has been walked before.
pub(crate) fn boundary(section: &[u8], index: u32) -> Option<usize> {
    let mut at = 0;
    for _ in 0..index {
        let length = usize::try_from(varint::read_i32(section, &mut at).ok()?).ok()?;
        at = at.checked_add(length).filter(|end| *end <= section.len())?;
    }
    Some(at)
}

/// Writes records with offset deltas 0, 1, 2 ….
#[derive(Debug, Default)]
pub(crate) struct Packer {
    base_timestamp: Option<i64>,
    count: u32,
    section: Vec<u8>,
}

impl Packer {
    /// Copies a record; `rest` is from its key's length on.
    #[inline]
    pub(crate) fn push(&mut self, timestamp: i64, rest: &[u8]) {
        let base = *self.base_timestamp.get_or_insert(timestamp);
        write_head(&mut self.section, timestamp.wrapping_sub(base), self.count as i32, rest);
        self.count += 1;
    }

    pub(crate) fn finish(self) -> Option<Packed> {
        let base_timestamp = Timestamp(self.base_timestamp?);
        Some(Packed { base_timestamp, count: self.count, records: self.section.into() })
    }
}

/// One record under a head of its own.
#[inline]
pub(crate) fn write_head(out: &mut Vec<u8>, timestamp_delta: i64, offset_delta: i32, rest: &[u8]) {
    let length = 1 + varint::len_i64(timestamp_delta) + varint::len_i32(offset_delta) + rest.len();
    out.reserve(length + 5);
    varint::write_i32(out, length as i32);
    out.push(0);
    varint::write_i64(out, timestamp_delta);
    varint::write_i32(out, offset_delta);
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use flumen_records::{NewRecord, RecordIter, write_record};
    use proptest::prelude::*;

    use super::*;

    fn section(values: &[(Option<Vec<u8>>, Vec<u8>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (i, (key, value)) in values.iter().enumerate() {
            let record = NewRecord { key: key.as_deref(), value: Some(value), ..NewRecord::default() };
            write_record(&mut out, 3 * i as i32, i as i64, &record);
        }
        out
    }

    proptest! {
        #[test]
        fn records_survive_cutting_and_packing(
            values in proptest::collection::vec((proptest::option::of(any::<Vec<u8>>()), any::<Vec<u8>>()), 1..50),
            at: prop::sample::Index,
        ) {
            let count = values.len() as u32;
            let whole = section(&values);
            let cut = at.index(values.len());
            let byte = boundary(&whole, cut as u32).unwrap();
            prop_assert_eq!(RecordIter::new(&whole[..byte], cut as u32).filter(|r| r.is_ok()).count(), cut);
            prop_assert_eq!(RecordIter::new(&whole[byte..], count - cut as u32).filter(|r| r.is_ok()).count(), values.len() - cut);

            let mut packer = Packer::default();
            for head in Heads::new(&whole, count).step_by(2) {
                let head = head.unwrap();
                packer.push(1000 + head.timestamp_delta, head.rest);
            }
            let packed = packer.finish().unwrap();
            prop_assert_eq!(packed.count, count.div_ceil(2));
            for (i, record) in RecordIter::new(&packed.records, packed.count).enumerate() {
                let record = record.unwrap();
                let (key, value) = &values[2 * i];
                prop_assert_eq!(record.offset_delta, i as i32);
                prop_assert_eq!(packed.base_timestamp.0 + record.timestamp_delta, 1000 + 2 * i as i64);
                prop_assert_eq!(record.key, key.as_deref());
                prop_assert_eq!(record.value, Some(&value[..]));
            }
            for (head, (key, _)) in Heads::new(&whole, count).zip(&values) {
                prop_assert_eq!(head.unwrap().key(), key.as_deref());
            }
        }

        #[test]
        fn any_bytes_are_records_or_one_error(bytes: Vec<u8>, count in 0_u32..100) {
            let found: Vec<_> = Heads::new(&bytes, count).collect();
            prop_assert!(found.len() <= count as usize + 1);
            prop_assert!(found.iter().filter(|h| h.is_err()).count() <= 1);
            boundary(&bytes, count);
        }
    }

    #[test]
    fn a_count_that_lies_is_found() {
        let two = section(&[(None, b"a".to_vec()), (None, b"b".to_vec())]);
        assert_eq!(Heads::new(&two, 1).last().unwrap().unwrap_err(), SectionError::Surplus(1));
        assert_eq!(Heads::new(&two, 3).last().unwrap().unwrap_err(), SectionError::Record(2));
        assert_eq!(Heads::new(&two, u32::MAX).last().unwrap().unwrap_err(), SectionError::Record(2));
    }
}
