//! Which folders of the data directory are whose, seen at open.
//!
//! The catalogue decides. A folder of a topic that was deleted goes, one of nobody is renamed to
//! `-stray` and never removed. What becomes of a directory without a catalogue, says `adopt.rs`.
//!
//! ```text
//! <topic id>-<partition>-delete    waits to be removed; no topic's name in it, which may fill a name
//! <what it was called>-stray
//! ```

use std::path::{Path, PathBuf};

use flumen_types::{PartitionId, TopicId};

use crate::directory::adopt::KRAFT_LOG;
use crate::directory::catalogue::Catalogue;
use crate::error::{FileError, OpenError};
use crate::files::durable_file::{list, sync_dir};
use crate::files::file_system::FileSystem;
use crate::files::site::Site;
use crate::partition::folder;

const DELETING: &str = "-delete";
const STRAY: &str = "-stray";
/// The longest name that a file system takes.
const NAME_BYTES_MAX: usize = 255;

/// Renames the folders that no topic of the catalogue owns; gives back those that are to be removed.
pub(crate) fn sweep(
    files: &dyn FileSystem,
    dir: &Path,
    catalogue: &Catalogue,
) -> Result<Vec<PathBuf>, OpenError> {
    let (mut doomed, mut moved) = (Vec::new(), false);
    for path in list(files, dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()).map(String::from) else { continue };
        if name.ends_with(DELETING) {
            doomed.push(path);
            continue;
        }
        let Some(tp) = folder::parse(&name).filter(|tp| &*tp.topic != KRAFT_LOG) else {
            continue;
        };
        let id = folder::topic_id(files, &path)?;
        let topic = catalogue.topics.get(&*tp.topic).filter(|topic| tp.partition.0 < topic.partitions);
        if let Some(topic) = topic.filter(|topic| id.is_none_or(|id| id == topic.id)) {
            if id.is_none() {
                tracing::warn!(
                    folder = name,
                    "the folder did not say whose it is; by its name it is a topic's"
                );
                folder::claim(files, &path, topic.id)?;
            }
            continue;
        }
        match id.filter(|id| catalogue.deleting.iter().any(|topic| topic.id == *id)) {
            Some(id) => doomed.push(mark_deleted(files, dir, &name, id, tp.partition)?),
            None => put_aside(files, dir, &name)?,
        }
        moved = true;
    }
    if moved {
        sync_dir(files, dir, Site::SweptPartitions)?;
    }
    Ok(doomed)
}

/// Renames the folder of a deleted topic's partition, so that nobody takes it for a partition's.
pub(crate) fn mark_deleted(
    files: &dyn FileSystem,
    dir: &Path,
    name: &str,
    id: TopicId,
    partition: PartitionId,
) -> Result<PathBuf, FileError> {
    let (from, to) =
        (dir.join(name), free_name(files, dir, &format!("{}-{partition}", id.0.simple()), DELETING));
    files.rename(&from, &to).map_err(FileError::at("rename", &from))?;
    Ok(to)
}

/// Renames a folder of nobody, whatever it may be.
pub(crate) fn put_aside(files: &dyn FileSystem, dir: &Path, name: &str) -> Result<(), FileError> {
    let (from, to) = (dir.join(name), free_name(files, dir, name, STRAY));
    files.rename(&from, &to).map_err(FileError::at("rename", &from))?;
    tracing::warn!(folder = %to.display(), "put aside a partition's folder that no topic owns");
    Ok(())
}

/// `name-stray`, or with a number if there is one already; the name is cut to what fits.
fn free_name(files: &dyn FileSystem, dir: &Path, name: &str, suffix: &str) -> PathBuf {
    let mut tails = std::iter::once(suffix.to_string()).chain((1..).map(|n| format!(".{n}{suffix}")));
    loop {
        let tail = tails.next().unwrap_or_default();
        // A folder's name is ASCII here: any byte is a boundary.
        let kept = name.len().min(NAME_BYTES_MAX - tail.len());
        let path = dir.join(format!("{}{tail}", &name[..kept]));
        if !files.exists(&path) {
            return path;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::os::OsFiles;

    #[test]
    fn a_name_that_is_taken_or_too_long_makes_way() {
        let dir = tempfile::tempdir().unwrap();
        let long = format!("{}-17", "x".repeat(249));
        for _ in 0..3 {
            fs::create_dir(dir.path().join(&long)).unwrap();
            put_aside(&OsFiles, dir.path(), &long).unwrap();
        }
        let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(names.filter(|name| name.to_string_lossy().ends_with(STRAY)).count(), 3);
    }
}
