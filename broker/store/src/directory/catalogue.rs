//! `flumen-topics.json`: which topics there are, the truth about what the folders should be.
//!
//! ```text
//! { "version": 1,
//!   "topics":   [ { "name", "id", "partitions", "configs": { key: value } } ],
//!   "deleting": [ the same, until their folders are gone ] }
//! ```
//!
//! Invariants: replaced as a whole, durable before a change is acknowledged. A topic is in
//! `deleting` from the moment its deletion counts until nothing of it is on disk, and in the file until
//! the change behind that, so that a crash in between cannot bring it back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_types::{TopicId, TopicPartition};
use serde::{Deserialize, Serialize};

use crate::error::{FileError, OpenError};
use crate::files::durable_file;
use crate::files::file_system::FileSystem;
use crate::topic_name::is_name;

pub(crate) const NAME: &str = "flumen-topics.json";
const VERSION: u32 = 1;

/// A topic as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicRecord {
    pub name: String,
    pub id: TopicId,
    pub partitions: i32,
    /// What was set on the topic; everything else follows the broker's defaults.
    #[serde(default)]
    pub configs: BTreeMap<String, String>,
}

#[derive(Clone)]
pub(crate) struct Catalogue {
    files: Arc<dyn FileSystem>,
    path: PathBuf,
    pub(crate) topics: BTreeMap<String, TopicRecord>,
    pub(crate) deleting: Vec<TopicRecord>,
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    topics: Vec<TopicRecord>,
    #[serde(default)]
    deleting: Vec<TopicRecord>,
}

impl Catalogue {
    /// `None` when the directory has no such file: it is new, or Kafka's.
    pub(crate) fn load(files: &Arc<dyn FileSystem>, dir: &Path) -> Result<Option<Catalogue>, OpenError> {
        let path = dir.join(NAME);
        let Some(content) = durable_file::read(&**files, &path)? else { return Ok(None) };
        let malformed = |reason: String| OpenError::Malformed { path: path.clone(), reason };
        // The version first: a newer document may not read as ours.
        let value: serde_json::Value =
            serde_json::from_slice(&content).map_err(|e| malformed(e.to_string()))?;
        let version = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if version > u64::from(VERSION) {
            let found = version.to_string();
            return Err(OpenError::NewerVersion { path, key: "version", found, known: VERSION });
        }
        let document: Document = serde_json::from_value(value).map_err(|e| malformed(e.to_string()))?;
        let mut topics = BTreeMap::new();
        for topic in document.topics {
            if topic.partitions < 1 || !is_name(&topic.name) {
                return Err(malformed(format!(
                    "topic \"{}\" with {} partitions cannot be",
                    topic.name, topic.partitions
                )));
            }
            if let Some(twice) = topics.insert(topic.name.clone(), topic) {
                return Err(malformed(format!("topic \"{}\" is there twice", twice.name)));
            }
        }
        Ok(Some(Catalogue { files: files.clone(), path, topics, deleting: document.deleting }))
    }

    /// Out of the way, so that the next open adopts the directory anew.
    pub(crate) fn put_away(files: &dyn FileSystem, dir: &Path) -> Result<(), OpenError> {
        let (path, to) = (dir.join(NAME), dir.join(format!("{NAME}.handed-over")));
        Ok(files.rename(&path, &to).map_err(FileError::at("rename", &path))?)
    }

    pub(crate) fn new(files: &Arc<dyn FileSystem>, dir: &Path) -> Catalogue {
        let (files, path) = (files.clone(), dir.join(NAME));
        Catalogue { files, path, topics: BTreeMap::new(), deleting: Vec::new() }
    }

    /// A new topic, or one as it is from now on.
    pub(crate) fn put(&mut self, topic: TopicRecord) {
        self.topics.insert(topic.name.clone(), topic);
    }

    pub(crate) fn begin_deletion(&mut self, topic: &TopicRecord) {
        self.deleting.extend(self.topics.remove(&topic.name));
    }

    /// Nothing of it is on the disk any more.
    pub(crate) fn end_deletion(&mut self, topic: &TopicRecord) {
        self.deleting.retain(|deleted| deleted.id != topic.id);
    }

    /// Whether a topic of it has this partition.
    pub(crate) fn has(&self, tp: &TopicPartition) -> bool {
        self.topics.get(&*tp.topic).is_some_and(|topic| (0..topic.partitions).contains(&tp.partition.0))
    }

    /// Whether there is no file yet.
    pub(crate) fn is_unsaved(&self) -> bool {
        !self.files.exists(&self.path)
    }

    /// Makes a change that is durable when this returns; if it cannot be saved, nothing has changed.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Catalogue)) -> Result<(), FileError> {
        let mut changed = self.clone();
        change(&mut changed);
        if let Err(error) = changed.save() {
            // It may have been written and only not synced: a refused change must not come true at the
            // next start. If this fails too, the file is as likely the old one.
            let _ = self.save();
            return Err(error);
        }
        *self = changed;
        Ok(())
    }

    /// Durable when this returns.
    fn save(&self) -> Result<(), FileError> {
        let document = Document {
            version: VERSION,
            topics: self.topics.values().cloned().collect(),
            deleting: self.deleting.clone(),
        };
        let text = serde_json::to_vec_pretty(&document).map_err(std::io::Error::other);
        durable_file::replace(&*self.files, &self.path, &text.map_err(FileError::at("encode", &self.path))?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::os::OsFiles;

    fn files() -> Arc<dyn FileSystem> {
        Arc::new(OsFiles)
    }

    fn record(name: &str) -> TopicRecord {
        TopicRecord {
            name: name.into(),
            id: TopicId(uuid::Uuid::new_v4()),
            partitions: 2,
            configs: [("cleanup.policy".to_string(), "compact".to_string())].into(),
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Catalogue::load(&files(), dir.path()).unwrap().is_none());
        let mut catalogue = Catalogue::new(&files(), dir.path());
        catalogue.topics.insert("a".into(), record("a"));
        catalogue.deleting.push(record("b"));
        catalogue.save().unwrap();
        let loaded = Catalogue::load(&files(), dir.path()).unwrap().unwrap();
        assert_eq!(loaded.topics, catalogue.topics);
        assert_eq!(loaded.deleting, catalogue.deleting);
    }

    #[test]
    fn a_newer_or_garbled_file_is_refused() {
        for (text, says) in [
            (r#"{"version": 2, "subjects": []}"#, "newer Flumen"),
            (r#"{"version": 1, "topics": ["#, "EOF"),
            (
                r#"{"version":1,"topics":[{"name":"../x","id":"00000000-0000-0000-0000-000000000000","partitions":1}]}"#,
                "cannot be",
            ),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(NAME), text).unwrap();
            let refused = Catalogue::load(&files(), dir.path()).err().unwrap().to_string();
            assert!(refused.contains(says), "{refused}");
        }
    }
}
