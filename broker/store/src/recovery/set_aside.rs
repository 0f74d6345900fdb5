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

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::FileError;
use crate::files::durable_file;
use crate::files::file_system::{File, FileSystem, Open};
use crate::files::site::Site;
use crate::segment::{Part, Segment};

const CHUNK: usize = 1 << 20;

/// Copies what lies behind a byte of a segment's file, which then may end there: durable when this returns. Where
/// to, or `None` if it is nothing.
pub(crate) fn tail(segment: &Segment, at: u64) -> Result<Option<PathBuf>, FileError> {
    let log = segment.path(Part::Log);
    let (files, file) = (segment.files(), segment.file()?);
    let size = file.stat().map_err(FileError::at("look at", &log))?.length;
    let to = free_name(files, &log, at);
    let mut kept: Option<Arc<dyn File>> = None;
    let mut position = at;
    while position < size {
        let bytes = file.read_upto_at(CHUNK, position).map_err(FileError::at("read", &log))?;
        if kept.is_none() && bytes.iter().any(|byte| *byte != 0) {
            kept = Some(files.open(&to, Open::New).map_err(FileError::at("create", &to))?);
        }
        if let Some(kept) = &kept
            && let Err(error) = kept.write_all_at(&mut [IoSlice::new(&bytes)], position - at)
        {
            // Half a copy is none, and may be what fills the disk.
            let _ = files.remove(&to);
            return Err(FileError::at("write", &to)(error));
        }
        position += bytes.len().max(1) as u64;
    }
    let Some(kept) = kept else { return Ok(None) };
    durable_file::sync(&*kept, &to, Site::SetAside)?;
    durable_file::sync_dir(files, &segment.dir, Site::SetAside)?;
    Ok(Some(to))
}

/// Renames a segment's file. What belongs to it goes: it can be made from the file.
pub(crate) fn whole(segment: &Segment) -> Result<PathBuf, FileError> {
    let log = segment.path(Part::Log);
    let files = segment.files();
    let to = free_name(files, &log, 0);
    files.rename(&log, &to).map_err(FileError::at("rename", &log))?;
    for part in Part::LOG_LAST {
        durable_file::remove(files, &segment.path(part))?;
    }
    Ok(to)
}

/// Removes a segment in which nothing is.
pub(crate) fn remove_empty(segment: &Segment) -> Result<(), FileError> {
    for part in Part::LOG_LAST {
        durable_file::remove(segment.files(), &segment.path(part))?;
    }
    Ok(())
}

fn free_name(files: &dyn FileSystem, log: &Path, at: u64) -> PathBuf {
    let named = |number: &str| {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".cut-{at}{number}"));
        PathBuf::from(name)
    };
    let numbered = (1..).map(|n: u64| named(&format!(".{n}")));
    let mut names = std::iter::once(named("")).chain(numbered);
    names.find(|path| !files.exists(path)).unwrap_or_else(|| named(""))
}
