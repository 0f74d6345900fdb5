//! The data directory as a whole, and each partition in it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_log::checkpoint::{self, Offsets};
use flumen_log::config::TopicConfig;
use flumen_types::{Offset, TopicPartition};

use crate::directory::adopt::KRAFT_LOG;
use crate::directory::catalogue::Catalogue;
use crate::directory::meta;
use crate::directory::store::CLEAN;
use crate::error::{FileError, OpenError};
use crate::files::file_system::FileSystem;
use crate::files::os::OsFiles;
use crate::files::{checkpoints, dir_lock, durable_file};
use crate::partition::folder;
use crate::survey::partition::{Facts, walk};
use crate::survey::read_only::{ReadOnly, irregular};
use crate::survey::{Finding, Question, Remedy, Surveyed};

/// Looks through all of it; what cannot be read at all is an error.
pub fn survey(question: Question<'_>) -> Result<Surveyed, OpenError> {
    let in_use = dir_lock::is_held(&*question.files, &question.dir)?;
    survey_if(in_use, question)
}

/// The same for who knows whether anybody else uses it.
pub(crate) fn survey_if(in_use: bool, mut question: Question<'_>) -> Result<Surveyed, OpenError> {
    let dir = question.dir.clone();
    let raw = question.files.clone();
    for odd in irregular(&*raw, &dir)? {
        tell_irregular(odd, &mut question);
    }
    // Whatever the store's parts do with it.
    question.files = Arc::new(ReadOnly(question.files));
    let files = question.files.clone();
    let mut surveyed = Surveyed { in_use, ..Surveyed::default() };
    look_at_meta(&dir, &mut question)?;
    let catalogue = look_at_catalogue(&dir, &mut question)?;
    let points = look_at_checkpoint(&dir, checkpoints::RECOVERY_POINTS, &mut question)?;
    for name in [checkpoints::STARTS, checkpoints::CLEANED] {
        look_at_checkpoint(&dir, name, &mut question)?;
    }
    let clean = files.exists(&dir.join(CLEAN)) && !in_use;
    let folders = partitions(&*files, &dir)?;
    if let Some(catalogue) = &catalogue {
        look_for_missing(&dir, catalogue, &folders, &points, &mut question)?;
    }
    for tp in folders {
        let recovery_point = points.get(&tp).copied();
        let compacted = catalogue.as_ref().is_none_or(|catalogue| is_compacted(catalogue, &tp));
        let path = dir.join(tp.to_string());
        if let Some(catalogue) = &catalogue {
            look_at_owner(&path, &tp, catalogue, &mut question)?;
        }
        for odd in irregular(&*raw, &path)? {
            tell_irregular(odd, &mut question);
        }
        surveyed.partitions += 1;
        let facts = Facts { tp, compacted, recovery_point, clean, in_use };
        match walk(&facts, &path, &mut question, &mut surveyed) {
            Err(error) if in_use && error.source.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(surveyed)
}

fn tell(question: &mut Question<'_>, path: PathBuf, what: impl Into<String>, remedy: Remedy) {
    (question.found)(Finding { path, position: None, what: what.into(), lost: None, remedy });
}

fn tell_irregular(path: PathBuf, question: &mut Question<'_>) {
    let what = "it is no regular file (a folder, a pipe, a socket or a device) and was passed over";
    tell(question, path.clone(), what, Remedy::SetAside(vec![path]));
}

fn look_at_meta(dir: &Path, question: &mut Question<'_>) -> Result<(), FileError> {
    let path = dir.join(meta::NAME);
    if !question.files.exists(&path) {
        let what = "it is missing: a directory that holds partitions says whose it is";
        let content = meta::blank().into_bytes();
        tell(question, path.clone(), what, Remedy::Write { path, content });
    } else if let Some(why) = meta::refusal(&*question.files, dir)? {
        // With an id made anew the cluster would be another one: a person has to say what it was.
        tell(question, path, format!("no broker starts with it: {why}"), Remedy::None);
    }
    Ok(())
}

fn look_at_catalogue(dir: &Path, question: &mut Question<'_>) -> Result<Option<Catalogue>, OpenError> {
    match Catalogue::load(&question.files, dir) {
        Err(OpenError::Malformed { path, reason }) => {
            let what = format!(
                "{reason}; without it the next start takes the topics from their folders, and they keep everything until they are set anew"
            );
            tell(question, path.clone(), what, Remedy::SetAside(vec![path]));
            Ok(None)
        }
        loaded => loaded,
    }
}

fn look_at_checkpoint(dir: &Path, name: &str, question: &mut Question<'_>) -> Result<Offsets, OpenError> {
    let path = dir.join(name);
    let content = durable_file::read(&*question.files, &path)?.unwrap_or_default();
    // Kafka makes them before it has anything to say.
    if content.is_empty() {
        return Ok(Offsets::new());
    }
    match checkpoint::read_offsets(&String::from_utf8_lossy(&content)) {
        Ok(offsets) => Ok(offsets),
        Err(error) => {
            tell(question, path.clone(), format!("it cannot be read: {error}"), Remedy::SetAside(vec![path]));
            Ok(Offsets::new())
        }
    }
}

fn look_for_missing(
    dir: &Path,
    catalogue: &Catalogue,
    folders: &BTreeSet<TopicPartition>,
    points: &Offsets,
    question: &mut Question<'_>,
) -> Result<(), OpenError> {
    for topic in catalogue.topics.values() {
        for n in 0..topic.partitions {
            let tp = TopicPartition::new(topic.name.as_str(), n);
            let at = points.get(&tp).copied().unwrap_or(Offset::ZERO);
            if !folders.contains(&tp) && at > Offset::ZERO {
                (question.found)(Finding {
                    path: dir.join(tp.to_string()),
                    position: None,
                    what: format!("the folder is missing; it held records up to offset {}", at.plus(-1)),
                    lost: Some(Offset::ZERO..at),
                    remedy: Remedy::BeginEmpty { tp, id: topic.id, at },
                });
            }
        }
    }
    Ok(())
}

fn look_at_owner(
    path: &Path,
    tp: &TopicPartition,
    catalogue: &Catalogue,
    question: &mut Question<'_>,
) -> Result<(), OpenError> {
    let Some(topic) = catalogue.topics.get(&*tp.topic).filter(|topic| tp.partition.0 < topic.partitions)
    else {
        let what = "the folder of no topic: the next start renames it, with -stray behind its name";
        tell(question, path.to_path_buf(), what, Remedy::None);
        return Ok(());
    };
    match folder::topic_id(&*question.files, path)? {
        None => {
            let file = path.join(folder::METADATA);
            let content = folder::metadata(topic.id).into_bytes();
            let what = "it is missing or does not say whose the folder is";
            tell(question, file.clone(), what, Remedy::Write { path: file, content });
        }
        Some(id) if id != topic.id => {
            let what = format!(
                "the folder says that it is of topic {}, not of {}: were folders exchanged, or is it of a topic that was deleted?",
                id.0, topic.id.0
            );
            tell(question, path.to_path_buf(), what, Remedy::None);
        }
        Some(_) => {}
    }
    Ok(())
}

fn is_compacted(catalogue: &Catalogue, tp: &TopicPartition) -> bool {
    let Some(topic) = catalogue.topics.get(&*tp.topic) else { return true };
    let config = TopicConfig::resolve(&topic.configs, &Default::default());
    config.map_or(true, |config| config.cleanup_policy.compact)
}

/// Folders of partitions, but for the log of Kafka's controller.
fn partitions(files: &dyn FileSystem, dir: &Path) -> Result<BTreeSet<TopicPartition>, FileError> {
    let mut found = BTreeSet::new();
    for path in durable_file::list(files, dir)? {
        let name = path.file_name().and_then(|name| name.to_str());
        let tp = name.and_then(folder::parse).filter(|tp| &*tp.topic != KRAFT_LOG);
        if files.is_dir(&path) {
            found.extend(tp);
        }
    }
    Ok(found)
}

/// Whether it looks like a data directory, so that nobody repairs a home folder.
pub(crate) fn is_data_directory(files: &dyn FileSystem, dir: &Path) -> bool {
    let known = [meta::NAME, crate::directory::catalogue::NAME, checkpoints::RECOVERY_POINTS];
    known.iter().any(|name| files.exists(&dir.join(name)))
}

/// Whether a process uses the directory; says so without writing to it.
pub fn is_in_use(dir: &Path) -> Result<bool, OpenError> {
    dir_lock::is_held(&OsFiles, dir)
}
