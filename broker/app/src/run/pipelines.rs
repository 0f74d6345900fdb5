//! The plugins of the file: started, replaced and stopped as it says, now and at each change of it.
//!
//! Invariants: one change is applied at a time. A file that fails any check changes nothing: what ran
//! goes on, and the status says why, since when. What is not part of the difference is not touched.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flumen_config::{Change, Config, Loaded, Plugin};
use flumen_host::{ContentHash, Host, PluginSpec, PluginStatus};
use flumen_server::Broker;
use tokio::time::Instant;

use super::broker_log::{BrokerLog, Declared};
use super::sources::{self, Sources};
use super::tombstones::SinkTombstones;
use super::{declared_topics, security, settings};
use crate::clock;

pub(super) struct Pipelines {
    path: PathBuf,
    broker: Broker,
    log: Arc<BrokerLog>,
    host: Host,
    tombstones: Arc<SinkTombstones>,
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
    /// What the process was started with, and every topic that a file has declared since: what is left
    /// alone is told for as long as it is so, over any number of reloads.
    baseline: Config,
    /// What the file was made of when it was last read, refused or not.
    read: Sources,
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
        tombstones: Arc<SinkTombstones>,
        finish: bool,
    ) -> Pipelines {
        let drain = loaded.config.broker.shutdown_drain.duration();
        let running = Running {
            baseline: loaded.config.clone(),
            read: Sources::of(&loaded),
            loaded,
            hashes: BTreeMap::new(),
            pending: BTreeSet::new(),
        };
        Pipelines {
            path,
            broker,
            log,
            host,
            tombstones,
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
        self.tombstones.declare(&self.broker, &running.loaded.config);
        for (name, spec) in specs {
            running.hashes.insert(name.clone(), spec.wasm.hash);
            self.host.start(spec).await.map_err(|error| vec![error.to_string()])?;
        }
        self.note(Applied { at_ms: clock::now().0, refused: None, left_alone });
        Ok(())
    }

    /// Reads the file again and does what has changed; a line for each thing done.
    pub(super) async fn reload(&self) -> Result<Vec<String>, Vec<String>> {
        let mut running = self.running.lock().await;
        if self.stopping() {
            return Err(vec!["the broker is stopping".into()]);
        }
        let applied = match self.next(&mut running).await {
            Ok(next) => self.apply(&mut running, next).await,
            Err(problems) => Err(problems),
        };
        if let Err(problems) = &applied {
            let mut now = self.applied();
            let same = now.refused.as_ref().filter(|(_, before)| before == problems).map(|(since, _)| *since);
            now.refused = Some((same.unwrap_or_else(|| clock::now().0), problems.clone()));
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
        let mut running = self.running.lock().await;
        let next = self.next(&mut running).await?;
        let topics = declared_topics::plan(&self.broker, &next.loaded.config);
        let listed = |change: &&Change| plugin_of(change).is_some() || about_security(change);
        let plugins = next.changes.iter().filter(listed);
        let rebuilt = next.rebuilt.iter().map(|name| format!("replace {name}: its component changed"));
        let left_alone = self.left_alone(&running, &next.loaded.config);
        let lines = topics.iter().chain(plugins).map(ToString::to_string);
        Ok(lines.chain(rebuilt).chain(left_alone).collect())
    }

    /// Files whose change matters, and folders where includes may appear: of what is in force, and of
    /// what was refused, for mending that is a change as well.
    pub(super) async fn watched(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let running = self.running.lock().await;
        let mut all = Sources::of(&running.loaded);
        all.extend(&running.read);
        all.files.insert(self.path.clone());
        (all.files.into_iter().collect(), all.folders.into_iter().collect())
    }

    /// Every plugin finishes its transaction; those that do not in time are left to their end, and so is
    /// a reload that is at work.
    pub(super) async fn stop(&self, deadline: Instant) {
        self.stopping.store(true, Ordering::Relaxed);
        self.tombstones.end();
        let stopped = async {
            let _running = self.running.lock().await;
            self.host.stop_all(deadline.saturating_duration_since(Instant::now())).await;
        };
        if tokio::time::timeout_at(deadline, stopped).await.is_err() {
            tracing::warn!("plugins did not stop in time; what they had not committed they do again");
        }
    }

    fn note(&self, applied: Applied) {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = applied;
    }

    async fn next(&self, running: &mut Running) -> Result<Next, Vec<String>> {
        let (read, loaded) = sources::read(&self.path);
        running.read = read;
        let loaded = loaded.map_err(|problems| texts(&problems))?;
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
        self.broker.declare_configs(settings::declared(&loaded));
        self.log.declare(declared(&loaded.config));
        self.tombstones.declare(&self.broker, &loaded.config);
        self.host.set_databases(settings::databases(&loaded.config));
        left_alone.extend(self.left_alone(running, &loaded.config));
        let (mut done, mut problems) = (Vec::new(), Vec::new());
        if changes.iter().any(about_security) {
            let (users, acls) = (security::users(&loaded), security::acls(&loaded));
            self.broker.security().declare(users, acls, security::quotas(&loaded)).await;
            done.extend(changes.iter().filter(|change| about_security(change)).map(Change::to_string));
        }
        for change in changes.iter().filter(|change| plugin_of(change).is_some()) {
            if self.stopping() {
                return Err(vec!["the broker is stopping".into()]);
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
        for (name, topic) in &loaded.config.topics {
            running.baseline.topics.entry(name.clone()).or_insert_with(|| topic.clone());
        }
        running.loaded = loaded;
        let refused = (!problems.is_empty()).then(|| (clock::now().0, problems.clone()));
        self.note(Applied { at_ms: clock::now().0, refused, left_alone });
        if problems.is_empty() { Ok(done) } else { Err(problems) }
    }

    /// What the file asks for and no reload does, beside what the topics themselves tell.
    fn left_alone(&self, running: &Running, config: &Config) -> Vec<String> {
        let kept = |change: &Change| match change {
            Change::Restart { .. } => true,
            // Of the others the broker's topics tell better than an older file.
            Change::KeepTopic { topic, .. } => {
                !config.topics.contains_key(topic) && self.broker.topic(topic).is_some()
            }
            _ => false,
        };
        let changes = Config::diff(&running.baseline, config);
        changes.iter().filter(|change| kept(change)).map(ToString::to_string).collect()
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
    // Those of this file: what runs may know others.
    let databases = settings::databases(&loaded.config);
    for spec in specs {
        if let Err(error) = host.check(spec, &databases).await {
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
    let topics = config.topics.values().filter_map(|topic| topic.max_message_bytes);
    let largest = topics.chain([config.broker.message_max]).map(|size| size.0).max().unwrap_or_default();
    // A dead letter is its record and the reason: it needs more room than the record had. And it waits
    // for a person, however long that takes.
    let room = largest.saturating_add(1 << 20).min(i64::from(i32::MAX));
    let configs = BTreeMap::from([
        ("max.message.bytes".to_owned(), room.to_string()),
        ("retention.ms".to_owned(), "-1".to_owned()),
    ]);
    let letters = enabled(config).filter_map(|(_, plugin)| plugin.dead_letters.clone());
    let letters = letters.map(|topic| (topic, Declared { partitions: None, configs: configs.clone() }));
    letters.chain(declared).collect()
}

/// The plugin that a change is about; topics are compared with what the broker has instead, and the rest
/// with what the process was started with.
fn plugin_of(change: &Change) -> Option<&str> {
    match change {
        Change::AddPlugin { name, .. }
        | Change::ReplacePlugin { name, .. }
        | Change::StopPlugin { name, .. } => Some(name),
        _ => None,
    }
}

fn about_security(change: &Change) -> bool {
    matches!(
        change,
        Change::SetUser { .. }
            | Change::RemoveUser { .. }
            | Change::SetAcls { .. }
            | Change::SetQuotas { .. }
    )
}

fn texts(problems: &[flumen_config::Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_topic_has_room_for_the_largest_record_and_forgets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flumen.toml");
        let text = r#"
            [topics.wide]
            "max.message.bytes" = "8MiB"
            [topics.own-dlq]
            "max.message.bytes" = "2MiB"
            [sinks.store]
            plugin = "./sink.wasm"
            from = "wide"
            [sinks.other]
            plugin = "./sink.wasm"
            from = "wide"
            errors.topic = "own-dlq"
        "#;
        std::fs::write(&path, text).unwrap();
        std::fs::write(folder.path().join("sink.wasm"), "").unwrap();
        let loaded = crate::run::sources::read(&path).1.unwrap();
        let declared = declared(&loaded.config);
        let made = &declared["store-dlq"].configs;
        assert_eq!(made["max.message.bytes"], (9 << 20).to_string());
        assert_eq!(made["retention.ms"], "-1");
        let own = &declared["own-dlq"].configs;
        assert_eq!((own["max.message.bytes"].as_str(), own.get("retention.ms")), ("2097152", None));
    }
}
