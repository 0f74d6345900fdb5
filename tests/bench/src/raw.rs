//! What the device and the page cache give without any broker: the same bytes, a megabyte at a time.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::proc;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Raw {
    Buffered,
    BufferedSynced,
    DirectSynced,
}

pub(crate) struct Run {
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: f64,
}

impl Raw {
    pub(crate) const ALL: [Raw; 3] = [Raw::Buffered, Raw::BufferedSynced, Raw::DirectSynced];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Raw::Buffered => "buffered write",
            Raw::BufferedSynced => "buffered write + fdatasync each",
            Raw::DirectSynced => "O_DIRECT write + fdatasync each",
        }
    }

    fn open(self, path: &Path) -> Result<File> {
        let flags = if self == Raw::DirectSynced { libc::O_DIRECT } else { 0 };
        let file = OpenOptions::new().write(true).create(true).truncate(true).custom_flags(flags).open(path);
        file.with_context(|| format!("creating {}", path.display()))
    }
}

const CHUNK: usize = 1 << 20;
/// What O_DIRECT wants memory and lengths aligned to, at most.
const ALIGN: usize = 4096;

/// Appends so many bytes to a fresh file, which is removed.
pub(crate) fn write(path: &Path, way: Raw, bytes: u64) -> Result<Run> {
    let file = way.open(path)?;
    let mut buffer = vec![0_u8; CHUNK + ALIGN];
    let aligned = buffer.as_ptr().align_offset(ALIGN);
    let chunk = &mut buffer[aligned..aligned + CHUNK];
    chunk.iter_mut().enumerate().for_each(|(i, byte)| *byte = (i * 31 % 251) as u8);
    let (began, cpu) = (Instant::now(), proc::cpu_seconds(std::process::id())?);
    for n in 0..bytes.div_ceil(CHUNK as u64) {
        file.write_all_at(chunk, n * CHUNK as u64).context("writing the raw file")?;
        if way != Raw::Buffered {
            file.sync_data().context("syncing the raw file")?;
        }
    }
    let run = Run {
        seconds: began.elapsed().as_secs_f64(),
        cpu_seconds: proc::cpu_seconds(std::process::id())? - cpu,
    };
    // The next is not to wait for this one's pages.
    file.sync_data()?;
    std::fs::remove_file(path)?;
    Ok(run)
}
