//! `.lock`: one process at a time in a data directory.
//!
//! The lock is flock's, and the one that Kafka takes: the kernel lets go of them however the process ends. The
//! file holds the holder's process id, for the message that the second one shows.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use crate::error::{FileError, OpenError};
use crate::files::file_system::{File, FileSystem, Open};

const NAME: &str = ".lock";
const TRIES: u32 = 100;

/// Held while the store is open.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: Arc<dyn File>,
}

impl DirLock {
    pub(crate) fn take(files: &dyn FileSystem, dir: &Path) -> Result<DirLock, OpenError> {
        let path = dir.join(NAME);
        let file = files.open(&path, Open::OrCreate).map_err(FileError::at("open", &path))?;
        // Somebody who only looks whether it is held, holds it for a moment.
        let mut tries = 0;
        while !file.try_lock().map_err(FileError::at("lock", &path))? {
            tries += 1;
            if tries > TRIES {
                return Err(OpenError::InUse { dir: dir.to_path_buf(), holder: holder(&*file) });
            }
            std::thread::yield_now();
        }
        let process = format!("{}\n", std::process::id());
        let written =
            file.set_len(0).and_then(|()| file.write_all_at(&mut [IoSlice::new(process.as_bytes())], 0));
        match written.map_err(FileError::at("write", &path)) {
            // It is held all the same; who else comes is not told by whom.
            Err(error) if error.is_full() => {}
            written => written?,
        }
        Ok(DirLock { _file: file })
    }
}

/// Whether a process uses the directory. Writes nothing.
pub(crate) fn is_held(files: &dyn FileSystem, dir: &Path) -> Result<bool, OpenError> {
    let path = dir.join(NAME);
    match files.open(&path, Open::Read) {
        Ok(file) => Ok(!file.try_lock().map_err(FileError::at("lock", &path))?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(FileError::at("open", &path)(source).into()),
    }
}

/// ` (process 4711)`, or nothing when the file does not say.
fn holder(file: &dyn File) -> String {
    let content = file.read_upto_at(32, 0).unwrap_or_default();
    let text = String::from_utf8_lossy(&content);
    let process = text.trim();
    let is_number = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { format!(" (process {process})") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::os::OsFiles;

    #[test]
    fn the_second_taker_is_told_who_holds_it_until_the_first_lets_go() {
        let dir = tempfile::tempdir().unwrap();
        let first = DirLock::take(&OsFiles, dir.path()).unwrap();
        let refused = DirLock::take(&OsFiles, dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&format!("(process {})", std::process::id())), "{refused}");
        drop(first);
        DirLock::take(&OsFiles, dir.path()).unwrap();
    }
}
