//! The broker's own settings: what its configuration declares, before what was set through the API for this
//! broker, before what was set for all. The latter two are kept in `flumen-brokers.json`.
//!
//! Kafka has them in another order: there what was set through the API wins over the file.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use flumen_store::FileError;
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::config_file::{ConfigFile, ConfigFileError, Table, Texts};
use crate::resource_configs::set;

/// The name of what holds for all brokers.
pub(crate) const ALL: &str = "";

/// One of the places that can say a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    Declared,
    Broker,
    All,
}

pub(crate) struct BrokerConfigs {
    node: String,
    file: ConfigFile,
    declared: Texts,
    state: RwLock<State>,
    changing: Arc<Mutex<()>>,
}

struct State {
    stored: Table,
    in_force: Arc<Texts>,
}

impl BrokerConfigs {
    pub(crate) fn open(dir: &Path, node_id: i32, declared: Texts) -> Result<BrokerConfigs, ConfigFileError> {
        let file = ConfigFile::new(dir, "flumen-brokers.json", "brokers");
        let stored = file.load()?;
        let node = node_id.to_string();
        let in_force = Arc::new(in_force(&stored, &node, &declared));
        let state = RwLock::new(State { stored, in_force });
        Ok(BrokerConfigs { node, file, declared, state, changing: Arc::default() })
    }

    /// What holds, by Kafka's broker keys; not here: what is nowhere said.
    pub(crate) fn in_force(&self) -> Arc<Texts> {
        self.state().in_force.clone()
    }

    pub(crate) fn declares(&self, key: &str) -> bool {
        self.declared.contains_key(key)
    }

    /// What holds and was set through the API.
    pub(crate) fn dynamic(&self) -> Texts {
        dynamic(&self.state().stored, &self.node, &self.declared)
    }

    /// What was set for this broker, or for all.
    pub(crate) fn stored(&self, name: &str) -> Texts {
        self.state().stored.get(name).cloned().unwrap_or_default()
    }

    /// Every value of a key that counts, the one in force first. What is declared hides the others.
    pub(crate) fn layers(&self, key: &str) -> Vec<(Layer, String)> {
        if let Some(value) = self.declared.get(key) {
            return vec![(Layer::Declared, value.clone())];
        }
        let state = self.state();
        let of = |name: &str| state.stored.get(name)?.get(key).cloned();
        let own = of(&self.node).map(|value| (Layer::Broker, value));
        own.into_iter().chain(of(ALL).map(|value| (Layer::All, value))).collect()
    }

    /// Nobody else changes anything until this change is done.
    pub(crate) async fn begin(self: &Arc<Self>) -> Change {
        let changing = self.changing.clone().lock_owned().await;
        Change { stored: self.state().stored.clone(), configs: self.clone(), _changing: changing }
    }

    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Settings that may come to hold.
pub(crate) struct Change {
    configs: Arc<BrokerConfigs>,
    stored: Table,
    _changing: OwnedMutexGuard<()>,
}

impl Change {
    pub(crate) fn texts(&self, name: &str) -> Texts {
        self.stored.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, name: &str, texts: Texts) {
        set(&mut self.stored, name, texts);
    }

    /// What is to hold.
    pub(crate) fn in_force(&self) -> Texts {
        in_force(&self.stored, &self.configs.node, &self.configs.declared)
    }

    /// Of it, what was set through the API.
    pub(crate) fn dynamic(&self) -> Texts {
        dynamic(&self.stored, &self.configs.node, &self.configs.declared)
    }

    /// From now on it holds, and lasts.
    pub(crate) fn save(self) -> Result<(), FileError> {
        self.configs.file.save(&self.stored)?;
        let in_force = Arc::new(self.in_force());
        let mut state = self.configs.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { stored: self.stored, in_force };
        Ok(())
    }
}

fn dynamic(stored: &Table, node: &str, declared: &Texts) -> Texts {
    let of = |name: &str| stored.get(name).into_iter().flatten();
    let all = of(ALL).chain(of(node)).filter(|(key, _)| !declared.contains_key(*key));
    all.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn in_force(stored: &Table, node: &str, declared: &Texts) -> Texts {
    let mut all = dynamic(stored, node, declared);
    all.extend(declared.iter().map(|(key, value)| (key.clone(), value.clone())));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
    }

    #[tokio::test]
    async fn what_is_declared_wins_over_what_was_set_for_one_and_that_over_what_was_set_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let open = |declared: &[(&str, &str)]| {
            Arc::new(BrokerConfigs::open(dir.path(), 1, texts(declared)).unwrap())
        };
        let configs = open(&[("a", "declared")]);
        let mut change = configs.begin().await;
        change.set(ALL, texts(&[("a", "all"), ("b", "all"), ("c", "all")]));
        change.set("1", texts(&[("a", "one"), ("b", "one")]));
        change.set("2", texts(&[("c", "another broker")]));
        let expected = texts(&[("a", "declared"), ("b", "one"), ("c", "all")]);
        assert_eq!(change.in_force(), expected);
        assert!(!configs.in_force().contains_key("b"), "it is not done yet");
        change.save().unwrap();
        for configs in [configs, open(&[("a", "declared")])] {
            assert_eq!(*configs.in_force(), expected);
            assert_eq!(configs.dynamic(), texts(&[("b", "one"), ("c", "all")]));
            assert_eq!(configs.layers("a"), [(Layer::Declared, "declared".into())]);
            assert_eq!(configs.layers("b"), [(Layer::Broker, "one".into()), (Layer::All, "all".into())]);
            assert_eq!(configs.layers("d"), []);
        }
        // It is declared no more: what was set before counts again.
        assert_eq!(open(&[]).in_force()["a"], "one");
    }
}
