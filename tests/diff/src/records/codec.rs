//! The compressions of batches, by the names that Kafka's settings have for them.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};

const NAMES: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

/// Its number in a batch's attributes.
pub fn number(name: &str) -> Result<i16> {
    let at = NAMES.iter().position(|own| *own == name);
    at.map(|at| at as i16).with_context(|| format!("{name} is no compression: {NAMES:?} are"))
}

pub fn name(number: i16) -> String {
    usize::try_from(number).ok().and_then(|at| NAMES.get(at)).map_or(number.to_string(), |s| s.to_string())
}

pub fn pack(number: i16, plain: &[u8]) -> Result<Vec<u8>> {
    Ok(match number {
        1 => {
            let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            out.write_all(plain)?;
            out.finish()?
        }
        2 => snap::raw::Encoder::new().compress_vec(plain)?,
        3 => {
            let mut out = lz4_flex::frame::FrameEncoder::new(Vec::new());
            out.write_all(plain)?;
            out.finish()?
        }
        4 => zstd::encode_all(plain, 3)?,
        // A number that there is no codec for is what the case wants to say.
        _ => plain.to_vec(),
    })
}

pub fn unpack(number: i16, packed: &[u8]) -> Result<Vec<u8>> {
    let mut plain = Vec::new();
    match number {
        0 => plain.extend_from_slice(packed),
        1 => drop(flate2::read::GzDecoder::new(packed).read_to_end(&mut plain)?),
        2 if packed.starts_with(b"\x82SNAPPY\0") => {
            // Java's framing: a header of 16 bytes, then blocks behind their lengths.
            let mut rest = &packed[16..];
            while let Some((length, after)) = rest.split_first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                let block = after.get(..length).context("a block is cut")?;
                plain.extend(snap::raw::Decoder::new().decompress_vec(block)?);
                rest = &after[length..];
            }
        }
        2 => plain = snap::raw::Decoder::new().decompress_vec(packed)?,
        3 => drop(lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut plain)?),
        4 => plain = zstd::decode_all(packed)?,
        other => bail!("there is no compression {other}"),
    }
    Ok(plain)
}
