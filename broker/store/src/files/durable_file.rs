//! Small files that are whole or not there: written beside, synced, renamed over, folder synced.
//!
//! A rename or a new name survives a power cut only once its folder is synced, which is what
//! [`sync_dir`] is for.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::error::{FileError, SYNC};

/// Replaces `path` with `content`, durable when this returns.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    replace_by(path, |beside| write_synced(beside, content))
}

/// As [`replace`], and nobody but the broker's own user may read it.
pub fn replace_private(path: &Path, content: &[u8]) -> Result<(), FileError> {
    replace_by(path, |beside| {
        // The mode counts for a new file only.
        remove(beside)?;
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside);
        write_all_synced(made.map_err(FileError::at("create", beside))?, beside, content)
    })
}

fn replace_by(path: &Path, write: impl FnOnce(&Path) -> Result<(), FileError>) -> Result<(), FileError> {
    let beside = beside(path);
    let replaced =
        write(&beside).and_then(|()| fs::rename(&beside, path).map_err(FileError::at("replace", path)));
    if replaced.is_err() {
        // What is left of it may be what fills the disk; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&beside);
    }
    replaced?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// Writes a file, durable but for its name.
pub(crate) fn write_synced(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write_all_synced(File::create(path).map_err(FileError::at("create", path))?, path, content)
}

fn write_all_synced(mut file: File, path: &Path, content: &[u8]) -> Result<(), FileError> {
    file.write_all(content).map_err(FileError::at("write", path))?;
    file.sync_all().map_err(FileError::at(SYNC, path))
}

/// Makes the content of a file that may not be there durable.
pub(crate) fn sync_if_there(path: &Path) -> Result<(), FileError> {
    match File::open(path) {
        Ok(file) => file.sync_data().map_err(FileError::at(SYNC, path)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::at("open", path)(error)),
    }
}

/// The content, or `None` when there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::at("read", path)(error)),
    }
}

/// Removes a file that may not be there; says whether it was.
pub(crate) fn remove(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::at("remove", path)(error)),
    }
}

/// Makes a folder and those that it is in, unless they are there; durable when this returns.
pub(crate) fn create_dirs(dir: &Path) -> Result<(), FileError> {
    let missing = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty() && !dir.exists()).count();
    fs::create_dir_all(dir).map_err(FileError::at("create", dir))?;
    for made in dir.ancestors().take(missing) {
        match made.parent() {
            Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new("."))?,
            Some(parent) => sync_dir(parent)?,
            None => {}
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<(), FileError> {
    let folder = File::open(dir).map_err(FileError::at("open", dir))?;
    folder.sync_all().map_err(FileError::at(SYNC, dir))
}

fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets");
        for content in [&b"one"[..], b"two"] {
            replace_private(&path, content).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some(content));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn replace_leaves_the_new_content_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        assert_eq!(read(&path).unwrap(), None);
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read(&path).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(remove(&path).unwrap());
        assert!(!remove(&path).unwrap());
    }
}
