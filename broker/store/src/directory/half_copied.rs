//! Refuses a data directory of which a part is not there, before anything in it is changed.
//!
//! Whoever copies a directory while a broker runs, or forgets half of it, is told so. To begin an empty log, or a
//! directory of a new cluster, in place of what is missing would be a guess. `flumen log repair` does that for
//! who has nothing else.

use std::path::Path;

use flumen_types::{Offset, TopicPartition};

use crate::directory::catalogue::{self, Catalogue};
use crate::directory::meta;
use crate::error::{FileError, OpenError};
use crate::files::file_system::FileSystem;
use crate::files::{checkpoints, durable_file};
use crate::partition::folder;

/// Partitions, and nothing that says whose.
pub(crate) fn refuse_without_meta(files: &dyn FileSystem, dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(meta::NAME);
    if files.exists(&path) || !(files.exists(&dir.join(catalogue::NAME)) || holds_partitions(files, dir)?) {
        return Ok(());
    }
    let reason = "it is missing, though there are partitions beside it: was the directory copied in part? Put it back; or have `flumen log repair` write a new one, with the id of a new cluster";
    Err(OpenError::Malformed { path, reason: reason.into() })
}

/// Folders that are missing, or another topic's, where records were durable.
pub(crate) fn refuse_without_folders(
    files: &dyn FileSystem,
    dir: &Path,
    catalogue: &Catalogue,
) -> Result<(), OpenError> {
    let points = checkpoints::load(files, dir, checkpoints::RECOVERY_POINTS)?;
    for topic in catalogue.topics.values() {
        for n in 0..topic.partitions {
            let tp = TopicPartition::new(topic.name.as_str(), n);
            let Some(point) = points.get(&tp).filter(|point| **point > Offset::ZERO) else { continue };
            let path = dir.join(tp.to_string());
            let reason = if !files.is_dir(&path) {
                format!(
                    "the folder is missing, though records up to offset {} were in it: put it back; or have `flumen log repair` begin an empty one at {point}",
                    point.plus(-1)
                )
            } else if folder::topic_id(files, &path)?.is_some_and(|id| id != topic.id) {
                "the folder is of another topic than the one of its name: were folders exchanged? Put the right one back; `flumen log verify` says more".into()
            } else {
                continue;
            };
            return Err(OpenError::Malformed { path, reason });
        }
    }
    Ok(())
}

fn holds_partitions(files: &dyn FileSystem, dir: &Path) -> Result<bool, FileError> {
    let is_one = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(folder::parse).is_some() && files.is_dir(path)
    };
    Ok(durable_file::list(files, dir)?.iter().any(|path| is_one(path)))
}
