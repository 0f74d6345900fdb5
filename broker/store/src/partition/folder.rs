//! `topic-N/` when it is new: whose it is, and the leader epoch that it begins with.
//!
//! ```text
//! partition.metadata         version: 0
//!                            topic_id: <the topic's id as base64url without padding>
//! leader-epoch-checkpoint    epoch 0 from offset 0
//! ```

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flumen_log::epochs::LeaderEpochs;
use flumen_types::{LeaderEpoch, Offset, TopicId, TopicPartition};
use uuid::Uuid;

use crate::error::FileError;
use crate::files::durable_file;
use crate::files::file_system::FileSystem;
use crate::files::site::Site;

pub(crate) const METADATA: &str = "partition.metadata";
pub(crate) const EPOCHS: &str = "leader-epoch-checkpoint";

/// One broker leads all partitions, so the epoch begins once; a log of Kafka's goes on with its own.
pub(crate) const LEADER_EPOCH: LeaderEpoch = LeaderEpoch(0);

/// Makes the folder unless it is there; durable after [`sync`] and a sync of the data directory, be it that of
/// the catalogue.
pub(crate) fn create(
    files: &dyn FileSystem,
    dir: &Path,
    tp: &TopicPartition,
    id: TopicId,
) -> Result<(), FileError> {
    let folder = dir.join(tp.to_string());
    durable_file::create_dir(files, &folder)?;
    durable_file::write(files, &folder.join(METADATA), metadata(id).as_bytes())?;
    let mut epochs = LeaderEpochs::default();
    epochs.note(LEADER_EPOCH, Offset::ZERO);
    durable_file::write(files, &folder.join(EPOCHS), epochs.to_text().as_bytes())
}

/// What its file says of a topic's partition.
pub(crate) fn metadata(id: TopicId) -> String {
    format!("version: 0\ntopic_id: {}\n", URL_SAFE_NO_PAD.encode(id.0.as_bytes()))
}

/// Has a folder say whose it is.
pub(crate) fn claim(files: &dyn FileSystem, folder: &Path, id: TopicId) -> Result<(), FileError> {
    durable_file::replace(files, &folder.join(METADATA), metadata(id).as_bytes())
}

/// Makes what is in a new folder durable.
pub(crate) fn sync(files: &dyn FileSystem, folder: &Path) -> Result<(), FileError> {
    for path in [folder.join(METADATA), folder.join(EPOCHS)] {
        durable_file::sync_if_there(files, &path, Site::PartitionMetadata)?;
    }
    durable_file::sync_dir(files, folder, Site::PartitionNames)
}

/// The topic that a folder belongs to; `None` if it does not say.
pub(crate) fn topic_id(files: &dyn FileSystem, folder: &Path) -> Result<Option<TopicId>, FileError> {
    let content = durable_file::read(files, &folder.join(METADATA))?.unwrap_or_default();
    let text = String::from_utf8_lossy(&content).into_owned();
    let id = text.lines().find_map(|line| line.strip_prefix("topic_id:"));
    let bytes = id.and_then(|id| URL_SAFE_NO_PAD.decode(id.trim()).ok());
    Ok(bytes.and_then(|bytes| Uuid::from_slice(&bytes).ok()).map(TopicId))
}

/// Base offset and bytes of each `.log`, ascending.
pub(crate) fn segments(files: &dyn FileSystem, folder: &Path) -> Result<Vec<(Offset, u64)>, FileError> {
    let mut segments = Vec::new();
    for path in durable_file::list(files, folder)? {
        let name = path.file_name().and_then(|name| name.to_str());
        if let Some(base) = name.and_then(|name| name.strip_suffix(".log")).and_then(parse_offset) {
            let stat = files.stat(&path).map_err(FileError::at("look at", &path))?;
            segments.push((base, stat.length));
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Offsets of the snapshots that are there, ascending.
pub(crate) fn snapshots(files: &dyn FileSystem, folder: &Path) -> Result<Vec<Offset>, FileError> {
    let mut snapshots = Vec::new();
    for path in durable_file::list(files, folder)? {
        let name = path.file_name().and_then(|name| name.to_str());
        snapshots.extend(name.and_then(|name| name.strip_suffix(".snapshot")).and_then(parse_offset));
    }
    snapshots.sort_unstable();
    Ok(snapshots)
}

/// As files are named: in 20 digits.
pub(crate) fn parse_offset(stem: &str) -> Option<Offset> {
    let digits = stem.len() == 20 && stem.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| stem.parse().ok().map(Offset)).flatten()
}

/// `topic-3` taken apart; `None` if it is no partition's name.
pub(crate) fn parse(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    let number: i32 = partition.parse().ok().filter(|number| *number >= 0)?;
    let legal = crate::topic_name::is_name(topic) && number.to_string() == partition;
    legal.then(|| TopicPartition::new(topic, number))
}

/// The state of the producers before an offset.
pub(crate) fn snapshot_path(dir: &Path, offset: Offset) -> std::path::PathBuf {
    dir.join(format!("{:020}.snapshot", offset.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::os::OsFiles;

    #[test]
    fn a_folder_says_whose_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (tp, id) = (TopicPartition::new("a-b", 3), TopicId(Uuid::new_v4()));
        create(&OsFiles, dir.path(), &tp, id).unwrap();
        assert_eq!(topic_id(&OsFiles, &dir.path().join("a-b-3")).unwrap(), Some(id));
        assert_eq!(topic_id(&OsFiles, dir.path()).unwrap(), None);
    }

    #[test]
    fn names_are_taken_apart_at_the_last_dash() {
        assert_eq!(parse("a-b-3"), Some(TopicPartition::new("a-b", 3)));
        for name in ["a", "a-", "a-x", "-1", "a-01", "a-0.abc-delete"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
