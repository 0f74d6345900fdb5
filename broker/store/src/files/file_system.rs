//! What the store asks of a file system: every file call of this crate goes through here.
//!
//! Two traits, so that the same code runs on the operating system ([`OsFiles`]) and on what a test makes of
//! one: a disk that is full, a sync that fails, a power cut between any two calls (`tests/sim`). Nothing
//! beside `os.rs` names `std::fs`; `clippy.toml` refuses it.
//!
//! Contract, of whoever implements it, and all that the store relies on:
//!
//! - What one call wrote the next one reads, whatever file handle it comes through.
//! - A power cut can lose, tear and reorder everything that no sync has covered: bytes of a file in units
//!   no smaller than a sector, its length, and each name in a folder by itself. What is not there reads
//!   as zeros up to the file's length.
//! - A sync of a file covers its bytes and its length, not its name; one of a folder covers the names in
//!   it, not what they stand for; a rename is two names, of which a power cut keeps either or both, and
//!   never none.
//! - A sync that fails leaves what it should have covered in an unknown state, for good: a later one that
//!   succeeds says nothing of it.
//!
//! [`OsFiles`]: crate::OsFiles

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use flumen_types::Timestamp;

use crate::files::site::Site;

/// A tree of names.
pub trait FileSystem: Send + Sync + 'static {
    /// Opens a file, or a folder to sync it.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>>;
    /// What a name stands for; links are followed.
    fn stat(&self, path: &Path) -> io::Result<Stat>;
    /// The names in a folder, in no order.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// The folder that it is to be in is there.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Whatever file had the new name has it no more; whoever has that open reads on in it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// A file's name; whoever has the file open reads on in it.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// An empty folder.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
}

/// An open file. It stays what it is when its name is given to another or goes.
pub trait File: Debug + Send + Sync {
    /// Fills the front of a buffer and says how much of it; fewer bytes than there are is no end, none is.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// Writes some of the slices and says how many bytes. One that fails may have written a part.
    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize>;
    /// Cuts, or grows with zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;
    fn stat(&self) -> io::Result<Stat>;
    /// Makes things durable. The site does not change what is done; it is for who counts or leaves out.
    fn sync(&self, scope: Scope, site: Site) -> io::Result<()>;
    /// From a position on so many bytes, or all. Only advice: it may do nothing, and fails in silence.
    fn advise(&self, position: u64, length: Option<u64>, advice: Advice);
    /// Takes the file for this process, for as long as it is open; false if another has it.
    fn try_lock(&self) -> io::Result<bool>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// It is there.
    Read,
    /// To read and write; it is there.
    Write,
    /// To read and write; made if it is not there.
    OrCreate,
    /// To read and write; made, or emptied if it is there.
    Emptied,
    /// To read and write; it is not there.
    New,
    /// The same, and only this user may open it.
    NewPrivate,
    /// A folder, to sync it.
    Folder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub is_dir: bool,
    /// Neither a folder nor a pipe, a socket or a device.
    pub is_file: bool,
    pub length: u64,
    /// When something was last written to it.
    pub modified: Timestamp,
}

/// What a sync covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// A file's bytes and length, or a folder's names.
    Itself,
    /// Everything on the file system that it is on.
    FileSystem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    WillNeed,
    DontNeed,
}

impl dyn FileSystem + '_ {
    /// Whether there is something of this name; what cannot be looked at counts as nothing.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.stat(path).is_ok()
    }

    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.stat(path).is_ok_and(|stat| stat.is_dir)
    }

    /// A folder with all that is in it.
    pub(crate) fn remove_all(&self, path: &Path) -> io::Result<()> {
        if !self.stat(path)?.is_dir {
            return self.remove(path);
        }
        for name in self.list(path)? {
            self.remove_all(&path.join(name))?;
        }
        self.remove_dir(path)
    }
}

/// Linux's IOV_MAX.
const SLICES_MAX: usize = 1024;

impl dyn File + '_ {
    /// Writes all slices, over as many calls as it takes; `slices` is used up.
    pub(crate) fn write_all_at(&self, mut slices: &mut [IoSlice<'_>], mut position: u64) -> io::Result<()> {
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            let window = slices.len().min(SLICES_MAX);
            let written = self.write_at(&slices[..window], position)?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            position += written as u64;
            IoSlice::advance_slices(&mut slices, written);
        }
        Ok(())
    }

    /// Fills the buffer; an `UnexpectedEof` if the file ends before.
    pub(crate) fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        match self.fill_at(buffer, position)? {
            read if read == buffer.len() => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Up to so many bytes, fewer only at the file's end.
    pub(crate) fn read_upto_at(&self, length: usize, position: u64) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        let read = self.fill_at(&mut buffer, position)?;
        buffer.truncate(read);
        Ok(buffer)
    }

    fn fill_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], position + filled as u64)? {
                0 => break,
                read => filled += read,
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::contract;
    use crate::files::os::OsFiles;
    use crate::tests::testing::{Faulty, NoFaults};

    /// Takes and gives three bytes at a time.
    #[derive(Debug)]
    struct Dribble(Arc<dyn File>);

    impl File for Dribble {
        fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            let few = buffer.len().min(3);
            self.0.read_at(&mut buffer[..few], position)
        }

        fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
            self.0.write_at(&[IoSlice::new(&slices[0][..slices[0].len().min(3)])], position)
        }

        fn set_len(&self, length: u64) -> io::Result<()> {
            self.0.set_len(length)
        }

        fn stat(&self) -> io::Result<Stat> {
            self.0.stat()
        }

        fn sync(&self, scope: Scope, site: Site) -> io::Result<()> {
            self.0.sync(scope, site)
        }

        fn advise(&self, _: u64, _: Option<u64>, _: Advice) {}

        fn try_lock(&self) -> io::Result<bool> {
            self.0.try_lock()
        }
    }

    #[test]
    fn short_writes_and_reads_go_on_where_they_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let file: Arc<dyn File> = Arc::new(Dribble(OsFiles.open(&dir.path().join("f"), Open::New).unwrap()));
        let mut slices = [IoSlice::new(b"hello, "), IoSlice::new(b""), IoSlice::new(b"world")];
        file.write_all_at(&mut slices, 2).unwrap();
        let mut back = [0; 12];
        file.read_exact_at(&mut back, 2).unwrap();
        assert_eq!(&back, b"hello, world");
        assert_eq!(file.read_upto_at(100, 9).unwrap(), b"world");
        assert_eq!(file.read_exact_at(&mut back, 3).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn more_slices_than_one_call_takes() {
        let dir = tempfile::tempdir().unwrap();
        let file = OsFiles.open(&dir.path().join("f"), Open::New).unwrap();
        let mut slices = vec![IoSlice::new(b"xy"); 3000];
        file.write_all_at(&mut slices, 0).unwrap();
        assert_eq!(file.stat().unwrap().length, 6000);
    }

    #[test]
    fn the_operating_systems_and_the_tests_own_keep_the_contract() {
        let dir = tempfile::tempdir().unwrap();
        contract::check(&OsFiles, dir.path());
        contract::check(&Faulty::new(NoFaults), dir.path());
    }
}
