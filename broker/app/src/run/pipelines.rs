//! The plugins of the file: started, replaced and stopped as it says, now and at each change of it.
//!
//! Invariants: one change is applied at a time. A file that fails any check changes nothing: what ran
//! goes on, and the status says why, since when. What is not part of the difference is not touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flumen_config::{Change, Config, Loaded, Plugin, PluginRef};
use flumen_host::{ContentHash, Host, PluginSpec, PluginStatus};
use flumen_server::Broker;

use super::admin::now_ms;
use super::broker_log::{BrokerLog, Declared};
use super::{declared_topics, security, settings};
use crate::cli;

pub(super) struct Pipelines {
    path: PathBuf,
    broker: Broker,
    log: Arc<BrokerLog>,
    host: Host,
    /// Sources are to end when they have read what exists.
    finish: bool,
    drain: Duration,
    running: tokio::sync::Mutex<Running>,
    applied: Mutex<Applied>,
    stopping: AtomicBool,
}

/// What is in force.
struct Running {
    loaded: Loaded,
    /// Of each enabled plugin, the component that it was started with.
    hashes: BTreeMap<String, ContentHash>,
    /// Plugins that did not become what the file says; tried again with the next reload.
    pending: BTreeSet<String>,
}

/// What the status tells of the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Applied {
    pub(super) at_ms: i64,
    pub(super) refused: Option<(i64, Vec<String>)>,
    pub(super) left_alone: Vec<String>,
}

/// What a new file comes to, checked whole.
struct Next {
    loaded: Loaded,
    specs: BTreeMap<String, PluginSpec>,
    changes: Vec<Change>,
    /// Their text is what it was, their component is not.
    rebuilt: Vec<String>,
}

impl Pipelines {
    pub(super) fn new(
        path: PathBuf,
        loaded: Loaded,
        broker: Broker,
        log: Arc<BrokerLog>,
        host: Host,
        finish: bool,
    ) -> Pipelines {
        let drain = loaded.config.broker.shutdown_drain.duration();
        let running = Running { loaded, hashes: BTreeMap::new(), pending: BTreeSet::new() };
        Pipelines {
            path,
            broker,
            log,
            host,
            finish,
            drain,
            running: tokio::sync::Mutex::new(running),
            applied: Mutex::default(),
            stopping: AtomicBool::new(false),
        }
    }

    pub(super) fn broker(&self) -> &Broker {
        &self.broker
    }

    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn plugins(&self) -> Vec<PluginStatus> {
        self.host.status()
    }

    pub(super) fn applied(&self) -> Applied {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Topics, then every plugin of the file; every problem at once, and then nothing has been started.
    pub(super) async fn start(&self) -> Result<(), Vec<String>> {
        let mut running = self.running.lock().await;
        let specs = self.specs(&running.loaded)?;
        self.check(&running.loaded, specs.values()).await?;
        let left_alone = self.topics(&running.loaded).await?;
        self.log.declare(declared(&running.loaded.config));
        for (name, spec) in specs {
            running.hashes.insert(name.clone(), spec.wasm.hash);
            self.host.start(spec).await.map_err(|error| vec![error.to_string()])?;
        }
        self.note(Applied { at_ms: now_ms(), refused: None, left_alone });
        Ok(())
    }

    /// Reads the file again and does what has changed; a line for each thing done.
    pub(super) async fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        let mut running = self.running.lock().await;
        if self.stopping() {
            return Err(vec!["the broker is stopping".into()]);
        }
        let applied = match self.next(&running).await {
            Ok(next) => self.apply(&mut running, next).await,
            Err(problems) => Err(problems),
        };
        if let Err(problems) = &applied {
            let mut now = self.applied();
            let same = now.refused.as_ref().filter(|(_, before)| before == problems).map(|(since, _)| *since);
            now.refused = Some((same.unwrap_or_else(now_ms), problems.clone()));
            if same.is_none() {
                for problem in problems {
                    tracing::error!("configuration refused, the old one goes on: {problem}");
                }
            }
            self.note(now);
        }
        applied
    }

    /// What `reload` would do.
    pub(super) async fn plan(&self) -> Result<Vec<String>, Vec<String>> {
        let running = self.running.lock().await;
        let next = self.next(&running).await?;
        let topics = declared_topics::plan(&self.broker, &next.loaded.config);
        let plugins = next.changes.iter().filter(|change| !about_topics(change)).map(ToString::to_string);
        let rebuilt = next.rebuilt.iter().map(|name| format!("replace {name}: its component changed"));
        Ok(topics.iter().map(ToString::to_string).chain(plugins).chain(rebuilt).collect())
    }

    /// Files whose change matters, and folders where includes may appear.
    pub(super) async fn watched(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let running = self.running.lock().await;
        let loaded = &running.loaded;
        let components = loaded.config.plugins().filter_map(|(_, plugin)| match &plugin.settings.plugin {
            PluginRef::Path { path, .. } => Some(path.clone()),
            PluginRef::Shipped(_) => None,
        });
        let files = loaded.files.iter().cloned().chain(components).chain([self.path.clone()]);
        (files.collect(), loaded.folders.clone())
    }

    /// Every plugin finishes its transaction; those that do not in time are left to their end.
    pub(super) async fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _running = self.running.lock().await;
        self.host.stop_all(self.drain).await;
    }

    fn note(&self, applied: Applied) {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = applied;
    }

    async fn next(&self, running: &Running) -> Result<Next, Vec<String>> {
        let loaded = cli::read_config(&self.path).map_err(|problems| texts(&problems))?;
        let specs = self.specs(&loaded)?;
        let changes = Config::diff(&running.loaded.config, &loaded.config);
        let named: Vec<&str> = changes.iter().filter_map(plugin_of).collect();
        let rebuilt: Vec<String> = specs
            .iter()
            .filter(|(name, spec)| {
                let rebuilt = running.hashes.get(*name).is_some_and(|hash| *hash != spec.wasm.hash);
                rebuilt || running.pending.contains(*name)
            })
            .filter(|(name, _)| !named.contains(&name.as_str()))
            .map(|(name, _)| name.clone())
            .collect();
        let fresh = |name: &&String| named.contains(&name.as_str()) || rebuilt.contains(name);
        let checked = specs.iter().filter(|(name, _)| fresh(name)).map(|(_, spec)| spec);
        self.check(&loaded, checked).await?;
        Ok(Next { loaded, changes, rebuilt, specs })
    }

    async fn apply(&self, running: &mut Running, next: Next) -> Result<Vec<String>, Vec<String>> {
        let Next { loaded, mut specs, changes, rebuilt } = next;
        let mut left_alone = self.topics(&loaded).await?;
        self.log.declare(declared(&loaded.config));
        self.host.set_databases(settings::databases(&loaded.config));
        if changes.iter().any(about_security) {
            self.broker.security().declare(security::users(&loaded), security::acls(&loaded)).await;
        }
        let (mut done, mut problems) = (Vec::new(), Vec::new());
        for change in changes.iter().filter(|change| !about_topics(change)) {
            if change.is_left_alone() {
                left_alone.push(change.to_string());
                continue;
            }
            match change {
                Change::StopPlugin { name, .. } => {
                    self.host.stop(name, self.drain).await;
                    running.hashes.remove(name);
                    running.pending.remove(name);
                }
                Change::AddPlugin { name, .. } | Change::ReplacePlugin { name, .. } => {
                    let Some(spec) = specs.remove(name) else { continue };
                    if let Err(problem) = self.put(running, name, spec).await {
                        problems.push(problem);
                        continue;
                    }
                }
                _ => {}
            }
            done.push(change.to_string());
        }
        for name in rebuilt {
            let Some(spec) = specs.remove(&name) else { continue };
            match self.put(running, &name, spec).await {
                Ok(()) => done.push(format!("replace {name}: its component changed")),
                Err(problem) => problems.push(problem),
            }
        }
        for line in &done {
            tracing::info!("configuration: {line}");
        }
        // What could be applied is in force; a plugin that refused its replacement is told of apart.
        running.loaded = loaded;
        let refused = (!problems.is_empty()).then(|| (now_ms(), problems.clone()));
        self.note(Applied { at_ms: now_ms(), refused, left_alone });
        if problems.is_empty() { Ok(done) } else { Err(problems) }
    }

    async fn put(&self, running: &mut Running, name: &str, spec: PluginSpec) -> Result<(), String> {
        let hash = spec.wasm.hash;
        let known = self.plugins().iter().any(|plugin| plugin.name == name);
        let put = if known {
            self.host.replace(spec).await.map_err(|error| error.to_string())
        } else {
            self.host.start(spec).await.map_err(|error| error.to_string())
        };
        if put.is_err() {
            running.pending.insert(name.to_owned());
        }
        put?;
        running.pending.remove(name);
        running.hashes.insert(name.to_owned(), hash);
        Ok(())
    }

    /// A spec for each enabled plugin.
    fn specs(&self, loaded: &Loaded) -> Result<BTreeMap<String, PluginSpec>, Vec<String>> {
        specs(loaded, self.finish)
    }

    async fn check(
        &self,
        loaded: &Loaded,
        specs: impl Iterator<Item = &PluginSpec>,
    ) -> Result<(), Vec<String>> {
        check(&self.host, loaded, specs).await
    }

    async fn topics(&self, loaded: &Loaded) -> Result<Vec<String>, Vec<String>> {
        let applied = declared_topics::apply(&self.broker, &loaded.config).await;
        let (done, left) = applied.map_err(|error| vec![error.to_string()])?;
        for line in done {
            tracing::info!("configuration: {line}");
        }
        Ok(left)
    }
}

/// A spec for each enabled plugin of a file.
pub(crate) fn specs(loaded: &Loaded, finish: bool) -> Result<BTreeMap<String, PluginSpec>, Vec<String>> {
    let (mut specs, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, plugin) in enabled(&loaded.config) {
        match settings::component(&plugin.settings.plugin) {
            Ok(wasm) => {
                specs.insert(name.to_owned(), settings::spec(name, plugin, wasm, finish));
            }
            Err(reason) => {
                let path = format!("{}.{name}.plugin", plugin.kind.table());
                problems.push(loaded.problem(&path, reason).to_string());
            }
        }
    }
    if problems.is_empty() { Ok(specs) } else { Err(problems) }
}

/// Every problem of these plugins, each with its line.
pub(crate) async fn check(
    host: &Host,
    loaded: &Loaded,
    specs: impl Iterator<Item = &PluginSpec>,
) -> Result<(), Vec<String>> {
    let mut problems = Vec::new();
    for spec in specs {
        if let Err(error) = host.check(spec).await {
            let table = format!("{}s.{}", spec.kind.name(), spec.name);
            problems.extend(error.problems().iter().map(|problem| placed(loaded, &table, problem)));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// A problem that speaks of a key of the plugin's config is put at that key's line.
fn placed(loaded: &Loaded, table: &str, problem: &str) -> String {
    let key = problem.split(": ").next().filter(|key| *key == "config" || key.starts_with("config."));
    let path = format!("{table}.{}", key.unwrap_or("plugin"));
    loaded.problem(&path, problem).to_string()
}

fn enabled(config: &Config) -> impl Iterator<Item = (&str, &Plugin)> {
    config.plugins().filter(|(_, plugin)| plugin.settings.enabled)
}

/// Topics that plugins name are made as the file declares them, whoever comes first.
fn declared(config: &Config) -> HashMap<String, Declared> {
    let declared = config.topics.iter().map(|(name, topic)| {
        let partitions = topic.partitions.map(|count| count.get() as i32);
        (name.clone(), Declared { partitions, configs: topic.configs() })
    });
    // A dead letter is its record and the reason: it needs more room than the record had.
    let room = (config.broker.message_max.0.saturating_add(1 << 20)).min(i64::from(i32::MAX));
    let configs = BTreeMap::from([("max.message.bytes".to_owned(), room.to_string())]);
    let letters = enabled(config).filter_map(|(_, plugin)| plugin.dead_letters.clone());
    let letters = letters.map(|topic| (topic, Declared { partitions: None, configs: configs.clone() }));
    letters.chain(declared).collect()
}

fn plugin_of(change: &Change) -> Option<&str> {
    match change {
        Change::AddPlugin { name, .. }
        | Change::ReplacePlugin { name, .. }
        | Change::StopPlugin { name, .. } => Some(name),
        _ => None,
    }
}

fn about_security(change: &Change) -> bool {
    matches!(change, Change::SetUser { .. } | Change::RemoveUser { .. } | Change::SetAcls { .. })
}

/// Those are compared with what the broker has, not with what the last file said.
fn about_topics(change: &Change) -> bool {
    let by_file = matches!(change, Change::KeepTopic { why, .. } if why.contains("gone"));
    !by_file
        && matches!(
            change,
            Change::CreateTopic { .. }
                | Change::AlterTopic { .. }
                | Change::GrowTopic { .. }
                | Change::KeepTopic { .. }
        )
}

fn texts(problems: &[flumen_config::Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}
