//! `flumen-groups.json`: what was set for groups through the API.
//!
//! ```text
//! { "version": 1, "groups": { name: { "share.auto.offset.reset": "earliest" } } }
//! ```
//!
//! Invariants: replaced as a whole, durable before a change is acknowledged or holds. Settings of a group
//! are there whether or not the group is, as with Kafka.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use flumen_groups::share::{Defaults, Settings};
use flumen_store::{FileError, OsFiles, durable_file};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Mutex;

const NAME: &str = "flumen-groups.json";
const VERSION: u32 = 1;

/// A group's own settings as they were written.
pub(crate) type Texts = BTreeMap<String, String>;

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum GroupConfigsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} cannot be understood: {why}")]
    Content { path: PathBuf, why: String },
}

#[derive(Default, Serialize, Deserialize)]
struct Document {
    version: u32,
    groups: BTreeMap<String, Texts>,
}

pub(crate) struct GroupConfigs {
    path: PathBuf,
    defaults: Defaults,
    /// Of all groups that have set nothing.
    common: Arc<Settings>,
    own: RwLock<HashMap<String, (Texts, Arc<Settings>)>>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

impl GroupConfigs {
    pub(crate) fn open(dir: &std::path::Path, defaults: Defaults) -> Result<Self, GroupConfigsError> {
        let path = dir.join(NAME);
        let document = match durable_file::read(&OsFiles, &path)? {
            Some(content) => {
                let wrong = |why: String| GroupConfigsError::Content { path: path.clone(), why };
                let document: Document =
                    serde_json::from_slice(&content).map_err(|error| wrong(error.to_string()))?;
                if document.version != VERSION {
                    return Err(wrong(format!("version {} is not known", document.version)));
                }
                document
            }
            None => Document::default(),
        };
        let resolved = |texts: Texts| {
            let settings = Arc::new(Settings::resolve(&texts, &defaults));
            (texts, settings)
        };
        let own = document.groups.into_iter().map(|(group, texts)| (group, resolved(texts))).collect();
        let common = Arc::new(Settings::resolve(&Texts::new(), &defaults));
        Ok(GroupConfigs { path, defaults, common, own: RwLock::new(own), writing: Mutex::default() })
    }

    pub(crate) fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// What holds for a group.
    pub(crate) fn settings(&self, group: &str) -> Arc<Settings> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        own.get(group).map_or_else(|| self.common.clone(), |(_, settings)| settings.clone())
    }

    /// What a group has set itself.
    pub(crate) fn own(&self, group: &str) -> Texts {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        own.get(group).map(|(texts, _)| texts.clone()).unwrap_or_default()
    }

    /// The groups that have set something.
    pub(crate) fn names(&self) -> Vec<String> {
        self.all().into_keys().collect()
    }

    fn all(&self) -> BTreeMap<String, Texts> {
        let own = self.own.read().unwrap_or_else(PoisonError::into_inner);
        own.iter().map(|(group, (texts, _))| (group.clone(), texts.clone())).collect()
    }

    /// Replaces what a group has set; whatever `edit` refuses changes nothing.
    pub(crate) async fn edit<E: From<FileError>>(
        &self,
        group: &str,
        validate_only: bool,
        edit: impl FnOnce(&mut Texts) -> Result<(), E>,
    ) -> Result<(), E> {
        let _writing = self.writing.lock().await;
        let mut texts = self.own(group);
        edit(&mut texts)?;
        if validate_only {
            return Ok(());
        }
        let mut document = Document { version: VERSION, groups: self.all() };
        match texts.is_empty() {
            true => drop(document.groups.remove(group)),
            false => drop(document.groups.insert(group.into(), texts.clone())),
        }
        let content = serde_json::to_vec_pretty(&document).expect("texts are JSON");
        let path = self.path.clone();
        let saved =
            tokio::task::spawn_blocking(move || durable_file::replace_private(&OsFiles, &path, &content));
        match saved.await {
            Ok(saved) => saved?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        let settings = Arc::new(Settings::resolve(&texts, &self.defaults));
        match texts.is_empty() {
            true => drop(own.remove(group)),
            false => drop(own.insert(group.into(), (texts, settings))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flumen_groups::share::Begin;

    use super::*;

    #[tokio::test]
    async fn what_was_set_is_there_after_a_restart_and_goes_when_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let open = || GroupConfigs::open(dir.path(), Defaults::default()).unwrap();
        let configs = open();
        let set = |texts: &mut Texts| {
            texts.insert("share.auto.offset.reset".into(), "earliest".into());
            Ok::<_, FileError>(())
        };
        configs.edit("g", true, set).await.unwrap();
        assert_eq!(configs.settings("g").begin, Begin::Latest, "it was only tried");
        configs.edit("g", false, set).await.unwrap();
        for configs in [&configs, &open()] {
            assert_eq!(configs.settings("g").begin, Begin::Earliest);
            assert_eq!(configs.settings("other").begin, Begin::Latest);
        }
        let clear = |texts: &mut Texts| {
            texts.clear();
            Ok::<_, FileError>(())
        };
        configs.edit("g", false, clear).await.unwrap();
        assert!(open().names().is_empty());
    }
}
