//! The wrong checksum in the LZ4 frames of magic 0 (KAFKA-3160).
//!
//! ```text
//! frame magic u32 | flags u8 | block size u8 | content size u64, if flag 3 | dictionary u32, if flag 0
//! | checksum u8 | blocks
//! ```
//!
//! The checksum is the second byte of an XXH32 from the flags on. Kafka took it from the frame's magic
//! on, and wrote and wanted it so in messages of magic 0 for ever after. Kafka's readers do not look at
//! it, Python's old ones do.

use bytes::Bytes;

const FLAGS_AT: usize = 4;
const CONTENT_SIZE: u8 = 1 << 3;
const DICTIONARY: u8 = 1;

/// The frame with the checksum that readers of LZ4 expect.
pub(super) fn mended(frame: &Bytes) -> Bytes {
    with_checksum(frame, FLAGS_AT).map_or_else(|| frame.clone(), Bytes::from)
}

/// The frame with the checksum that readers of magic 0 expect.
pub(super) fn broken(frame: Vec<u8>) -> Vec<u8> {
    with_checksum(&frame, 0).unwrap_or(frame)
}

/// `None` if it is too short for a frame; whoever reads it will say so.
fn with_checksum(frame: &[u8], from: usize) -> Option<Vec<u8>> {
    let flags = frame.get(FLAGS_AT)?;
    let content_size = if flags & CONTENT_SIZE != 0 { 8 } else { 0 };
    let dictionary = if flags & DICTIONARY != 0 { 4 } else { 0 };
    let checksum_at = FLAGS_AT + 2 + content_size + dictionary;
    let checksum = (xxh32_of_few(frame.get(from..checksum_at)?) >> 8) as u8;
    let mut frame = frame.to_vec();
    *frame.get_mut(checksum_at)? = checksum;
    Some(frame)
}

/// XXH32, seed 0, without its first half, which is for 16 bytes and more: a whole descriptor has 14 at
/// most, and one that is written here has 6 with the frame's magic.
fn xxh32_of_few(bytes: &[u8]) -> u32 {
    const PRIMES: [u32; 5] = [0x9E37_79B1, 0x85EB_CA77, 0xC2B2_AE3D, 0x27D4_EB2F, 0x1656_67B1];
    let mut hash = PRIMES[4].wrapping_add(bytes.len() as u32);
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let word = u32::from_le_bytes(*word).wrapping_mul(PRIMES[2]);
        hash = hash.wrapping_add(word).rotate_left(17).wrapping_mul(PRIMES[3]);
    }
    for byte in rest {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIMES[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIMES[0]);
    }
    hash = (hash ^ (hash >> 15)).wrapping_mul(PRIMES[1]);
    hash = (hash ^ (hash >> 13)).wrapping_mul(PRIMES[2]);
    hash ^ (hash >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Compression, compress};

    #[test]
    fn a_broken_frame_is_mended_to_what_it_was() {
        let mut frame = Vec::new();
        compress(Compression::Lz4, b"some text, some text", &mut frame).unwrap();
        let broken = broken(frame.clone());
        assert_ne!(broken, frame);
        assert_eq!(mended(&broken.into()), frame);
    }

    #[test]
    fn a_content_size_is_part_of_what_is_checked() {
        use std::io::Write;
        let info = lz4_flex::frame::FrameInfo::new().content_size(Some(9));
        let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(b"nine byte").unwrap();
        let frame = encoder.finish().unwrap();
        let mut broken = frame.clone();
        broken[14] ^= 0xff;
        assert_eq!(mended(&broken.into()), frame);
    }

    #[test]
    fn what_is_no_frame_is_left_alone() {
        for bytes in [&b""[..], b"12345", b"1234\xff6789"] {
            assert_eq!(mended(&Bytes::from_static(bytes)), bytes);
        }
    }
}
