//! Takes over a data directory that Apache Kafka wrote: which topics there are, from its folders, and what
//! is set on them, from the log of its controller where that lies in the same directory.
//!
//! ```text
//! __cluster_metadata-0/  00000000000000001234-0000000003.checkpoint   a snapshot: all below 1234
//!                        00000000000000000000.log                     records from there on
//! ```
//!
//! Invariants: nothing of Kafka's is changed here; the catalogue is saved by whoever called. A folder whose
//! topic the controller does not know is left to be put aside, as Kafka does. Where nothing is known of a
//! topic's settings it keeps everything until they are set.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flumen_log::cluster_metadata::ClusterMetadata;
use flumen_log::keys;
use flumen_records::batches;
use flumen_types::{Offset, TopicId};

use crate::directory::catalogue::{Catalogue, TopicRecord};
use crate::error::{FileError, OpenError};
use crate::files::durable_file::{self, list};
use crate::files::file_system::{FileSystem, Open};
use crate::partition::folder;
use crate::segment::breakage;

/// The log of Kafka's own controller.
pub(crate) const KRAFT_LOG: &str = "__cluster_metadata";

pub(crate) fn adopt(files: &Arc<dyn FileSystem>, dir: &Path) -> Result<Catalogue, OpenError> {
    let mut catalogue = Catalogue::new(files, dir);
    let files = &**files;
    let metadata = read_metadata(files, &dir.join(format!("{KRAFT_LOG}-0")))?;
    for path in list(files, dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let Some(tp) = name.and_then(folder::parse).filter(|tp| &*tp.topic != KRAFT_LOG) else {
            continue;
        };
        let Some(id) = folder::topic_id(files, &path)? else { continue };
        refuse_old_formats(files, &path)?;
        let known = metadata.as_ref().and_then(|metadata| find(metadata, id));
        if metadata.is_some() && known.is_none() {
            continue;
        }
        let name = tp.topic.to_string();
        let topic = catalogue.topics.entry(name.clone()).or_insert_with(|| {
            let (partitions, configs) = known.unwrap_or_else(|| (0, keep_everything(&name)));
            TopicRecord { name, id, partitions, configs }
        });
        topic.partitions = topic.partitions.max(tp.partition.0 + 1);
    }
    tell_missing(files, dir, &catalogue);
    Ok(catalogue)
}

fn find(metadata: &ClusterMetadata, id: TopicId) -> Option<(i32, BTreeMap<String, String>)> {
    let (_, topic, mut configs) = metadata.topics().find(|(known, ..)| *known == id)?;
    configs.retain(|key, value| {
        let known = keys::find(key).is_some();
        if !known {
            tracing::warn!(
                topic = topic.name,
                key,
                value,
                "adopting a topic without a setting that has no meaning here"
            );
        }
        known
    });
    Some((topic.partitions, configs))
}

fn keep_everything(topic: &str) -> BTreeMap<String, String> {
    tracing::warn!(
        topic,
        "adopting a topic from its folders, which do not hold its settings: it keeps everything until they are set"
    );
    let (key, value) = match topic {
        "__consumer_offsets" | "__transaction_state" => ("cleanup.policy", "compact"),
        _ => ("retention.ms", "-1"),
    };
    [(key.to_string(), value.to_string())].into()
}

/// Partitions without a folder come to be empty. That is right for one that Kafka had not made yet, and
/// wrong where `log.dirs` named several folders.
fn tell_missing(files: &dyn FileSystem, dir: &Path, catalogue: &Catalogue) {
    for topic in catalogue.topics.values() {
        let missing: Vec<i32> = (0..topic.partitions)
            .filter(|n| !files.is_dir(&dir.join(format!("{}-{n}", topic.name))))
            .collect();
        if !missing.is_empty() {
            tracing::warn!(
                topic = topic.name,
                partitions = ?missing,
                "partitions of an adopted topic have no folder here and begin empty; if log.dirs had several folders, stop and move them together first"
            );
        }
    }
}

/// `None` where the controller kept its log elsewhere.
fn read_metadata(files: &dyn FileSystem, folder: &Path) -> Result<Option<ClusterMetadata>, OpenError> {
    if !files.is_dir(folder) {
        return Ok(None);
    }
    let (mut snapshots, mut logs) = (Vec::new(), Vec::new());
    for path in list(files, folder)? {
        let Some((stem, end)) =
            path.file_name().and_then(|name| name.to_str()).and_then(|n| n.rsplit_once('.'))
        else {
            continue;
        };
        // Both begin with an offset of twenty digits.
        let Some(offset) = stem.get(..20).and_then(|digits| digits.parse::<i64>().ok()) else { continue };
        match end {
            "checkpoint" => snapshots.push((Offset(offset), path)),
            "log" => logs.push((Offset(offset), path)),
            _ => {}
        }
    }
    logs.sort();
    let mut metadata = ClusterMetadata::default();
    let snapshot = snapshots.into_iter().max();
    let from = snapshot.as_ref().map_or(Offset::ZERO, |(end, _)| *end);
    if let Some((_, path)) = snapshot {
        take(files, &mut metadata, &path, Offset::ZERO)?;
    }
    for (_, path) in logs {
        take(files, &mut metadata, &path, from)?;
    }
    Ok(Some(metadata))
}

/// Takes in the batches of a file that begin at `from` or behind it, up to the first that is not whole:
/// what a kill has torn there was never acknowledged.
fn take(
    files: &dyn FileSystem,
    metadata: &mut ClusterMetadata,
    path: &Path,
    from: Offset,
) -> Result<(), OpenError> {
    let content = Bytes::from(durable_file::read(files, path)?.unwrap_or_default());
    for batch in batches(content) {
        let taken = batch
            .map_err(Into::into)
            .and_then(|batch| if batch.header().base_offset < from { Ok(()) } else { metadata.take(&batch) });
        if let Err(error) = taken {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(path = %path.display(), error, "the controller's log ends here; topics and settings are as of then");
            break;
        }
    }
    Ok(())
}

/// What Kafka wrote before 0.11 is not read here; better said now than to the first reader.
fn refuse_old_formats(files: &dyn FileSystem, folder: &Path) -> Result<(), OpenError> {
    for path in list(files, folder)? {
        if path.extension().is_some_and(|extension| extension == "log") {
            let format = files
                .open(&path, Open::Read)
                .and_then(|file| breakage::old_format_at(&*file, 0, file.stat()?.length))
                .map_err(FileError::at("read", &path))?;
            if let Some(format) = format {
                return Err(FileError::at("read", &path)(breakage::old_format(format, 0)).into());
            }
        }
    }
    Ok(())
}
