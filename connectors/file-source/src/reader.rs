//! A window on a file: bytes that have been read and not yet taken.
//!
//! Invariants: it never holds more than the longest allowed line and one chunk; it knows its own place and
//! seeks it before each read, because whoever looks at the file meanwhile moves the place of the handle.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

const CHUNK_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    from: usize,
    /// Where in the file the buffer ends.
    at: u64,
}

impl Reader {
    /// Forgets what it holds; reading goes on at `offset`.
    pub(crate) fn seek(&mut self, offset: u64) {
        self.buffer.clear();
        self.from = 0;
        self.at = offset;
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

    pub(crate) fn consume(&mut self, bytes: usize) {
        self.from += bytes;
    }

    /// Reads more, at most `left` bytes; zero at the end.
    pub(crate) fn fill(&mut self, file: &mut File, left: u64) -> io::Result<usize> {
        self.buffer.drain(..self.from);
        self.from = 0;
        let want = left.min(CHUNK_BYTES as u64);
        self.buffer.reserve(want as usize);
        file.seek(SeekFrom::Start(self.at))?;
        let read = file.take(want).read_to_end(&mut self.buffer)?;
        self.at += read as u64;
        Ok(read)
    }
}
