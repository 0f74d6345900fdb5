//! A record as it lies in the packed bytes of a batch.
//!
//! Invariants: a `RecordRef` borrows, it owns nothing; headers are walked only when asked for.

use crate::varint;

/// One record, borrowed from its batch.
#[derive(Clone, Copy, Debug)]
pub struct RecordRef<'a> {
    pub(crate) position: u32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    headers: RawHeaders<'a>,
    /// Everything after the offset delta: key, value and headers as they were packed.
    pub(crate) tail: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// Place in the batch, from 0; what rejections speak of.
    #[inline]
    pub fn position(&self) -> u32 {
        self.position
    }

    /// Offset in the partition.
    #[inline]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Milliseconds since 1970.
    #[inline]
    pub fn timestamp(&self) -> i64 {
        self.timestamp
    }

    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.key
    }

    /// None is a tombstone: on a compacted topic, the key is deleted.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.value
    }

    #[inline]
    pub fn headers(&self) -> RawHeaders<'a> {
        self.headers
    }

    /// The last header of that name; as Kafka's own `lastHeader`.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().filter(|(key, _)| *key == name.as_bytes()).last()?.1
    }

    /// Reads what follows the length of a record; none when it is not a record.
    #[inline(always)]
    fn parse(position: u32, base: Base, body: &'a [u8]) -> Option<Self> {
        let mut at = 1;
        let timestamp_delta = varint::read(body, &mut at)?;
        let offset_delta = varint::read(body, &mut at)?;
        let tail = body.get(at..)?;
        let mut at = 0;
        let key = nullable(tail, &mut at)?;
        let value = nullable(tail, &mut at)?;
        Some(RecordRef {
            position,
            offset: base.offset.wrapping_add(offset_delta),
            timestamp: match base.append_timestamp {
                Some(append) => append,
                None => base.timestamp.wrapping_add(timestamp_delta),
            },
            key,
            value,
            headers: RawHeaders(tail.get(at..)?),
            tail,
        })
    }
}

/// Headers as they were packed: a count, then names and values.
#[derive(Clone, Copy, Debug)]
pub struct RawHeaders<'a>(pub(crate) &'a [u8]);

impl<'a> RawHeaders<'a> {
    /// No headers at all.
    pub const NONE: RawHeaders<'static> = RawHeaders(&[0]);

    pub fn iter(self) -> Headers<'a> {
        let mut at = 0;
        let left = varint::read(self.0, &mut at).unwrap_or(0);
        Headers { bytes: self.0, at, left }
    }

    pub fn count(self) -> usize {
        varint::read(self.0, &mut 0).and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
    }

    /// Without their count.
    pub(crate) fn packed(self) -> &'a [u8] {
        let mut at = 0;
        varint::read(self.0, &mut at).and_then(|_| self.0.get(at..)).unwrap_or(&[])
    }
}

/// Names and values of a record's headers, in order.
pub struct Headers<'a> {
    bytes: &'a [u8],
    at: usize,
    left: i64,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left <= 0 {
            return None;
        }
        self.left -= 1;
        let key = nullable(self.bytes, &mut self.at)??;
        Some((key, nullable(self.bytes, &mut self.at)?))
    }
}

/// What a record's deltas are added to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Base {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) append_timestamp: Option<i64>,
}

/// Walks a packed section.
///
/// # Panics
/// When the bytes are not what their count says. The host has checked them before: that would be its bug.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    at: usize,
    position: u32,
    count: u32,
    base: Base,
}

impl<'a> Records<'a> {
    pub(crate) fn new(bytes: &'a [u8], count: u32, base: Base) -> Self {
        Records { bytes, at: 0, position: 0, count, base }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = RecordRef<'a>;

    #[inline(always)]
    fn next(&mut self) -> Option<RecordRef<'a>> {
        if self.position == self.count {
            return None;
        }
        let record = step(self.bytes, &mut self.at, self.position, self.base);
        let Some(record) = record else { malformed(self.position, self.count) };
        self.position += 1;
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.count - self.position) as usize;
        (left, Some(left))
    }
}

#[inline(always)]
fn step<'a>(bytes: &'a [u8], at: &mut usize, position: u32, base: Base) -> Option<RecordRef<'a>> {
    let len = usize::try_from(varint::read(bytes, at)?).ok()?;
    let body = bytes.get(*at..at.checked_add(len)?)?;
    *at += len;
    RecordRef::parse(position, base, body)
}

#[cold]
fn malformed(position: u32, count: u32) -> ! {
    panic!("the host handed over a batch whose record {position} of {count} cannot be read")
}

/// Outer none: cut short. Inner none: null.
#[inline(always)]
fn nullable<'a>(bytes: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let len = varint::read(bytes, at)?;
    if len < 0 {
        return Some(None);
    }
    let end = at.checked_add(usize::try_from(len).ok()?)?;
    let bytes = bytes.get(*at..end)?;
    *at = end;
    Some(Some(bytes))
}
