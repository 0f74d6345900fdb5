//! One record inside a batch, borrowed from its bytes.
//!
//! ```text
//! length varint | attributes i8 (0) | timestamp delta varlong | offset delta varint
//! | key length varint (-1 = null) | key | value length varint (-1 = null) | value
//! | header count varint | (key length varint | key | value length varint (-1 = null) | value)*
//! ```

use flumen_types::Timestamp;

use crate::BatchError;
use crate::varint::{self, VarintError};

/// A record as it lies in a packed section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    pub offset_delta: i32,
    pub timestamp_delta: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
    headers_count: u32,
    raw: &'a [u8],
}

impl<'a> RecordRef<'a> {
    pub fn headers(&self) -> Headers<'a> {
        Headers { bytes: self.headers, at: 0, left: self.headers_count }
    }

    pub fn headers_count(&self) -> u32 {
        self.headers_count
    }

    /// The record's bytes, its length prefix included.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }
}

/// The headers of a record, in order; keys may repeat.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        // The iterator that made the record has walked over these once: they are whole.
        let key = nullable(self.bytes, &mut self.at).ok()??;
        let value = nullable(self.bytes, &mut self.at).ok()?;
        Some((key, value))
    }
}

/// The records of a packed section. Yields an error once, and then nothing, where the bytes do not
/// hold what they announce.
#[derive(Clone, Debug)]
pub struct RecordIter<'a> {
    bytes: &'a [u8],
    at: usize,
    index: u32,
    count: u32,
}

impl<'a> RecordIter<'a> {
    pub fn new(section: &'a [u8], count: u32) -> Self {
        RecordIter { bytes: section, at: 0, index: 0, count }
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    fn read(&mut self) -> Result<RecordRef<'a>, BatchError> {
        let wrong = |what| BatchError::Record { index: self.index, what };
        let start = self.at;
        let length = varint::read_i32(self.bytes, &mut self.at)?;
        let length = usize::try_from(length).map_err(|_| wrong("its length is negative"))?;
        let body_end = self.at.checked_add(length).ok_or_else(|| wrong("its length overflows"))?;
        let body = self.bytes.get(self.at..body_end).ok_or_else(|| wrong("it is cut short"))?;
        let mut record = read_body(body).map_err(wrong)?;
        record.raw = &self.bytes[start..body_end];
        self.at = body_end;
        Ok(record)
    }
}

impl<'a> Iterator for RecordIter<'a> {
    type Item = Result<RecordRef<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.count {
            // Bytes behind the last record mean that the count lied.
            if self.index == self.count && self.at < self.bytes.len() {
                self.index += 1;
                return Some(Err(BatchError::Record {
                    index: self.count,
                    what: "bytes follow the last record",
                }));
            }
            return None;
        }
        let record = self.read();
        self.index = if record.is_ok() { self.index + 1 } else { u32::MAX };
        Some(record)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A record takes seven bytes at least: what a false count can make a caller reserve is bounded.
        let left = self.count.saturating_sub(self.index) as usize;
        (0, Some(left.min(self.bytes.len() / 7 + 1)))
    }
}

fn read_body(body: &[u8]) -> Result<RecordRef<'_>, &'static str> {
    const CUT: &str = "it is cut short";
    let mut at = 1;
    if body.is_empty() {
        return Err(CUT);
    }
    let timestamp_delta = varint::read_i64(body, &mut at).map_err(|_| CUT)?;
    let offset_delta = varint::read_i32(body, &mut at).map_err(|_| CUT)?;
    if offset_delta < 0 {
        return Err("its offset delta is negative");
    }
    let key = nullable(body, &mut at).map_err(|_| "its key is cut short")?;
    let value = nullable(body, &mut at).map_err(|_| "its value is cut short")?;
    let headers_count = varint::read_i32(body, &mut at).map_err(|_| "its headers are cut short")?;
    let headers_count = u32::try_from(headers_count).map_err(|_| "its header count is negative")?;
    let headers = &body[at..];
    let mut end = 0;
    for _ in 0..headers_count {
        nullable(headers, &mut end).map_err(|_| "a header is cut short")?.ok_or("a header key is null")?;
        nullable(headers, &mut end).map_err(|_| "a header is cut short")?;
    }
    if end != headers.len() {
        return Err("bytes follow its last header");
    }
    Ok(RecordRef { offset_delta, timestamp_delta, key, value, headers, headers_count, raw: body })
}

/// A length-prefixed field whose length of -1 means null.
#[inline]
fn nullable<'a>(bytes: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, VarintError> {
    let length = varint::read_i32(bytes, at)?;
    if length == -1 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| VarintError)?;
    let end = at.checked_add(length).ok_or(VarintError)?;
    let field = bytes.get(*at..end).ok_or(VarintError)?;
    *at = end;
    Ok(Some(field))
}

/// A record to be written.
#[derive(Clone, Copy, Debug, Default)]
pub struct NewRecord<'a> {
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a [u8], Option<&'a [u8]>)],
}

/// How many bytes `write_record` takes for it.
pub fn record_len(offset_delta: i32, timestamp_delta: i64, record: &NewRecord<'_>) -> usize {
    let body = body_len(offset_delta, timestamp_delta, record);
    varint::len_i32(body as i32) + body
}

fn body_len(offset_delta: i32, timestamp_delta: i64, record: &NewRecord<'_>) -> usize {
    let field = |field: Option<&[u8]>| field.map_or(1, |f| varint::len_i32(f.len() as i32) + f.len());
    let headers: usize = record.headers.iter().map(|(key, value)| field(Some(key)) + field(*value)).sum();
    1 + varint::len_i64(timestamp_delta)
        + varint::len_i32(offset_delta)
        + field(record.key)
        + field(record.value)
        + varint::len_i32(record.headers.len() as i32)
        + headers
}

/// Appends one record to a packed section.
pub fn write_record(out: &mut Vec<u8>, offset_delta: i32, timestamp_delta: i64, record: &NewRecord<'_>) {
    let body = body_len(offset_delta, timestamp_delta, record);
    out.reserve(body + 5);
    varint::write_i32(out, body as i32);
    out.push(0);
    varint::write_i64(out, timestamp_delta);
    varint::write_i32(out, offset_delta);
    write_nullable(out, record.key);
    write_nullable(out, record.value);
    varint::write_i32(out, record.headers.len() as i32);
    for (key, value) in record.headers {
        write_nullable(out, Some(key));
        write_nullable(out, *value);
    }
}

fn write_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => varint::write_i32(out, -1),
        Some(bytes) => {
            varint::write_i32(out, bytes.len() as i32);
            out.extend_from_slice(bytes);
        }
    }
}
