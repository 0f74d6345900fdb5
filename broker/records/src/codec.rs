//! Kafka's four compressions of a records section.
//!
//! What other clients write differs in framing, and all of it is read here: snappy raw or in xerial's
//! frames (as Java writes it), lz4 in LZ4 frames, gzip of one or several members, zstd of one or several
//! frames. Written: snappy in xerial's frames of 32 KiB blocks, which every client reads.

use std::io::{self, Read, Write};

use bytes::Bytes;

use crate::{BatchError, Compression};

const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_LEN: usize = 16;
const XERIAL_BLOCK: usize = 32 * 1024;

/// The section's plain bytes; an error past `bytes_max`, whatever the section claims.
pub fn decompress(codec: Compression, section: Bytes, bytes_max: usize) -> Result<Bytes, BatchError> {
    if codec == Compression::None {
        return if section.len() > bytes_max { Err(BatchError::TooLarge(bytes_max)) } else { Ok(section) };
    }
    let wrong = |source| BatchError::Decompress { codec, source };
    let plain = match codec {
        Compression::None => unreachable!("answered above"),
        Compression::Gzip => bounded(flate2::read::MultiGzDecoder::new(&section[..]), bytes_max),
        Compression::Snappy => snappy(&section, bytes_max),
        Compression::Lz4 => bounded(lz4_flex::frame::FrameDecoder::new(&section[..]), bytes_max),
        Compression::Zstd => zstd::Decoder::with_buffer(&section[..]).and_then(|d| bounded(d, bytes_max)),
    };
    plain.map_err(wrong)?.map(Bytes::from).ok_or(BatchError::TooLarge(bytes_max))
}

/// `None`: there is more than `bytes_max`.
fn bounded(reader: impl Read, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut plain = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut plain)?;
    Ok((plain.len() <= bytes_max).then_some(plain))
}

fn snappy(section: &[u8], bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
    if !section.starts_with(&XERIAL_MAGIC) {
        let mut plain = Vec::new();
        return Ok(snappy_block(section, &mut plain, bytes_max)?.then_some(plain));
    }
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "a snappy block is cut short");
    let mut rest = section.get(XERIAL_HEADER_LEN..).ok_or_else(cut)?;
    let mut plain = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let (block, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(cut)?;
        if !snappy_block(block, &mut plain, bytes_max)? {
            return Ok(None);
        }
        rest = after;
    }
    Ok(Some(plain))
}

/// A copy of 64 bytes takes 3: no block unpacks to more than this many times its size.
const SNAPPY_RATIO_MAX: usize = 22;

/// Appends one raw block; false: it would go past `bytes_max`.
fn snappy_block(block: &[u8], plain: &mut Vec<u8>, bytes_max: usize) -> io::Result<bool> {
    let length = snap::raw::decompress_len(block)?;
    // It is only said, and the memory is taken before it is seen to be so.
    if length > SNAPPY_RATIO_MAX * block.len() + 64 {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a snappy block says more than it can hold"));
    }
    if plain.len().saturating_add(length) > bytes_max {
        return Ok(false);
    }
    let start = plain.len();
    plain.resize(start + length, 0);
    let written = snap::raw::Decoder::new().decompress(block, &mut plain[start..])?;
    plain.truncate(start + written);
    Ok(true)
}

/// Appends the compressed section to `out`.
pub fn compress(codec: Compression, plain: &[u8], out: &mut Vec<u8>) -> Result<(), BatchError> {
    let written = match codec {
        Compression::None => {
            out.extend_from_slice(plain);
            Ok(())
        }
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(&mut *out, flate2::Compression::default());
            encoder.write_all(plain).and_then(|()| encoder.finish().map(drop))
        }
        Compression::Snappy => xerial(plain, out),
        Compression::Lz4 => lz4(plain, out),
        Compression::Zstd => zstd::stream::copy_encode(plain, &mut *out, 3),
    };
    written.map_err(|source| BatchError::Compress { codec, source })
}

fn xerial(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    out.extend_from_slice(&XERIAL_MAGIC);
    out.extend_from_slice(&1_u32.to_be_bytes());
    out.extend_from_slice(&1_u32.to_be_bytes());
    let mut encoder = snap::raw::Encoder::new();
    for block in plain.chunks(XERIAL_BLOCK) {
        let compressed = encoder.compress_vec(block)?;
        out.extend_from_slice(&(compressed.len() as u32).to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}

/// Independent 64 KiB blocks, as Java's reader insists.
fn lz4(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_size(lz4_flex::frame::BlockSize::Max64KB)
        .block_mode(lz4_flex::frame::BlockMode::Independent);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, &mut *out);
    encoder.write_all(plain)?;
    encoder.finish().map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_codec_gives_back_what_it_took(plain in proptest::collection::vec(0_u8..4, 0..200_000)) {
            for codec in Compression::ALL {
                let mut section = Vec::new();
                compress(codec, &plain, &mut section).unwrap();
                let back = decompress(codec, section.into(), plain.len()).unwrap();
                prop_assert_eq!(&back[..], &plain[..], "{}", codec);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_decompress_or_are_an_error(bytes: Vec<u8>) {
            for codec in Compression::ALL {
                decompress(codec, bytes.clone().into(), 1 << 16).ok();
            }
            let mut framed = XERIAL_MAGIC.to_vec();
            framed.extend_from_slice(&bytes);
            decompress(Compression::Snappy, framed.into(), 1 << 16).ok();
        }
    }

    #[test]
    fn a_bomb_is_an_error_and_not_an_allocation() {
        let plain = vec![0; 8 << 20];
        for codec in Compression::ALL {
            let mut section = Vec::new();
            compress(codec, &plain, &mut section).unwrap();
            let refused = decompress(codec, section.into(), 1 << 20);
            assert!(matches!(refused, Err(BatchError::TooLarge(_))), "{codec}: {refused:?}");
        }
    }

    #[test]
    fn a_snappy_block_that_says_more_than_it_holds_takes_no_memory() {
        // 1 GiB, it says; and the most that a block really unpacks to.
        let lie = [0x80, 0x80, 0x80, 0x80, 0x04, 0, b'x'];
        let refused = decompress(Compression::Snappy, Bytes::copy_from_slice(&lie), 2 << 30);
        assert!(matches!(refused, Err(BatchError::Decompress { .. })), "{refused:?}");
        let plain = vec![7; 1 << 20];
        let dense = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert_eq!(decompress(Compression::Snappy, dense.into(), 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn snappy_is_read_with_and_without_xerials_frames() {
        let raw = snap::raw::Encoder::new().compress_vec(b"plain snappy").unwrap();
        let back = decompress(Compression::Snappy, raw.into(), 100).unwrap();
        assert_eq!(&back[..], b"plain snappy");
    }
}
