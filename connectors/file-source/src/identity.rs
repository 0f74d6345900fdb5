//! Which file a name stands for: device and inode.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

/// What a name stands for now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub(crate) identity: Identity,
    pub(crate) size: u64,
    pub(crate) modified: Option<SystemTime>,
}

/// Looks at a path; none: there is no file of that name.
pub(crate) fn look(path: &Path) -> io::Result<Option<Seen>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Some(Seen {
            identity: of_path(path, &metadata)?,
            size: metadata.len(),
            modified: metadata.modified().ok(),
        })),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn of_folder(path: &Path) -> io::Result<Identity> {
    of_path(path, &std::fs::metadata(path)?)
}

#[cfg(unix)]
fn of_path(_: &Path, metadata: &Metadata) -> io::Result<Identity> {
    use std::os::unix::fs::MetadataExt;
    Ok(Identity { device: metadata.dev(), inode: metadata.ino() })
}

/// Of an open file, whatever has become of the name that led to it.
#[cfg(unix)]
pub(crate) fn of_file(file: &File) -> io::Result<Identity> {
    of_path(Path::new(""), &file.metadata()?)
}

/// On WASI the inode is the host's hash of device and inode; Rust's library does not give it out yet.
#[cfg(target_family = "wasm")]
fn of_path(path: &Path, _: &Metadata) -> io::Result<Identity> {
    let text = path.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let name = std::ffi::CString::new(text)?;
    // SAFETY: `name` ends in a zero byte and outlives the call; `stat` has room for what is written.
    filled(|stat| unsafe { libc::stat(name.as_ptr(), stat) })
}

#[cfg(target_family = "wasm")]
pub(crate) fn of_file(file: &File) -> io::Result<Identity> {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open as long as `file` is; `stat` has room for what is written.
    filled(|stat| unsafe { libc::fstat(file.as_raw_fd(), stat) })
}

#[cfg(target_family = "wasm")]
fn filled(fill: impl FnOnce(*mut libc::stat) -> libc::c_int) -> io::Result<Identity> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    if fill(stat.as_mut_ptr()) != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all zeros is a valid `stat`, and the call has filled it.
    let stat = unsafe { stat.assume_init() };
    Ok(Identity { device: stat.st_dev, inode: stat.st_ino })
}
