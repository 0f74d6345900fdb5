//! What tells a file from one that has taken its name or inode, or was written in its place: hashes of its
//! first bytes, and of the bytes before the place up to which it has been read.
//!
//! Files may begin alike (a header, a banner) and inodes are given again at once, so the beginning alone
//! does not do.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes that are hashed, of files that have so many.
pub(crate) const BYTES: u64 = 256;

/// A hash of a file's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) len: u32,
    pub(crate) hash: u64,
}

impl Fingerprint {
    /// Of a file of that size.
    pub(crate) fn of(file: &mut File, size: u64) -> io::Result<Self> {
        let bytes = part(file, 0, size.min(BYTES))?;
        Ok(Fingerprint { len: bytes.len() as u32, hash: fnv1a(&bytes) })
    }

    /// Whether the file still begins like that.
    pub(crate) fn fits(&self, file: &mut File) -> io::Result<bool> {
        Ok(self.len == 0 || Self::of(file, u64::from(self.len))? == *self)
    }

    /// Whether a longer one could be taken by now.
    pub(crate) fn is_short(&self, size: u64) -> bool {
        u64::from(self.len) < size.min(BYTES)
    }
}

/// A hash of the bytes before an offset; zero stands for one that was never taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail(pub(crate) u64);

impl Tail {
    /// `bytes`: what is before the offset, all of it or the last of it.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Tail(fnv1a(&bytes[bytes.len().saturating_sub(BYTES as usize)..]))
    }

    /// Whether that is still what the file has before `offset`.
    pub(crate) fn fits(self, file: &mut File, offset: u64) -> io::Result<bool> {
        let len = offset.min(BYTES);
        Ok(self.0 == 0 || Self::of(&part(file, offset - len, len)?) == self)
    }
}

/// So many bytes from there, or fewer at the end.
pub(crate) fn part(file: &mut File, from: u64, len: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len as usize);
    file.seek(SeekFrom::Start(from))?;
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// FNV-1a: stable over releases, which the cursor needs, and good enough to tell logs apart.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
