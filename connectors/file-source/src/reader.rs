//! A window on a file: bytes that have been read and not yet taken.
//!
//! Invariant: it never holds more than the longest allowed line and one chunk.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

const CHUNK_BYTES: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
    from: usize,
}

impl Reader {
    /// Forgets what it holds, and puts the file where reading goes on.
    pub(crate) fn seek(&mut self, file: &mut File, offset: u64) -> io::Result<()> {
        self.buffer.clear();
        self.from = 0;
        file.seek(SeekFrom::Start(offset)).map(drop)
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
        file.take(want).read_to_end(&mut self.buffer)
    }
}
