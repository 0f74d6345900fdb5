//! A file system of which nothing can be changed, whoever asks.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::files::file_system::{File, FileSystem, Open, Stat};

pub(crate) struct ReadOnly(pub(crate) Arc<dyn FileSystem>);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl FileSystem for ReadOnly {
    /// Who would write to a file can read it.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        match how {
            Open::Read | Open::Write => self.0.open(path, Open::Read),
            Open::Folder => self.0.open(path, Open::Folder),
            Open::OrCreate | Open::Emptied | Open::New | Open::NewPrivate => refused(),
        }
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.0.stat(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.0.list(dir)
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
