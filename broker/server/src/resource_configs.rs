//! What was set through the API for resources of one type, and what follows from it.
//!
//! Invariants: durable before a change is acknowledged or holds. A change is made to its end, though whoever
//! asked may have gone. Settings of a resource are there whether or not it is, as with Kafka.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use flumen_store::FileError;
use tokio::sync::Mutex;

use crate::config_file::{ConfigFile, ConfigFileError, Table, Texts};

/// What a resource's settings mean, by its name.
type Meaning<T> = Box<dyn Fn(&str, &Texts) -> T + Send + Sync>;

/// `T` is what a resource's settings mean.
pub(crate) struct ResourceConfigs<T>(Arc<Inner<T>>);

struct Inner<T> {
    file: ConfigFile,
    meaning: Meaning<T>,
    own: RwLock<BTreeMap<String, (Texts, Arc<T>)>>,
    /// Held while the file is written.
    writing: Arc<Mutex<()>>,
}

impl<T: Send + Sync + 'static> ResourceConfigs<T> {
    pub(crate) fn open(
        file: ConfigFile,
        meaning: impl Fn(&str, &Texts) -> T + Send + Sync + 'static,
    ) -> Result<ResourceConfigs<T>, ConfigFileError> {
        let meaning = Box::new(meaning);
        let inner = Inner { meaning, own: RwLock::default(), writing: Arc::default(), file };
        for (name, texts) in inner.file.load()? {
            inner.put(&name, texts);
        }
        Ok(ResourceConfigs(Arc::new(inner)))
    }

    /// What a resource's settings mean, if it has any.
    pub(crate) fn meaning(&self, name: &str) -> Option<Arc<T>> {
        self.0.own().get(name).map(|(_, meaning)| meaning.clone())
    }

    /// Of every resource that has set something, by name.
    pub(crate) fn meanings(&self) -> Vec<Arc<T>> {
        self.0.own().values().map(|(_, meaning)| meaning.clone()).collect()
    }

    /// What a resource has set.
    pub(crate) fn texts(&self, name: &str) -> Texts {
        self.0.own().get(name).map(|(texts, _)| texts.clone()).unwrap_or_default()
    }

    /// The resources that have set something.
    pub(crate) fn names(&self) -> Vec<String> {
        self.0.own().keys().cloned().collect()
    }

    /// Changes what a resource has set; whatever `edit` refuses changes nothing.
    pub(crate) async fn edit<E: From<FileError>>(
        &self,
        name: &str,
        validate_only: bool,
        edit: impl FnOnce(&mut Texts) -> Result<(), E>,
    ) -> Result<(), E> {
        let writing = self.0.writing.clone().lock_owned().await;
        let mut texts = self.texts(name);
        edit(&mut texts)?;
        if validate_only {
            return Ok(());
        }
        let (inner, name) = (self.0.clone(), name.to_string());
        let changed = tokio::task::spawn_blocking(move || {
            let mut all = inner.all();
            set(&mut all, &name, texts.clone());
            inner.file.save(&all)?;
            inner.put(&name, texts);
            drop(writing);
            Ok::<_, FileError>(())
        });
        match changed.await {
            Ok(changed) => Ok(changed?),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

impl<T> Inner<T> {
    fn own(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, (Texts, Arc<T>)>> {
        self.own.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Table {
        self.own().iter().map(|(name, (texts, _))| (name.clone(), texts.clone())).collect()
    }

    fn put(&self, name: &str, texts: Texts) {
        let meaning = Arc::new((self.meaning)(name, &texts));
        let mut own = self.own.write().unwrap_or_else(PoisonError::into_inner);
        match texts.is_empty() {
            true => drop(own.remove(name)),
            false => drop(own.insert(name.into(), (texts, meaning))),
        }
    }
}

/// Who has set nothing is not there.
pub(crate) fn set(all: &mut Table, name: &str, texts: Texts) {
    match texts.is_empty() {
        true => drop(all.remove(name)),
        false => drop(all.insert(name.into(), texts)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_set_is_there_after_a_restart_and_goes_when_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let file = ConfigFile::new(dir.path(), "flumen-things.json", "things");
            ResourceConfigs::open(file, |name, texts| format!("{name}: {}", texts.len())).unwrap()
        };
        let configs = open();
        let set = |texts: &mut Texts| {
            texts.insert("k".into(), "v".into());
            Ok::<_, FileError>(())
        };
        configs.edit("a", true, set).await.unwrap();
        assert!(configs.meaning("a").is_none(), "it was only tried");
        configs.edit("a", false, set).await.unwrap();
        for configs in [&configs, &open()] {
            assert_eq!(configs.meaning("a").unwrap().as_str(), "a: 1");
            assert_eq!(configs.texts("a")["k"], "v");
            assert!(configs.meaning("b").is_none());
        }
        let clear = |texts: &mut Texts| {
            texts.clear();
            Ok::<_, FileError>(())
        };
        configs.edit("a", false, clear).await.unwrap();
        assert!(open().names().is_empty());
    }
}
