//! What a recovery takes out of a log is kept beside it, for a person or a tool to look into.
//!
//! ```text
//! 00000000000000004711.log.cut-8192      what lay behind byte 8192 of that segment
//! 00000000000000009422.log.cut-0         a whole segment behind a broken one
//! 00000000000000009422.log.cut-0.1       the same, a second time
//! ```
//!
//! Nothing reads these files, and nothing removes them but the deletion of their topic. Kafka ignores
//! them. Zeros alone are not kept: they are what a file system puts where nothing was written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{FileError, SYNC};
use crate::files::durable_file;
use crate::segment::scan::read_at;
use crate::segment::{Part, Segment};

const CHUNK: usize = 1 << 20;

/// Copies what lies behind a byte of a segment's file; where to, or `None` if it is nothing. Durable
/// once the folder is synced.
pub(crate) fn tail(segment: &Segment, at: u64) -> Result<Option<PathBuf>, FileError> {
    let log = segment.path(Part::Log);
    let file = segment.file()?;
    let size = file.metadata().map_err(FileError::at("look at", &log))?.len();
    let to = free_name(&log, at);
    let mut kept: Option<File> = None;
    let mut position = at;
    while position < size {
        let mut bytes = Vec::new();
        read_at(&file, &mut bytes, CHUNK, position).map_err(FileError::at("read", &log))?;
        if kept.is_none() && bytes.iter().any(|byte| *byte != 0) {
            let created = create(&to, position - at);
            kept = Some(created.map_err(FileError::at("create", &to))?);
        }
        if let Some(kept) = &mut kept
            && let Err(error) = kept.write_all(&bytes)
        {
            // Half a copy is none, and may be what fills the disk.
            let _ = fs::remove_file(&to);
            return Err(FileError::at("write", &to)(error));
        }
        position += bytes.len().max(1) as u64;
    }
    let Some(kept) = kept else { return Ok(None) };
    kept.sync_all().map_err(FileError::at(SYNC, &to))?;
    Ok(Some(to))
}

/// Begins with so many zeros.
fn create(path: &Path, zeros: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.set_len(zeros)?;
    io::Seek::seek(&mut file, io::SeekFrom::End(0))?;
    Ok(file)
}

/// Renames a segment's file. What belongs to it goes: it can be made from the file.
pub(crate) fn whole(segment: &Segment) -> Result<PathBuf, FileError> {
    let log = segment.path(Part::Log);
    let to = free_name(&log, 0);
    fs::rename(&log, &to).map_err(FileError::at("rename", &log))?;
    for part in Part::LOG_LAST {
        durable_file::remove(&segment.path(part))?;
    }
    Ok(to)
}

fn free_name(log: &Path, at: u64) -> PathBuf {
    let named = |number: &str| {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".cut-{at}{number}"));
        PathBuf::from(name)
    };
    let numbered = (1..).map(|n: u64| named(&format!(".{n}")));
    let mut names = std::iter::once(named("")).chain(numbered);
    names.find(|path| !path.exists()).unwrap_or_else(|| named(""))
}
