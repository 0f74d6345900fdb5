//! Which sinks still have to read the tombstones of a topic: what the file declares, and how far each has come.
//!
//! Invariants: until the file is in force everything is held, and so is what of a sink's place cannot be found
//! out; a compaction that asks too early keeps too much. A sink that the file has switched off holds as well: it
//! keeps its place and goes on there.
//!
//! It asks on the cleaner's threads, which may wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flumen_config::{Config, Kind, Plugin, PluginRef};
use flumen_http::{Snapshot, Topic};
use flumen_server::{Broker, Health, TombstoneHold, TombstoneReaders};
use flumen_types::{Millis, Offset, TopicPartition};
use tokio::runtime::Handle;

use crate::clock;

/// For a sink that acts on deletes and whose table says nothing else.
const HOLD: Millis = Millis(7 * 24 * 60 * 60 * 1000);
/// A coordinator that takes longer is busy starting or stopping.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct SinkTombstones(Mutex<Option<InForce>>);

impl std::fmt::Debug for SinkTombstones {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SinkTombstones").finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct InForce {
    broker: Broker,
    runtime: Handle,
    /// By topic.
    sinks: HashMap<String, Vec<Sink>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Sink {
    name: String,
    longest: Millis,
}

impl SinkTombstones {
    /// From now on these sinks are asked about. On a runtime.
    pub(super) fn declare(&self, broker: &Broker, config: &Config) {
        let in_force =
            InForce { broker: broker.clone(), runtime: Handle::current(), sinks: by_topic(config) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(in_force);
    }

    /// Nobody can be asked any more.
    pub(super) fn end(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl TombstoneReaders for SinkTombstones {
    fn holds(&self, tp: &TopicPartition) -> Vec<TombstoneHold> {
        let in_force = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(in_force) = in_force else {
            let (holder, longest) = ("a configuration that is not in force yet".into(), Millis(i64::MAX));
            return vec![TombstoneHold { holder, from: Offset::ZERO, longest }];
        };
        let sinks = in_force.sinks.get(&*tp.topic).into_iter().flatten();
        let hold = |sink: &Sink| TombstoneHold {
            holder: sink.name.as_str().into(),
            from: in_force.read_upto(sink, tp),
            longest: sink.longest,
        };
        sinks.map(hold).collect()
    }
}

impl InForce {
    /// What a sink has committed; a database of its own is never behind that.
    fn read_upto(&self, sink: &Sink, tp: &TopicPartition) -> Offset {
        let group = format!("flumen.{}", sink.name);
        let asked =
            async { tokio::time::timeout(ANSWER_WITHIN, self.broker.groups().committed(&group, tp)).await };
        match self.runtime.block_on(asked) {
            Ok(Ok(committed)) => committed.map_or(Offset::ZERO, |found| found.offset),
            Ok(Err(_)) | Err(_) => Offset::ZERO,
        }
    }
}

/// What the last compactions have left for each sink, over all partitions of a topic.
pub(super) fn shown<'a>(logs: impl Iterator<Item = (i32, &'a Health)>) -> Vec<flumen_http::HeldTombstones> {
    let mut by_sink: BTreeMap<String, flumen_http::HeldTombstones> = BTreeMap::new();
    for (partition, held) in
        logs.flat_map(|(n, health)| health.held_tombstones.iter().map(move |held| (n, held)))
    {
        let found = flumen_http::HeldTombstones {
            by: held.holder.to_string(),
            count: held.count,
            since_ms: held.since.0,
            partition,
            offset: held.first.0,
        };
        match by_sink.get_mut(&found.by) {
            None => _ = by_sink.insert(found.by.clone(), found),
            Some(sum) => {
                let count = sum.count + found.count;
                let oldest = if found.since_ms < sum.since_ms { found } else { sum.clone() };
                *sum = flumen_http::HeldTombstones { count, ..oldest };
            }
        }
    }
    by_sink.into_values().collect()
}

pub(super) fn measure(snapshot: &mut Snapshot, topics: &[Topic]) {
    let all = || topics.iter().flat_map(|topic| topic.held_tombstones.iter().map(move |held| (topic, held)));
    let count = snapshot.gauge(
        "flumen_tombstones_held",
        "Tombstones past delete.retention.ms that wait for a sink to read them",
    );
    for (topic, held) in all() {
        count.sample(&[("topic", &topic.name), ("sink", &held.by)], held.count as f64);
    }
    let age = snapshot.gauge("flumen_tombstones_held_seconds", "How far the oldest of them is past its time");
    for (topic, held) in all() {
        let seconds = (clock::now().0 - held.since_ms).max(0) as f64 / 1000.0;
        age.sample(&[("topic", &topic.name), ("sink", &held.by)], seconds);
    }
}

fn by_topic(config: &Config) -> HashMap<String, Vec<Sink>> {
    let mut sinks: HashMap<String, Vec<Sink>> = HashMap::new();
    for (name, plugin) in config.plugins().filter(|(_, plugin)| plugin.kind == Kind::Sink) {
        let by_itself = if acts_on_deletes(plugin) { HOLD } else { Millis(0) };
        let longest = plugin.tombstones_hold.unwrap_or(by_itself);
        if longest.0 == 0 {
            continue;
        }
        for topic in &plugin.inputs {
            sinks.entry(topic.clone()).or_default().push(Sink { name: name.to_owned(), longest });
        }
    }
    sinks
}

/// In the words of the sinks that are shipped; of any other one nothing is known, so it is taken to.
fn acts_on_deletes(plugin: &Plugin) -> bool {
    let config = &plugin.settings.config.0;
    let word = |key: &str| config.get(key).and_then(|value| value.as_str());
    match &plugin.settings.plugin {
        PluginRef::Shipped(name) if name == "db-sink" => match word("tombstones") {
            Some(tombstones) => tombstones == "delete",
            None => word("mode").is_some_and(|mode| mode != "insert"),
        },
        PluginRef::Shipped(name) if name == "http-sink" => word("tombstones") == Some("null"),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(sink: &str) -> Option<i64> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flumen.toml");
        std::fs::write(folder.path().join("own.wasm"), "").unwrap();
        std::fs::write(&path, format!("[sinks.s]\nfrom = \"t\"\n{sink}")).unwrap();
        let loaded = crate::run::sources::read(&path).1.unwrap();
        by_topic(&loaded.config).get("t").map(|sinks| sinks[0].longest.0)
    }

    #[test]
    fn a_sink_holds_if_it_acts_on_deletes_or_says_so() {
        let own = "plugin = \"./own.wasm\"\n";
        assert_eq!(held(own), Some(HOLD.0));
        assert_eq!(held(&format!("{own}tombstones.hold = \"1h\"")), Some(3_600_000));
        assert_eq!(held(&format!("{own}tombstones.hold = 0")), None);
        assert_eq!(held(&format!("{own}enabled = false")), Some(HOLD.0));
    }

    #[test]
    fn shipped_sinks_hold_where_they_delete() {
        if crate::bundled::find("db-sink").is_none() {
            return;
        }
        let db = |config: &str| {
            held(&format!(
                "plugin = \"db-sink\"\ngrant.databases = [\"d\"]\nconfig = {{ {config} }}\n[databases.d]\nurl = \"sqlite:d.db\""
            ))
        };
        assert_eq!(db("database = \"d\", table = \"t\""), None);
        assert_eq!(db("database = \"d\", table = \"t\", mode = \"upsert\", key = [\"id\"]"), Some(HOLD.0));
        assert_eq!(
            db("database = \"d\", table = \"t\", mode = \"upsert\", key = [\"id\"], tombstones = \"ignore\""),
            None
        );
    }
}
