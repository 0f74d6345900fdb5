//! All plugins of a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen_types::Offset;
use futures::future::join_all;
use thiserror::Error;

use crate::cache::Cache;
use crate::check::check;
use crate::component::Components;
use crate::guest::rehearse;
use crate::io::Log;
use crate::plugin::{Plugin, Version};
use crate::pump::Progress;
use crate::status::Board;
use crate::{
    CheckError, ComponentError, Databases, Done, PluginInfo, PluginSpec, PluginStatus, State, WasmRef, lock,
};

#[derive(Clone, Debug)]
pub struct Options {
    /// Where compiled components are kept.
    pub cache_dir: PathBuf,
}

#[derive(Debug, Error)]
pub enum StartError {
    #[error("{name}: {error}")]
    Check { name: String, error: CheckError },
    #[error("{0} runs already")]
    Runs(String),
}

/// Why a plugin was not replaced; the one that ran goes on.
#[derive(Debug, Error)]
pub enum ReplaceError {
    #[error("{name}: {error}")]
    Check { name: String, error: CheckError },
    #[error("there is no plugin {0}")]
    Unknown(String),
    #[error("{name}: {reason}; the one that ran goes on")]
    Refused { name: String, reason: String },
}

/// Runs plugins. Its methods are called on a tokio runtime, the one that its pumps then run on.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    components: Components,
    log: Arc<dyn Log>,
    databases: Mutex<Databases>,
    plugins: Mutex<BTreeMap<String, Arc<Entry>>>,
}

struct Entry {
    /// Held through a swap or a stop.
    plugin: tokio::sync::Mutex<Plugin>,
    shown: Mutex<Version>,
    board: Arc<Board>,
    progress: Progress,
}

impl Host {
    pub fn new(options: Options, log: Arc<dyn Log>, databases: Databases) -> Host {
        Host(Arc::new(Inner {
            components: Components::new(Cache::new(options.cache_dir)),
            log,
            databases: Mutex::new(databases),
            plugins: Mutex::default(),
        }))
    }

    /// For plugins that start, or are replaced, from now on.
    pub fn set_databases(&self, databases: Databases) {
        *lock(&self.0.databases) = databases;
    }

    fn databases(&self) -> Databases {
        lock(&self.0.databases).clone()
    }

    /// What a component is. Compiles it, or loads what was compiled before; nothing is granted.
    pub async fn describe(&self, wasm: &WasmRef) -> Result<PluginInfo, ComponentError> {
        let compiled = self.0.components.get(wasm).await?;
        Ok(compiled.info.clone())
    }

    /// Where the component is from that is compiled now; that may take seconds.
    pub fn compiling(&self) -> Option<String> {
        self.0.components.compiling()
    }

    /// Whether the plugin could start, with these databases to be had. It is set up with its configuration,
    /// and shown nothing of the world.
    pub async fn check(&self, spec: &PluginSpec, databases: &Databases) -> Result<PluginInfo, CheckError> {
        let version = self.version(spec.clone(), databases).await?;
        let info = version.compiled.info.clone();
        let rehearsed =
            tokio::task::spawn_blocking(move || rehearse(&version.compiled.linked, &version.spec)).await;
        match rehearsed {
            Ok(Ok(())) => Ok(info),
            Ok(Err(reason)) => Err(CheckError::Problems(vec![format!("config: {reason}")])),
            Err(panic) => Err(CheckError::Problems(vec![format!("the host failed: {panic}")])),
        }
    }

    async fn version(&self, spec: PluginSpec, databases: &Databases) -> Result<Version, CheckError> {
        let compiled = self.0.components.get(&spec.wasm).await?;
        check(&spec, &compiled, databases)?;
        Ok(Version { spec: Arc::new(spec), compiled })
    }

    /// Checks it, and sets it to work. What the world has against it then shows in its status.
    pub async fn start(&self, spec: PluginSpec) -> Result<(), StartError> {
        let name = spec.name.clone();
        let version = self
            .version(spec, &self.databases())
            .await
            .map_err(|error| StartError::Check { name: name.clone(), error })?;
        let mut plugins = lock(&self.0.plugins);
        if plugins.contains_key(&name) {
            return Err(StartError::Runs(name));
        }
        let plugin = Plugin::start(self.0.log.clone(), version.clone(), &self.databases());
        let entry = Entry {
            board: plugin.board.clone(),
            progress: plugin.progress.clone(),
            shown: Mutex::new(version),
            plugin: tokio::sync::Mutex::new(plugin),
        };
        plugins.insert(name, Arc::new(entry));
        Ok(())
    }

    /// Compiles, checks and warms the new one beside the running one, and swaps them between two
    /// transactions. After an error the old one goes on, and its status says what was refused.
    pub async fn replace(&self, spec: PluginSpec) -> Result<(), ReplaceError> {
        let name = spec.name.clone();
        let entry = self.entry(&name).ok_or_else(|| ReplaceError::Unknown(name.clone()))?;
        let replaced = self.swap(&entry, spec).await;
        if let Err(error) = &replaced {
            entry.board.refused(Some(error.to_string()));
        }
        replaced
    }

    async fn swap(&self, entry: &Entry, spec: PluginSpec) -> Result<(), ReplaceError> {
        let name = spec.name.clone();
        let new = self
            .version(spec, &self.databases())
            .await
            .map_err(|error| ReplaceError::Check { name: name.clone(), error })?;
        let mut plugin = entry.plugin.lock().await;
        plugin
            .replace(new.clone(), &self.databases())
            .await
            .map_err(|reason| ReplaceError::Refused { name, reason })?;
        *lock(&entry.shown) = new;
        Ok(())
    }

    /// Ends it between two transactions; after `drain` it is cut off, which is as safe.
    pub async fn stop(&self, name: &str, drain: Duration) {
        let entry = lock(&self.0.plugins).remove(name);
        if let Some(entry) = entry {
            entry.plugin.lock().await.stop(drain).await;
        }
    }

    /// Ends all of them at the same time.
    pub async fn stop_all(&self, drain: Duration) {
        let names: Vec<String> = lock(&self.0.plugins).keys().cloned().collect();
        join_all(names.iter().map(|name| self.stop(name, drain))).await;
    }

    /// All plugins, by name.
    pub fn status(&self) -> Vec<PluginStatus> {
        let entries: Vec<Arc<Entry>> = lock(&self.0.plugins).values().cloned().collect();
        entries.iter().map(|entry| entry.status(&*self.0.log)).collect()
    }

    fn entry(&self, name: &str) -> Option<Arc<Entry>> {
        lock(&self.0.plugins).get(name).cloned()
    }

    /// Waits until the plugin has nothing left to do: a source has ended, or a transform or sink has
    /// caught up with its inputs after all who write to them are done. None: there is no such plugin.
    pub async fn done(&self, name: &str) -> Option<Done> {
        self.done_after(name.to_owned(), BTreeSet::new()).await
    }

    fn done_after(
        &self,
        name: String,
        mut seen: BTreeSet<String>,
    ) -> Pin<Box<dyn Future<Output = Option<Done>> + Send + '_>> {
        Box::pin(async move {
            let entry = self.entry(&name)?;
            // A circle of plugins is done when each has caught up.
            if !seen.insert(name) {
                return Some(Done::Finished);
            }
            let inputs = lock(&entry.shown).spec.inputs.clone();
            let upstreams = self.upstreams(&inputs);
            let before = join_all(upstreams.into_iter().map(|up| self.done_after(up, seen.clone())));
            tokio::select! {
                stopped = entry.stopped() => return Some(stopped),
                _ = before => {}
            }
            let mut changes = entry.progress.changes();
            loop {
                if let Some(done) = entry.is_done(&*self.0.log, &inputs).await {
                    return Some(done);
                }
                tokio::select! {
                    _ = changes.changed() => {}
                    () = tokio::time::sleep(Duration::from_millis(200)) => {}
                }
            }
        })
    }

    /// Who writes to these topics, records or dead letters.
    fn upstreams(&self, topics: &[String]) -> Vec<String> {
        let plugins = lock(&self.0.plugins);
        let writes = |entry: &Entry| {
            let spec = &lock(&entry.shown).spec;
            let letters = spec.errors.parks().then_some(&spec.errors.topic);
            spec.outputs.iter().chain(letters).any(|topic| topics.contains(topic))
        };
        plugins.iter().filter(|(_, entry)| writes(entry)).map(|(name, _)| name.clone()).collect()
    }
}

impl Entry {
    fn status(&self, log: &dyn Log) -> PluginStatus {
        let version = lock(&self.shown).clone();
        let mut status = PluginStatus {
            name: version.spec.name.clone(),
            kind: version.spec.kind,
            plugin: version.compiled.info.name.clone(),
            version: version.compiled.info.version.clone(),
            hash: version.compiled.hash.to_string(),
            state: State::Starting,
            reason: None,
            since_ms: 0,
            records_in: 0,
            records_out: 0,
            rejected: 0,
            lag: None,
            restarts: 0,
            swaps: 0,
            tasks: version.spec.tasks,
            troubles: BTreeMap::new(),
            progress: None,
            counters: BTreeMap::new(),
            gauges: BTreeMap::new(),
            refused: None,
        };
        self.board.fill(&mut status, |topic, partition| log.end(topic, partition));
        status
    }

    /// Ends when it will not go on by itself.
    async fn stopped(&self) -> Done {
        let mut changes = self.progress.changes();
        loop {
            if let Some(worst) = self.board.worst().filter(|worst| worst.state == State::Stopped) {
                return Done::Stopped(worst.reason.unwrap_or_default());
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    }

    async fn is_done(&self, log: &dyn Log, inputs: &[String]) -> Option<Done> {
        let worst = self.board.worst()?;
        if worst.state == State::Stopped {
            return Some(Done::Stopped(worst.reason.unwrap_or_default()));
        }
        if inputs.is_empty() {
            return (worst.state == State::Finished).then_some(Done::Finished);
        }
        for topic in inputs {
            for partition in 0..log.partitions(topic).await.ok()? {
                let position = self.progress.of(topic, partition)?;
                let read = log.read(topic, partition, position, 1, Duration::ZERO).await.ok()?;
                if position < read.end || position == Offset::UNKNOWN {
                    return None;
                }
            }
        }
        Some(Done::Finished)
    }
}
