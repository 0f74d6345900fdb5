//! Kafka's primitives, read from and written to the records of the internal topics.
//!
//! ```text
//! string          i16 length, UTF-8          compact: uvarint length + 1
//! nullable string i16 length, -1 = null      compact: 0 = null
//! bytes           i32 length                 compact: uvarint length + 1
//! array           i32 count                  compact: uvarint count + 1
//! tagged fields   uvarint count, then (uvarint tag, uvarint size, size bytes) each
//! uuid            16 bytes, the highest first
//! ```
//!
//! Nothing read is trusted: a count allocates nothing before the bytes behind it have been seen.

use bytes::{BufMut, Bytes, BytesMut};
use flumen_types::TopicId;
use thiserror::Error;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    #[error("a record of the internal topic ends before its {0}")]
    Short(&'static str),
    #[error("the {0} of a record of the internal topic has an impossible length")]
    Length(&'static str),
    #[error("the {0} of a record of the internal topic is not UTF-8")]
    Utf8(&'static str),
    #[error("version {version} of a {what} is not known; was it written by a newer broker?")]
    Version { what: &'static str, version: i16 },
    #[error("a {what} says {found}, which means nothing")]
    Meaning { what: &'static str, found: i64 },
}

pub(crate) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(crate) fn new(bytes: &Bytes) -> Self {
        Reader { rest: bytes.clone() }
    }

    fn take(&mut self, count: usize, what: &'static str) -> Result<Bytes, WireError> {
        if self.rest.len() < count {
            return Err(WireError::Short(what));
        }
        Ok(self.rest.split_to(count))
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], WireError> {
        let taken = self.take(N, what)?;
        taken.as_ref().try_into().map_err(|_| WireError::Short(what))
    }

    pub(crate) fn i8(&mut self, what: &'static str) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i16(&mut self, what: &'static str) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i32(&mut self, what: &'static str) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn i64(&mut self, what: &'static str) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.array(what)?))
    }

    pub(crate) fn topic_id(&mut self, what: &'static str) -> Result<TopicId, WireError> {
        Ok(TopicId::from_bytes(self.array(what)?))
    }

    pub(crate) fn uvarint(&mut self, what: &'static str) -> Result<u32, WireError> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.i8(what)? as u8;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| WireError::Length(what));
            }
        }
        Err(WireError::Length(what))
    }

    /// `None` is null.
    fn length(&mut self, width: Width, what: &'static str) -> Result<Option<usize>, WireError> {
        let length = match width {
            Width::Short => i64::from(self.i16(what)?),
            Width::Int => i64::from(self.i32(what)?),
            Width::Compact => i64::from(self.uvarint(what)?) - 1,
        };
        match length {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| WireError::Length(what)),
        }
    }

    pub(crate) fn nullable_string(
        &mut self,
        flexible: bool,
        what: &'static str,
    ) -> Result<Option<String>, WireError> {
        let Some(length) = self.length(Width::of_string(flexible), what)? else { return Ok(None) };
        let bytes = self.take(length, what)?;
        String::from_utf8(bytes.to_vec()).map(Some).map_err(|_| WireError::Utf8(what))
    }

    pub(crate) fn string(&mut self, flexible: bool, what: &'static str) -> Result<String, WireError> {
        self.nullable_string(flexible, what)?.ok_or(WireError::Length(what))
    }

    pub(crate) fn bytes(&mut self, flexible: bool, what: &'static str) -> Result<Bytes, WireError> {
        let length = self.length(Width::of_bytes(flexible), what)?.ok_or(WireError::Length(what))?;
        self.take(length, what)
    }

    /// Never compact.
    pub(crate) fn nullable_bytes(&mut self, what: &'static str) -> Result<Option<Bytes>, WireError> {
        let length = self.length(Width::Int, what)?;
        length.map(|length| self.take(length, what)).transpose()
    }

    /// `None` is null. At most as many as bytes are left: every element takes one at least.
    pub(crate) fn count(&mut self, flexible: bool, what: &'static str) -> Result<Option<usize>, WireError> {
        let count = self.length(Width::of_bytes(flexible), what)?;
        if count.is_some_and(|count| count > self.rest.len()) {
            return Err(WireError::Short(what));
        }
        Ok(count)
    }

    /// The tagged fields that end a flexible struct, by tag.
    pub(crate) fn tagged(&mut self, what: &'static str) -> Result<Vec<(u32, Reader)>, WireError> {
        let count = self.uvarint(what)? as usize;
        let mut fields = Vec::new();
        for _ in 0..count {
            let tag = self.uvarint(what)?;
            let size = self.uvarint(what)? as usize;
            fields.push((tag, Reader { rest: self.take(size, what)? }));
        }
        Ok(fields)
    }
}

enum Width {
    Short,
    Int,
    Compact,
}

impl Width {
    fn of_string(flexible: bool) -> Width {
        if flexible { Width::Compact } else { Width::Short }
    }

    fn of_bytes(flexible: bool) -> Width {
        if flexible { Width::Compact } else { Width::Int }
    }
}

/// Writes the classic (not compact) forms, and the few compact ones that our own records need.
#[derive(Default)]
pub(crate) struct Writer {
    out: BytesMut,
}

impl Writer {
    pub(crate) fn finish(self) -> Bytes {
        self.out.freeze()
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    /// # Panics
    /// Above 32767 bytes: every name comes from a request, where it had the same bound.
    pub(crate) fn string(&mut self, value: &str) {
        self.out.put_i16(i16::try_from(value.len()).expect("a name came through the protocol's own bound"));
        self.out.put_slice(value.as_bytes());
    }

    pub(crate) fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None => self.out.put_i16(-1),
        }
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.count(value.len());
        self.out.put_slice(value);
    }

    /// # Panics
    /// Above `i32::MAX`, which no request can carry.
    pub(crate) fn count(&mut self, count: usize) {
        self.out.put_i32(i32::try_from(count).expect("a request is smaller than 2 GiB"));
    }

    pub(crate) fn uvarint(&mut self, value: u32) {
        let mut value = value;
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    pub(crate) fn compact_count(&mut self, count: usize) {
        self.uvarint(u32::try_from(count + 1).expect("a request is smaller than 2 GiB"));
    }

    pub(crate) fn compact_string(&mut self, value: &str) {
        self.compact_count(value.len());
        self.out.put_slice(value.as_bytes());
    }

    pub(crate) fn compact_nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.compact_string(value),
            None => self.uvarint(0),
        }
    }

    pub(crate) fn compact_bytes(&mut self, value: &[u8]) {
        self.compact_count(value.len());
        self.out.put_slice(value);
    }

    pub(crate) fn topic_id(&mut self, id: TopicId) {
        self.out.put_slice(&id.to_bytes());
    }

    /// Tagged fields in ascending order of their tags.
    pub(crate) fn tagged(&mut self, fields: &[(u32, Bytes)]) {
        self.uvarint(fields.len() as u32);
        for (tag, value) in fields {
            self.uvarint(*tag);
            self.uvarint(value.len() as u32);
            self.out.put_slice(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lying_count_allocates_nothing() {
        let mut reader = Reader::new(&Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff, 1, 2]));
        assert_eq!(reader.count(false, "members"), Err(WireError::Short("members")));
        let mut reader = Reader::new(&Bytes::from_static(&[0x7f, 0xff, 1, 2]));
        assert_eq!(reader.string(false, "topic"), Err(WireError::Short("topic")));
        let mut reader = Reader::new(&Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]));
        assert_eq!(reader.uvarint("count"), Err(WireError::Length("count")));
    }

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, 16_384, u32::MAX] {
            let mut writer = Writer::default();
            writer.uvarint(value);
            assert_eq!(Reader::new(&writer.finish()).uvarint("value"), Ok(value));
        }
    }
}
