//! Reads files out of a jar, as much of the zip format as that takes.
//!
//! The central directory lies at the end; each of its entries says where a file's own header is. Neither
//! zip64 nor encryption is known, which Kafka's jars do not use.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const END: &[u8] = b"PK\x05\x06";
const ENTRY: &[u8] = b"PK\x01\x02";

/// The files below `folder`, by their names in it.
pub fn files(jar: &Path, folder: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let bytes = std::fs::read(jar)?;
    let end = bytes.windows(4).rposition(|four| four == END).context("this is no zip file")?;
    let entries = number(&bytes, end + 10, 2)?;
    let mut at = number(&bytes, end + 16, 4)?;
    let mut files = BTreeMap::new();
    for _ in 0..entries {
        ensure!(bytes.get(at..at + 4) == Some(ENTRY), "the directory is broken");
        let (name, extra, comment) =
            (number(&bytes, at + 28, 2)?, number(&bytes, at + 30, 2)?, number(&bytes, at + 32, 2)?);
        let path = String::from_utf8_lossy(bytes.get(at + 46..at + 46 + name).context("it is cut")?);
        if let Some(own) = path.strip_prefix(folder).filter(|own| !own.is_empty()) {
            files.insert(own.to_string(), content(&bytes, at).with_context(|| path.to_string())?);
        }
        at += 46 + name + extra + comment;
    }
    Ok(files)
}

fn content(bytes: &[u8], entry: usize) -> Result<Vec<u8>> {
    let (method, packed, header) =
        (number(bytes, entry + 10, 2)?, number(bytes, entry + 20, 4)?, number(bytes, entry + 42, 4)?);
    let start = header + 30 + number(bytes, header + 26, 2)? + number(bytes, header + 28, 2)?;
    let packed = bytes.get(start..start + packed).context("it is cut")?;
    match method {
        0 => Ok(packed.to_vec()),
        8 => {
            let mut plain = Vec::new();
            flate2::read::DeflateDecoder::new(packed).read_to_end(&mut plain)?;
            Ok(plain)
        }
        other => bail!("compression method {other} is not known"),
    }
}

fn number(bytes: &[u8], at: usize, width: usize) -> Result<usize> {
    let bytes = bytes.get(at..at + width).context("it is cut")?;
    Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}
