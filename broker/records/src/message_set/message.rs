//! One message of a set, borrowed from its bytes.

use bytes::Bytes;
use flumen_types::Timestamp;

use super::{Error, Magic, lz4_checksum};
use crate::{Attributes, Check, Compression, TimestampType, codec};

/// Offset and size, which the size does not count.
const HEAD_LEN: usize = 12;
const CRC_LEN: usize = 4;
pub(super) const MAGIC_AT: usize = HEAD_LEN + CRC_LEN;

/// A message whose CRC has been found true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub offset: i64,
    pub magic: Magic,
    /// As those of a batch, as far as they go.
    pub attributes: Attributes,
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

impl Message<'_> {
    pub fn compression(&self) -> Result<Compression, Error> {
        Ok(self.attributes.compression()?)
    }

    pub fn timestamp_type(&self) -> TimestampType {
        match self.magic {
            Magic::V0 => TimestampType::CreateTime,
            Magic::V1 => self.attributes.timestamp_type(),
        }
    }

    /// The set in a wrapper; an error past `bytes_max`.
    pub fn unpack(&self, bytes_max: usize) -> Result<Bytes, Error> {
        let section = Bytes::copy_from_slice(self.value.ok_or(self.wrong("its wrapper is empty"))?);
        let codec = self.compression()?;
        let section = match (codec, self.magic) {
            (Compression::Zstd, _) => return Err(Error::Codec(codec)),
            (Compression::Lz4, Magic::V0) => lz4_checksum::mended(&section),
            _ => section,
        };
        Ok(codec::decompress(codec, section, bytes_max)?)
    }

    pub(super) fn wrong(&self, what: &'static str) -> Error {
        Error::Message { offset: self.offset, what }
    }

    /// Appends it to a set.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&[0; MAGIC_AT - 8]);
        out.push(self.magic as u8);
        out.push(self.attributes.0 as u8);
        if self.magic == Magic::V1 {
            out.extend_from_slice(&self.timestamp.0.to_be_bytes());
        }
        write_field(out, self.key);
        write_field(out, self.value);
        let size = (out.len() - start - HEAD_LEN) as u32;
        let crc = crc32(&out[start + MAGIC_AT..]);
        out[start + 8..start + HEAD_LEN].copy_from_slice(&size.to_be_bytes());
        out[start + HEAD_LEN..start + MAGIC_AT].copy_from_slice(&crc.to_be_bytes());
    }
}

fn write_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    let length = field.map_or(-1, |field| field.len() as i32);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(field.unwrap_or_default());
}

/// CRC-32 (zlib's), which covers a message from its magic on.
fn crc32(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

/// The messages of a set. Ends at a message that is cut short, as brokers used to cut what they sent;
/// yields an error once, and then nothing, at one that is damaged.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    pub fn new(set: &'a [u8]) -> Self {
        Messages { rest: set }
    }

    /// What has not been read: after the end, a message that is cut short.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = split_first(&mut self.rest).transpose();
        if matches!(next, Some(Err(_))) {
            self.rest = &[];
        }
        next
    }
}

fn split_first<'a>(set: &mut &'a [u8]) -> Result<Option<Message<'a>>, Error> {
    let mut reader = Reader(set);
    let (Some(offset), Some(size)) = (reader.i64(), reader.i32()) else { return Ok(None) };
    let wrong = |what| Error::Message { offset, what };
    let size = usize::try_from(size).map_err(|_| wrong("its size is negative"))?;
    let Some((body, rest)) = reader.0.split_at_checked(size) else { return Ok(None) };
    let message = read_body(offset, body)?;
    *set = rest;
    Ok(Some(message))
}

fn read_body(offset: i64, body: &[u8]) -> Result<Message<'_>, Error> {
    let wrong = |what| Error::Message { offset, what };
    let (crc, body) = body.split_first_chunk::<CRC_LEN>().ok_or(wrong("it is too short"))?;
    let (expected, found) = (u32::from_be_bytes(*crc), crc32(body));
    if Check::SentMessage.differs(expected, found) {
        return Err(Error::Crc { expected, found });
    }
    let (magic, attributes, rest) = match body {
        [0, attributes, rest @ ..] => (Magic::V0, *attributes, rest),
        [1, attributes, rest @ ..] => (Magic::V1, *attributes, rest),
        _ => return Err(wrong("its magic is neither 0 nor 1")),
    };
    let mut reader = Reader(rest);
    let cut = || wrong("its fields do not fit into it");
    let timestamp = match magic {
        Magic::V0 => Timestamp::NONE,
        Magic::V1 => Timestamp(reader.i64().ok_or_else(cut)?),
    };
    let key = reader.field().ok_or_else(cut)?;
    let value = reader.field().ok_or_else(cut)?;
    if !reader.0.is_empty() {
        return Err(wrong("bytes follow its value"));
    }
    Ok(Message { offset, magic, attributes: Attributes(attributes.into()), timestamp, key, value })
}

/// What is left of a message's bytes; everything is `None` where it is not there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4)?.first_chunk().map(|four| i32::from_be_bytes(*four))
    }

    fn i64(&mut self) -> Option<i64> {
        self.take(8)?.first_chunk().map(|eight| i64::from_be_bytes(*eight))
    }

    /// A field whose length of -1 means null.
    fn field(&mut self) -> Option<Option<&'a [u8]>> {
        match self.i32()? {
            -1 => Some(None),
            length => Some(Some(self.take(usize::try_from(length).ok()?)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(magic: Magic) -> Message<'static> {
        let timestamp = if magic == Magic::V0 { Timestamp::NONE } else { Timestamp(1_700_000_000_000) };
        Message {
            offset: 7,
            magic,
            attributes: Attributes::default(),
            timestamp,
            key: None,
            value: Some(b"value"),
        }
    }

    fn set(messages: &[Message<'_>]) -> Vec<u8> {
        let mut set = Vec::new();
        messages.iter().for_each(|message| message.write(&mut set));
        set
    }

    #[test]
    fn a_message_that_is_cut_short_is_the_end() {
        let messages = [message(Magic::V0), message(Magic::V1)];
        let whole = set(&messages);
        let first = set(&messages[..1]).len();
        for length in 0..=whole.len() {
            let mut read = Messages::new(&whole[..length]);
            let found = read.by_ref().collect::<Result<Vec<_>, _>>().unwrap();
            let count = usize::from(length >= first) + usize::from(length == whole.len());
            assert_eq!(found, messages[..count], "{length}");
            assert_eq!(read.rest().len(), length - set(&found).len(), "{length}");
        }
    }

    #[test]
    fn a_size_that_cannot_be_is_an_error() {
        for size in [-1_i32, 0, 5] {
            let mut set = set(&[message(Magic::V1)]);
            set[8..12].copy_from_slice(&size.to_be_bytes());
            let mut messages = Messages::new(&set);
            assert!(messages.next().unwrap().is_err(), "{size}");
            assert!(messages.next().is_none(), "{size}");
        }
    }

    #[test]
    fn bytes_behind_the_value_are_an_error() {
        let mut set = set(&[message(Magic::V0)]);
        set.push(0);
        let size = set.len() - HEAD_LEN;
        set[8..12].copy_from_slice(&(size as u32).to_be_bytes());
        let crc = crc32(&set[MAGIC_AT..]);
        set[12..16].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(Messages::new(&set).next(), Some(Err(Error::Message { .. }))));
    }

    proptest! {
        #[test]
        fn a_flipped_bit_is_found(at: prop::sample::Index, bit in 0_u32..8, v1: bool) {
            let sent = message(if v1 { Magic::V1 } else { Magic::V0 });
            let mut set = set(&[sent]);
            // The offset is the broker's to set and lies outside of the CRC.
            let at = 8 + at.index(set.len() - 8);
            set[at] ^= 1_u8 << bit;
            let found: Vec<_> = Messages::new(&set).filter_map(Result::ok).collect();
            prop_assert_eq!(found, []);
        }

        #[test]
        fn any_bytes_are_messages_or_an_error(set: Vec<u8>) {
            for message in Messages::new(&set).flatten() {
                message.unpack(1 << 16).ok();
            }
        }
    }
}
