//! A window on a file: bytes that have been read and not yet taken.
//!
//! Invariants: it never holds more than the longest allowed line and one chunk; it knows its own place and
//! seeks it before each read, because whoever looks at the file meanwhile moves the place of the handle; the
//! bytes that it has read are also there where they were taken last, so that a place can be told again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use crate::fingerprint;

const CHUNK_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    from: usize,
    /// Where in the file the buffer ends.
    at: u64,
}

impl Reader {
    /// Forgets what it holds; reading goes on at `offset`. The bytes behind it are read again.
    pub(crate) fn seek(&mut self, file: &mut File, offset: u64) -> io::Result<()> {
        let behind = offset.min(fingerprint::BYTES);
        self.buffer.clear();
        (self.from, self.at) = (0, offset - behind);
        self.read(file, behind)?;
        self.from = self.buffer.len();
        Ok(())
    }

    /// Where in the file the unread bytes begin.
    pub(crate) fn place(&self) -> u64 {
        self.at - self.unread().len() as u64
    }

    /// Where in the file the unread bytes end.
    pub(crate) fn end(&self) -> u64 {
        self.at
    }

    pub(crate) fn unread(&self) -> &[u8] {
        &self.buffer[self.from..]
    }

    /// What comes before the unread bytes; the last of it, if that is much.
    pub(crate) fn behind(&self) -> &[u8] {
        &self.buffer[..self.from]
    }

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.from += bytes;
    }

    /// Reads more, at most `left` bytes; zero at the end.
    pub(crate) fn fill(&mut self, file: &mut File, left: u64) -> io::Result<usize> {
        let behind = self.from.min(fingerprint::BYTES as usize);
        self.buffer.drain(..self.from - behind);
        self.from = behind;
        self.read(file, left.min(CHUNK_BYTES as u64))
    }

    fn read(&mut self, file: &mut File, want: u64) -> io::Result<usize> {
        self.buffer.reserve(want as usize);
        file.seek(SeekFrom::Start(self.at))?;
        let read = file.take(want).read_to_end(&mut self.buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}
