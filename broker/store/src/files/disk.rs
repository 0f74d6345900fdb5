//! The three calls that can lose data, behind a trait, so that tests can make them fail.
//!
//! Everything else the store does to files it does directly: a failed open or rename is seen at
//! once, whereas a full disk and a failed sync need an answer of their own (`partition::append`,
//! `flusher`).

use std::fs::File;
use std::io::{self, IoSlice};

/// Writes and syncs. Contract: a `write_at` that fails may have written a prefix; a `sync` that
/// fails leaves what it should have covered in an unknown state.
pub trait Disk: Send + Sync + 'static {
    /// Writes some of the slices at a position and says how many bytes, as pwritev(2).
    fn write_at(&self, file: &File, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize>;
    /// Makes a file's content and length durable, as fdatasync(2).
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Makes everything on the file system of this file durable, as syncfs(2).
    fn sync_all(&self, file: &File) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn write_at(&self, file: &File, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        Ok(rustix::io::retry_on_intr(|| rustix::io::pwritev(file, slices, position))?)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        Ok(rustix::io::retry_on_intr(|| rustix::fs::fdatasync(file))?)
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        Ok(rustix::io::retry_on_intr(|| rustix::fs::syncfs(file))?)
    }
}

/// Writes all slices, over as many calls as the kernel wants; `slices` is used up.
pub(crate) fn write_all_at(
    disk: &dyn Disk,
    file: &File,
    mut slices: &mut [IoSlice<'_>],
    mut position: u64,
) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        let window = slices.len().min(SLICES_MAX);
        let written = disk.write_at(file, &slices[..window], position)?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        position += written as u64;
        IoSlice::advance_slices(&mut slices, written);
    }
    Ok(())
}

/// Linux's IOV_MAX.
const SLICES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    /// Takes three bytes at a time.
    struct Dribble;

    impl Disk for Dribble {
        fn write_at(&self, file: &File, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
            let first = &slices[0][..slices[0].len().min(3)];
            file.write_all_at(first, position)?;
            Ok(first.len())
        }

        fn sync(&self, _: &File) -> io::Result<()> {
            Ok(())
        }

        fn sync_all(&self, _: &File) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn short_writes_go_on_where_they_stopped() {
        let file = tempfile::tempfile().unwrap();
        let mut slices = [IoSlice::new(b"hello, "), IoSlice::new(b""), IoSlice::new(b"world")];
        write_all_at(&Dribble, &file, &mut slices, 2).unwrap();
        let mut back = [0; 12];
        file.read_exact_at(&mut back, 2).unwrap();
        assert_eq!(&back, b"hello, world");
    }

    #[test]
    fn more_slices_than_one_call_takes() {
        let file = tempfile::tempfile().unwrap();
        let mut slices = vec![IoSlice::new(b"xy"); 3000];
        write_all_at(&RealDisk, &file, &mut slices, 0).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 6000);
    }
}
