//! `.lock`: one process at a time in a data directory.
//!
//! The lock is flock's, so the kernel lets go of it however the process ends. The file holds the
//! holder's process id, for the message that the second one shows.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use crate::error::{FileError, OpenError};
use crate::files::file_system::{File, FileSystem, Open};

const NAME: &str = ".lock";

/// Held while the store is open.
#[derive(Debug)]
pub(crate) struct DirLock {
    _file: Arc<dyn File>,
}

impl DirLock {
    pub(crate) fn take(files: &dyn FileSystem, dir: &Path) -> Result<DirLock, OpenError> {
        let path = dir.join(NAME);
        let file = files.open(&path, Open::OrCreate).map_err(FileError::at("open", &path))?;
        if !file.try_lock().map_err(FileError::at("lock", &path))? {
            return Err(OpenError::InUse { dir: dir.to_path_buf(), holder: holder(&*file) });
        }
        let process = format!("{}\n", std::process::id());
        let written =
            file.set_len(0).and_then(|()| file.write_all_at(&mut [IoSlice::new(process.as_bytes())], 0));
        written.map_err(FileError::at("write", &path))?;
        Ok(DirLock { _file: file })
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
