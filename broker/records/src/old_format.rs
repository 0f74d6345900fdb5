//! Messages of formats 0 and 1, as Kafka wrote them before 0.11: recognised, never read.
//!
//! ```text
//! offset i64 | size i32 | CRC-32 u32 (of 16 on) | magic i8 | attributes i8 | ...
//! ```

/// What lies before the bytes that the size counts.
const LENGTH_OVERHEAD: usize = 12;
/// The least that the size counts: CRC, magic, attributes, and the lengths of key and value.
const SIZE_MIN: i32 = 14;

/// How long a message at the start of `bytes` would be, if it could be one of an old format.
pub fn old_message_len(bytes: &[u8]) -> Option<usize> {
    let size = i32::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let plausible = size >= SIZE_MIN && matches!(bytes.get(16), Some(0 | 1));
    plausible.then(|| size as usize + LENGTH_OVERHEAD)
}

/// The format of a whole message at the start of `bytes`, if it is 0 or 1.
pub fn old_message_format(bytes: &[u8]) -> Option<i8> {
    let message = bytes.get(..old_message_len(bytes)?)?;
    let crc = u32::from_be_bytes(*message[12..].first_chunk()?);
    let found = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32IsoHdlc, &message[16..]) as u32;
    (crc == found).then_some(message[16] as i8)
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
