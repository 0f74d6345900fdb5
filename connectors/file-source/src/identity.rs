//! Which file a name stands for: device and inode, and a hash of its first bytes, because inodes are
//! given again.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of a fingerprint, for files that have so many.
const FINGERPRINT_BYTES: u64 = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// What a name stands for now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) identity: Identity,
    pub(crate) size: u64,
}

/// Looks at a path; none: there is no file of that name.
pub(crate) fn look(path: &Path) -> io::Result<Option<Seen>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {
            Ok(Some(Seen { identity: identity(path, &metadata)?, size: metadata.len() }))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn identity(_: &Path, metadata: &Metadata) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
}

/// On WASI the inode is the host's hash of device and inode; Rust's library does not give it out yet.
#[cfg(target_family = "wasm")]
fn identity(path: &Path, _: &Metadata) -> io::Result<Identity> {
    let text = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let name = std::ffi::CString::new(text)?;
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: `name` ends in a zero byte and `stat` has room for what is written; both outlive the call.
    if unsafe { libc::stat(name.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a valid `stat`, and the call has filled it.
    let stat = unsafe { stat.assume_init() };
    Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
}

/// A hash of a file's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    pub(crate) len: u32,
    pub(crate) hash: u64,
}

impl Fingerprint {
    /// Of a file of that size.
    pub(crate) fn of(file: &mut File, size: u64) -> io::Result<Self> {
        Self::of_first(file, size.min(FINGERPRINT_BYTES) as u32)
    }

    /// Whether the file still begins like that.
    pub(crate) fn fits(&self, file: &mut File) -> io::Result<bool> {
        Ok(self.len == 0 || Self::of_first(file, self.len)? == *self)
    }

    /// Whether a longer one could be taken by now.
    pub(crate) fn is_short(&self, size: u64) -> bool {
        u64::from(self.len) < size.min(FINGERPRINT_BYTES)
    }

    fn of_first(file: &mut File, len: u32) -> io::Result<Self> {
        let mut bytes = Vec::with_capacity(len as usize);
        file.seek(SeekFrom::Start(0))?;
        file.take(u64::from(len)).read_to_end(&mut bytes)?;
        Ok(Fingerprint { len: bytes.len() as u32, hash: fnv1a(&bytes) })
    }
}

/// FNV-1a: stable over releases, which the cursor needs, and good enough to tell logs apart.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
