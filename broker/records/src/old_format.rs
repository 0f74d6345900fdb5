//! Messages of magic 0 and 1 where a batch was expected: recognised, not read.

use crate::message_set::{Magic, Messages};

/// What lies before the bytes that a message's size counts.
const LENGTH_OVERHEAD: usize = 12;
/// The least that it counts: CRC, magic, attributes, and the lengths of key and value.
const SIZE_MIN: i32 = 14;

/// How long a message at the start of `bytes` would be, if it could be one of an old format.
pub fn old_message_len(bytes: &[u8]) -> Option<usize> {
    let size = i32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let plausible = size >= SIZE_MIN && Magic::of(bytes).is_some();
    plausible.then(|| size as usize + LENGTH_OVERHEAD)
}

/// The format of a whole message at the start of `bytes`, if it is 0 or 1.
pub fn old_message_format(bytes: &[u8]) -> Option<i8> {
    let message = Messages::new(bytes).next()?.ok()?;
    Some(message.magic as i8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `offset 7, key "k", value "v"` in format 1.
    fn message() -> Vec<u8> {
        let mut body = vec![1, 0];
        body.extend_from_slice(&1000_i64.to_be_bytes());
        for field in [b"k", b"v"] {
            body.extend_from_slice(&1_i32.to_be_bytes());
            body.extend_from_slice(field);
        }
        let mut message = 7_i64.to_be_bytes().to_vec();
        message.extend_from_slice(&(body.len() as i32 + 4).to_be_bytes());
        let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &body) as u32;
        message.extend_from_slice(&crc.to_be_bytes());
        message.extend_from_slice(&body);
        message
    }

    #[test]
    fn an_old_message_is_known_and_garbage_is_not() {
        let mut message = message();
        assert_eq!(old_message_format(&message), Some(1));
        assert_eq!(old_message_format(&message[..message.len() - 1]), None);
        message[20] ^= 1;
        assert_eq!(old_message_format(&message), None);
        for garbage in [&[][..], &[0; 500], &[0xff; 500]] {
            assert_eq!(old_message_format(garbage), None);
        }
    }
}
