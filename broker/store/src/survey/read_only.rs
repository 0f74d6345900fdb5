//! A file system of which nothing can be changed, whoever asks.
//!
//! Of what is named as a file and is none (a pipe, whose open would wait for ever, or a folder), it knows nothing;
//! [`irregular`] tells of it.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory::{catalogue, meta};
use crate::error::FileError;
use crate::files::file_system::{File, FileSystem, Open, Stat};
use crate::files::{checkpoints, durable_file};
use crate::partition::folder;

pub(crate) struct ReadOnly(pub(crate) Arc<dyn FileSystem>);

/// What of a folder is named as a file of the log and is none.
pub(crate) fn irregular(files: &dyn FileSystem, dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let listed = durable_file::list(files, dir)?;
    Ok(listed.into_iter().filter(|path| is_irregular(files, path)).collect())
}

fn is_irregular(files: &dyn FileSystem, path: &Path) -> bool {
    is_files_name(path) && files.stat(path).is_ok_and(|stat| !stat.is_file)
}

fn is_files_name(path: &Path) -> bool {
    let known = [
        meta::NAME,
        catalogue::NAME,
        checkpoints::RECOVERY_POINTS,
        checkpoints::STARTS,
        checkpoints::CLEANED,
        folder::METADATA,
        folder::EPOCHS,
    ];
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let numbered = name.split_once('.').is_some_and(|(stem, _)| folder::parse_offset(stem).is_some());
    numbered || known.contains(&name)
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl FileSystem for ReadOnly {
    /// Who would write to a file can read it.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        match how {
            Open::Read | Open::Write if !self.0.stat(path)?.is_file => Err(io::ErrorKind::NotFound.into()),
            Open::Read | Open::Write => self.0.open(path, Open::Read),
            Open::Folder => self.0.open(path, Open::Folder),
            Open::OrCreate | Open::Emptied | Open::New | Open::NewPrivate => refused(),
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.0.stat(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names = self.0.list(dir)?;
        names.retain(|name| !is_irregular(&*self.0, &dir.join(name)));
        Ok(names)
    }

    fn create_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove_dir(&self, _: &Path) -> io::Result<()> {
        refused()
    }
}
