//! `[sources.NAME]`, `[transforms.NAME]`, `[sinks.NAME]`: a plugin, what it is connected to, and what
//! it may do.
//!
//! Lacks what only the plugin knows: its kind, its config's schema and its needs are checked by who can
//! load it, with `Loaded::problem` for the place.

use std::num::NonZeroU32;
use std::path::PathBuf;

use flumen_types::{ByteSize, Millis};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field, choice};
use crate::grant::FileGrants;
use crate::place::Place;
use crate::problem::Problem;
use crate::secret;
use crate::section::{Entry, Section, section};
use crate::text::{Origin, TopicName, TopicNames};
use crate::tree::{Node, Value};

/// Which table a plugin stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Source,
    Transform,
    Sink,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Source, Kind::Transform, Kind::Sink];

    /// The table's name: `sinks`.
    pub fn table(self) -> &'static str {
        match self {
            Kind::Source => "sources",
            Kind::Transform => "transforms",
            Kind::Sink => "sinks",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Source => "source",
            Kind::Transform => "transform",
            Kind::Sink => "sink",
        })
    }
}

/// One use of a plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Plugin {
    pub kind: Kind,
    /// Topics it reads; none for a source.
    pub inputs: Vec<String>,
    /// Topics it writes; none for a sink. A plugin counts them in this order.
    pub outputs: Vec<String>,
    /// Where rejected records go, if they go anywhere: `errors.topic`, or the name with `-dlq`.
    pub dead_letters: Option<String>,
    /// How long a tombstone waits for this sink, if it says.
    pub tombstones_hold: Option<Millis>,
    pub settings: Settings,
}

section! {
    /// Where a source writes.
    pub(crate) struct SourceLinks {
        /// The topic or topics that it writes to.
        pub(crate) topic: TopicNames = ["topic"],
    }
}

section! {
    /// Between which topics a transform stands.
    pub(crate) struct TransformLinks {
        /// The topic or topics that it reads.
        pub(crate) from: TopicNames = ["from"],
        /// The topic or topics that it writes to.
        pub(crate) to: TopicNames = ["to"],
    }
}

section! {
    /// What a sink reads.
    pub(crate) struct SinkLinks {
        /// The topic or topics that it reads.
        pub(crate) from: TopicNames = ["from"],
        /// How long past the topic's `delete.retention.ms` a tombstone stays in a compacted topic until this sink has read it. Unset: 7d for a sink that acts on deletes (`db-sink` with `mode` `upsert` or `update`, `http-sink` with `tombstones` `null`, every plugin that is not shipped), else 0.
        pub(crate) tombstones_hold: Option<Millis> = ["tombstones.hold", null; min 0],
    }
}

section! {
    /// What sources, transforms and sinks have in common.
    pub struct Settings {
        /// A shipped plugin by its name, or the path of a `.wasm` component, relative to this file.
        pub plugin: PluginRef = ["plugin"],
        /// The plugin's own settings, checked against the schema that it carries.
        pub config: FreeTable = ["config", {}],
        /// Folders that it sees, and whether it may write: `{ "inbox" = "read" }`.
        pub files: FileGrants = ["grant.files", {}],
        /// Origins that it may send HTTP requests to.
        pub http: Vec<Origin> = ["grant.http", []],
        /// Databases of this file that it may use.
        pub databases: Vec<DatabaseName> = ["grant.databases", []],
        /// Instances that run at once; partitions are divided among them.
        pub tasks: NonZeroU32 = ["tasks", 1],
        /// Records that small batches of its input are joined to, before a transform or a sink is called. A source has no input.
        pub batch_records: NonZeroU32 = ["batch.records", 256],
        /// How long a transform or a sink waits for so many where fewer are there. 0: not at all.
        pub batch_linger: Millis = ["batch.linger", "0ms"; min 0],
        /// Memory of one instance.
        pub memory: ByteSize = ["limits.memory", "64MiB"; min 1_048_576],
        /// Time that one call may take.
        pub call: Millis = ["limits.call", "30s"; min 1],
        /// Bytes that one call may return.
        pub output: ByteSize = ["limits.output", "32MiB"; min 1024],
        /// Restarts in a row, without a record done, after which the status says `failing`. It goes on retrying.
        pub restarts: NonZeroU32 = ["limits.restarts", 10],
        /// The first wait before a retry or a restart; it doubles each time.
        pub backoff_min: Millis = ["limits.backoff.min", "100ms"; min 1],
        /// The longest wait before a retry or a restart.
        pub backoff_max: Millis = ["limits.backoff.max", "1m"; min 1],
        /// What happens to a record that the plugin rejects: `retry` it for ever, `stop` the plugin, `skip` it, move it to the `dead-letter` topic, or `quarantine` it there with every later record of its key.
        pub policy: ErrorPolicy = ["errors.policy", "dead-letter"],
        /// The dead-letter topic; the plugin's name with `-dlq` if unset.
        pub errors_topic: Option<TopicName> = ["errors.topic", null],
        /// `false` keeps it from running and its place in the input.
        pub enabled: bool = ["enabled", true],
    }
}

impl Plugin {
    /// Every key with its value.
    pub fn entries(&self) -> Vec<Entry> {
        let names = |topics: &[String]| serde_json::Value::from(topics.to_vec());
        let entry = |key, topics| Entry { key, value: names(topics), kafka: None };
        let mut entries = match self.kind {
            Kind::Source => vec![entry("topic", &self.outputs)],
            Kind::Transform => vec![entry("from", &self.inputs), entry("to", &self.outputs)],
            Kind::Sink => vec![entry("from", &self.inputs)],
        };
        if self.kind == Kind::Sink {
            let value = serde_json::to_value(self.tombstones_hold).unwrap_or_default();
            entries.push(Entry { key: "tombstones.hold", value, kafka: None });
        }
        entries.extend(self.settings.entries());
        entries
    }
}

choice! {
    /// What happens to a record that a plugin rejects.
    ErrorPolicy {
        /// The batch is tried again until it is taken
        Retry = "retry",
        /// The plugin stops there
        Stop = "stop",
        /// The record is left out
        Skip = "skip",
        /// The record goes to the dead-letter topic
        DeadLetter = "dead-letter",
        /// It goes there with every later record of its key, so that order by key survives
        Quarantine = "quarantine",
    }
    expected "\"retry\", \"stop\", \"skip\", \"dead-letter\" or \"quarantine\""
}

impl ErrorPolicy {
    pub fn parks(self) -> bool {
        matches!(self, ErrorPolicy::DeadLetter | ErrorPolicy::Quarantine)
    }
}

/// Where a plugin's code is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginRef {
    /// In the binary.
    Shipped(String),
    Path {
        path: PathBuf,
        written: String,
    },
}

impl PluginRef {
    pub fn as_written(&self) -> &str {
        match self {
            PluginRef::Shipped(name) => name,
            PluginRef::Path { written, .. } => written,
        }
    }
}

impl Serialize for PluginRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_written())
    }
}

impl JsonSchema for PluginRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PluginRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A shipped plugin by its name, or the path of a .wasm component",
            "type": "string",
            "minLength": 1,
            "examples": ["file-source", "db-sink", "http-sink", "json-filter", "json-map", "regex-route", "./my-plugin.wasm"]
        })
    }
}

impl Field for PluginRef {
    const TYPE: &'static str = "plugin";
    const EXPECTED: &'static str = "expected a shipped plugin's name, or the path of a .wasm component";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<PluginRef> {
        let Value::Text(text) = &at.node.value else {
            ctx.wrong::<Self>(at);
            return None;
        };
        if text.contains('/') || text.ends_with(".wasm") {
            let path = ctx.resolve(at.node, text);
            if ctx.world.exists(&path) {
                return Some(PluginRef::Path { path, written: text.clone() });
            }
            let found = format!("{} is \"{text}\", and there is no file {}", at.path, path.display());
            ctx.problem(at.node, found, "a path is relative to the file that it stands in");
            return None;
        }
        let shipped = ctx.world.shipped();
        if shipped.contains(text) {
            return Some(PluginRef::Shipped(text.clone()));
        }
        let problem = if shipped.is_empty() {
            let found = format!("{} is \"{text}\", and this binary carries no plugins", at.path);
            Problem::new(at.node.place.clone(), found).expected(
                "run plugins/build and build the binary again, or give the path of a .wasm component",
            )
        } else {
            let found = format!("{} is \"{text}\", which no shipped plugin is called", at.path);
            let names = shipped.join(", ");
            Problem::new(at.node.place.clone(), found)
                .expected(format!("expected one of {names}, or the path of a .wasm component"))
        };
        ctx.problems.push(problem.near(text, shipped.iter().map(String::as_str)));
        None
    }
}

/// The name of a table `[databases.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(transparent)]
pub struct DatabaseName(String);

impl DatabaseName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Field for DatabaseName {
    const TYPE: &'static str = "names of databases";
    const EXPECTED: &'static str = "expected names of databases of this file, such as [\"warehouse\"]";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<DatabaseName> {
        match &at.node.value {
            Value::Text(text) => Some(DatabaseName(text.clone())),
            _ => {
                ctx.wrong::<Self>(at);
                None
            }
        }
    }
}

/// Any table, for the plugin to judge; and what of it may be shown: what the environment sets is a
/// token often enough.
#[derive(Clone, Default, PartialEq)]
pub struct FreeTable(pub serde_json::Value, serde_json::Value);

impl std::fmt::Debug for FreeTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.1.fmt(f)
    }
}

impl Serialize for FreeTable {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.1.serialize(serializer)
    }
}

impl JsonSchema for FreeTable {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PluginConfig".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The plugin's own settings; its README and its schema tell them",
            "type": "object"
        })
    }
}

impl Field for FreeTable {
    const TYPE: &'static str = "table";
    const EXPECTED: &'static str = "expected a table of the plugin's own settings";

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<FreeTable> {
        let Value::Table(_) = &at.node.value else {
            ctx.wrong::<Self>(at);
            return None;
        };
        let before = ctx.problems.len();
        refuse_secrets(at, ctx);
        match at.node.to_json() {
            Ok(_) if ctx.problems.len() > before => None,
            Ok(json) => {
                let mut shown = json.clone();
                hide_variables(at.node, &mut shown);
                Some(FreeTable(json, shown))
            }
            Err(place) => {
                ctx.problems
                    .push(Problem::new(place, format!("{} has a number that is not finite", at.path)));
                None
            }
        }
    }
}

/// Masks the values that the environment has set.
fn hide_variables(node: &Node, shown: &mut serde_json::Value) {
    match (&node.value, shown) {
        (_, shown) if matches!(node.place, Place::Variable(_)) => *shown = "***".into(),
        (Value::Table(table), serde_json::Value::Object(map)) => {
            for (key, node) in table {
                map.get_mut(key).into_iter().for_each(|shown| hide_variables(node, shown));
            }
        }
        _ => {}
    }
}

/// A guest reads all of its config, so a secret in it would no longer be one.
fn refuse_secrets(at: At<'_>, ctx: &mut Ctx<'_>) {
    let visit = |key: &str, node: &Node, ctx: &mut Ctx<'_>| {
        let path = crate::tree::join(at.path, key);
        refuse_secrets(At { path: &path, node }, ctx);
    };
    match &at.node.value {
        Value::Text(text) if secret::mentions_reference(text) => ctx.problem(
            at.node,
            format!("{} refers to a secret, and plugins are given none", at.path),
            "a password belongs into [databases.NAME], where the host uses it for the plugin; a token that the plugin \
             itself sends can be set by the environment: FLUMEN_SINKS_NAME_CONFIG_KEY",
        ),
        Value::Table(table) => table.iter().for_each(|(key, node)| visit(key, node, ctx)),
        Value::Array(list) => list.iter().enumerate().for_each(|(i, node)| visit(&i.to_string(), node, ctx)),
        _ => {}
    }
}
