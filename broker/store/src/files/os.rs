//! The operating system's files.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "this is the door")]

use std::ffi::OsString;
use std::fs::{self, Metadata, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use flumen_types::{Timestamp, safeguard};
use rustix::fs::FlockOperation;
use rustix::io::{Errno, retry_on_intr};

use crate::files::file_system::{Advice, File, FileSystem, Open, Scope, Stat};
use crate::files::site::Site;

#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

impl FileSystem for OsFiles {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let mut options = OpenOptions::new();
        options.read(true).write(!matches!(how, Open::Read | Open::Folder));
        match how {
            Open::Read | Open::Write | Open::Folder => {}
            Open::OrCreate => _ = options.create(true).truncate(false),
            Open::Emptied => _ = options.create(true).truncate(true),
            Open::New => _ = options.create_new(true),
            // The mode counts for a new file only.
            Open::NewPrivate => _ = options.create_new(true).mode(0o600),
        }
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        stat(&fs::metadata(path)?)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }
}

#[derive(Debug)]
struct OsFile(fs::File);

impl File for OsFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::pread(&self.0, &mut *buffer, position))?)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        Ok(retry_on_intr(|| rustix::io::pwritev(&self.0, slices, position))?)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn stat(&self) -> io::Result<Stat> {
        stat(&self.0.metadata()?)
    }

    fn sync(&self, scope: Scope, site: Site) -> io::Result<()> {
        if safeguard::is_left_out(site.name()) {
            return Ok(());
        }
        let synced = match scope {
            Scope::Itself => retry_on_intr(|| rustix::fs::fdatasync(&self.0)),
            Scope::FileSystem => retry_on_intr(|| rustix::fs::syncfs(&self.0)),
        };
        synced.map_err(io::Error::from)
    }

    fn advise(&self, position: u64, length: Option<u64>, advice: Advice) {
        let advice = match advice {
            Advice::WillNeed => rustix::fs::Advice::WillNeed,
            Advice::DontNeed => rustix::fs::Advice::DontNeed,
        };
        // Where the file system cannot, there is nothing to be done.
        let _ = rustix::fs::fadvise(&self.0, position, length.and_then(NonZeroU64::new), advice);
    }

    fn try_lock(&self) -> io::Result<bool> {
        match self.0.try_lock() {
            Ok(()) => lock_as_java(&self.0),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Kafka takes the lock of POSIX, which flock's does not see, and which goes with the process's first close of
/// the file: so both are taken. Who can only read asks for a share of it.
fn lock_as_java(file: &fs::File) -> io::Result<bool> {
    let lock = |operation| match rustix::fs::fcntl_lock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(error) => Err(error),
    };
    let locked = match lock(FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::BADF) => lock(FlockOperation::NonBlockingLockShared),
        locked => locked,
    };
    Ok(locked?)
}

fn stat(meta: &Metadata) -> io::Result<Stat> {
    let since = meta.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Stat {
        is_dir: meta.is_dir(),
        is_file: meta.is_file(),
        length: meta.len(),
        modified: Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
    })
}
