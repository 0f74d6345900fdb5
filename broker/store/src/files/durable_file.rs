//! Small files, most of them whole or not there: written beside, synced, renamed over, folder synced.
//!
//! A rename or a new name survives a power cut only once its folder is synced, which is what
//! [`sync_dir`] is for.

use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;

use crate::error::{FileError, SYNC};
use crate::files::file_system::{File, FileSystem, Open, Scope};
use crate::files::site::Site;

/// From so many partitions on, one sync of the file system is cheaper than some for each. It waits
/// for everything that anybody has written there, so it is not for a few.
pub(crate) const SYNC_ALL_OVER: usize = 16;

/// Replaces `path` with `content`, durable when this returns.
pub(crate) fn replace(files: &dyn FileSystem, path: &Path, content: &[u8]) -> Result<(), FileError> {
    replace_by(files, path, |beside| write_synced(files, beside, content, Site::ReplacedContent))
}

/// As [`replace`], and nobody but the broker's own user may read it.
pub fn replace_private(files: &dyn FileSystem, path: &Path, content: &[u8]) -> Result<(), FileError> {
    replace_by(files, path, |beside| {
        // The mode counts for a new file only.
        remove(files, beside)?;
        let made = files.open(beside, Open::NewPrivate).map_err(FileError::at("create", beside))?;
        fill(&*made, beside, content)?;
        sync(&*made, beside, Site::ReplacedContent)
    })
}

fn replace_by(
    files: &dyn FileSystem,
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), FileError>,
) -> Result<(), FileError> {
    renamed_over(files, path, write)?;
    path.parent().map_or(Ok(()), |dir| sync_dir(files, dir, Site::ReplacedName))
}

fn renamed_over(
    files: &dyn FileSystem,
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), FileError>,
) -> Result<(), FileError> {
    let beside = beside(path);
    let replaced =
        write(&beside).and_then(|()| files.rename(&beside, path).map_err(FileError::at("replace", path)));
    if replaced.is_err() {
        // What is left of it may be what fills the disk; that it cannot be removed changes nothing.
        let _ = files.remove(&beside);
    }
    replaced
}

/// Writes a file anew, nothing of it durable yet.
pub(crate) fn write(files: &dyn FileSystem, path: &Path, content: &[u8]) -> Result<(), FileError> {
    written(files, path, content).map(|_| ())
}

/// Goes on with a file from a position, up to where it then ends; nothing of it durable yet. What is before
/// stays as it is, whatever happens.
pub(crate) fn put(
    files: &dyn FileSystem,
    path: &Path,
    position: u64,
    content: &[u8],
) -> Result<(), FileError> {
    let file = files.open(path, Open::OrCreate).map_err(FileError::at("create", path))?;
    let written = file.write_all_at(&mut [IoSlice::new(content)], position);
    let ended = written.and_then(|()| file.set_len(position + content.len() as u64));
    ended.map_err(FileError::at("write", path))
}

/// Writes a file, durable but for its name.
pub(crate) fn write_synced(
    files: &dyn FileSystem,
    path: &Path,
    content: &[u8],
    site: Site,
) -> Result<(), FileError> {
    sync(&*written(files, path, content)?, path, site)
}

fn written(files: &dyn FileSystem, path: &Path, content: &[u8]) -> Result<Arc<dyn File>, FileError> {
    let file = files.open(path, Open::Emptied).map_err(FileError::at("create", path))?;
    fill(&*file, path, content)?;
    Ok(file)
}

fn fill(file: &dyn File, path: &Path, content: &[u8]) -> Result<(), FileError> {
    file.write_all_at(&mut [IoSlice::new(content)], 0).map_err(FileError::at("write", path))
}

/// Has a file hold this, durable but for its names: whatever happens, it holds this or what it did before.
pub(crate) fn exchange(
    files: &dyn FileSystem,
    path: &Path,
    content: &[u8],
    site: Site,
) -> Result<(), FileError> {
    renamed_over(files, path, |beside| write_synced(files, beside, content, site))
}

/// Makes what is in an open file durable.
pub(crate) fn sync(file: &dyn File, path: &Path, site: Site) -> Result<(), FileError> {
    file.sync(Scope::Itself, site).map_err(FileError::at(SYNC, path))
}

/// Makes the content of a file that may not be there durable.
pub(crate) fn sync_if_there(files: &dyn FileSystem, path: &Path, site: Site) -> Result<(), FileError> {
    match files.open(path, Open::Read) {
        Ok(file) => sync(&*file, path, site),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileError::at("open", path)(error)),
    }
}

/// The content, or `None` when there is no such file.
pub fn read(files: &dyn FileSystem, path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let content = files.open(path, Open::Read).and_then(|file| {
        let length = usize::try_from(file.stat()?.length).map_err(io::Error::other)?;
        file.read_upto_at(length, 0)
    });
    match content {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::at("read", path)(error)),
    }
}

/// Removes a file that may not be there; says whether it was.
pub(crate) fn remove(files: &dyn FileSystem, path: &Path) -> Result<bool, FileError> {
    match files.remove(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::at("remove", path)(error)),
    }
}

/// Renames a file that may not be there; says whether it was.
pub(crate) fn rename(files: &dyn FileSystem, from: &Path, to: &Path) -> Result<bool, FileError> {
    match files.rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::at("rename", from)(error)),
    }
}

/// Makes a folder unless it is there.
pub(crate) fn create_dir(files: &dyn FileSystem, dir: &Path) -> Result<(), FileError> {
    match files.create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && files.is_dir(dir) => Ok(()),
        made => made.map_err(FileError::at("create", dir)),
    }
}

/// Makes a folder and those that it is in, unless they are there.
pub(crate) fn create_dirs(files: &dyn FileSystem, dir: &Path) -> Result<(), FileError> {
    let ancestors = dir.ancestors().take_while(|dir| !dir.as_os_str().is_empty());
    let missing: Vec<&Path> = ancestors.take_while(|dir| !files.exists(dir)).collect();
    missing.into_iter().rev().try_for_each(|missing| create_dir(files, missing))
}

/// Makes the names of a folder, and of those that it is in, durable: whoever made them may have been killed
/// before. What this user may not look into, somebody else has made.
pub(crate) fn sync_ancestors(files: &dyn FileSystem, dir: &Path) -> Result<(), FileError> {
    for parent in dir.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match sync_dir(files, parent, Site::DataDir) {
            Err(error) if error.source.kind() == io::ErrorKind::PermissionDenied => break,
            other => other?,
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub(crate) fn sync_dir(files: &dyn FileSystem, dir: &Path, site: Site) -> Result<(), FileError> {
    let folder = files.open(dir, Open::Folder).map_err(FileError::at("open", dir))?;
    sync(&*folder, dir, site)
}

/// Makes everything on a folder's file system durable.
pub(crate) fn sync_all(files: &dyn FileSystem, dir: &Path, site: Site) -> Result<(), FileError> {
    let folder = files.open(dir, Open::Folder).map_err(FileError::at("open", dir))?;
    folder.sync(Scope::FileSystem, site).map_err(FileError::at(SYNC, dir))
}

/// The names in a folder, as paths, in order.
pub(crate) fn list(files: &dyn FileSystem, dir: &Path) -> Result<Vec<std::path::PathBuf>, FileError> {
    let mut names = files.list(dir).map_err(FileError::at("list", dir))?;
    names.sort_unstable();
    Ok(names.into_iter().map(|name| dir.join(name)).collect())
}

fn beside(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::os::OsFiles;

    #[test]
    fn a_private_file_is_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secrets");
        for content in [&b"one"[..], b"two"] {
            replace_private(&OsFiles, &path, content).unwrap();
            assert_eq!(read(&OsFiles, &path).unwrap().as_deref(), Some(content));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn replace_leaves_the_new_content_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta");
        assert_eq!(read(&OsFiles, &path).unwrap(), None);
        replace(&OsFiles, &path, b"one").unwrap();
        replace(&OsFiles, &path, b"two").unwrap();
        assert_eq!(read(&OsFiles, &path).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(remove(&OsFiles, &path).unwrap());
        assert!(!remove(&OsFiles, &path).unwrap());
    }
}
