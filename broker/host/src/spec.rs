//! A plugin as the configuration asks for it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use sha2::{Digest, Sha256};

/// One use of a plugin. Two specs that are equal need no swap.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSpec {
    /// Under which it stands in the file; names its transactional ids and its group.
    pub name: String,
    pub kind: Kind,
    pub wasm: WasmRef,
    /// JSON; checked against the plugin's own schema.
    pub config: serde_json::Value,
    pub inputs: Vec<String>,
    pub outputs: Vec<String>,
    pub grants: Grants,
    /// Instances; partitions are divided among them.
    pub tasks: u32,
    pub batch: BatchSize,
    pub limits: Limits,
    pub errors: Errors,
    /// A source is to end when it has read what exists now.
    pub finish: bool,
}

impl PluginSpec {
    /// With every default; the caller sets the rest.
    pub fn new(name: impl Into<String>, kind: Kind, wasm: WasmRef) -> PluginSpec {
        let name = name.into();
        PluginSpec {
            errors: Errors { policy: Policy::DeadLetter, topic: format!("{name}-dlq") },
            name,
            kind,
            wasm,
            config: serde_json::Value::Object(serde_json::Map::new()),
            inputs: Vec::new(),
            outputs: Vec::new(),
            grants: Grants::default(),
            tasks: 1,
            batch: BatchSize::default(),
            limits: Limits::default(),
            finish: false,
        }
    }

    /// The consumer group whose offsets are this plugin's.
    pub fn group(&self) -> String {
        format!("flumen.{}", self.name)
    }

    pub fn transactional_id(&self, task: u32) -> String {
        format!("{}{task}", self.transactional_prefix())
    }

    /// With which the transactional ids of all its tasks begin.
    pub(crate) fn transactional_prefix(&self) -> String {
        format!("flumen.{}.", self.name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Source,
    /// A filter is a transform that only drops.
    Transform,
    Sink,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Source => "source",
            Kind::Transform => "transform",
            Kind::Sink => "sink",
        }
    }

    /// The table of the configuration file that it stands in.
    pub(crate) fn table(self) -> &'static str {
        match self {
            Kind::Source => "sources",
            Kind::Transform => "transforms",
            Kind::Sink => "sinks",
        }
    }
}

/// A component's bytes, whose they are, and where a person finds them.
#[derive(Clone)]
pub struct WasmRef {
    pub bytes: Bytes,
    pub hash: ContentHash,
    /// `file-source (built in)`, or a path.
    pub origin: String,
}

impl WasmRef {
    pub fn new(bytes: impl Into<Bytes>, origin: impl Into<String>) -> WasmRef {
        let bytes = bytes.into();
        WasmRef { hash: ContentHash::of(&bytes), bytes, origin: origin.into() }
    }
}

/// By content: the same bytes from another place are the same plugin.
impl PartialEq for WasmRef {
    fn eq(&self, other: &WasmRef) -> bool {
        self.hash == other.hash
    }
}

impl std::fmt::Debug for WasmRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}, {} bytes)", self.origin, self.hash, self.bytes.len())
    }
}

/// SHA-256 of a component.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub [u8; 32]);

impl ContentHash {
    pub fn of(bytes: &[u8]) -> ContentHash {
        ContentHash(Sha256::digest(bytes).into())
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What a plugin may touch; nothing by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// By the name that the guest sees, which is as the file writes it.
    pub files: BTreeMap<String, Folder>,
    /// Origins: `https://example.com`, `http://127.0.0.1:8099`.
    pub http: Vec<String>,
    /// Names under `[databases]`.
    pub databases: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder {
    pub path: PathBuf,
    pub access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    ReadWrite,
}

/// How small batches of the input are joined for one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchSize {
    pub records: u32,
    /// How long to wait for so many.
    pub linger: Duration,
}

impl Default for BatchSize {
    /// A call costs about a microsecond and a record 30 ns.
    fn default() -> BatchSize {
        BatchSize { records: 256, linger: Duration::ZERO }
    }
}

/// What one instance may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: usize,
    pub call: Duration,
    /// Of one call's answer.
    pub output_bytes: usize,
    /// The first wait before a retry; it doubles.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// So many failures in a row without progress are no hiccup any more.
    pub failing_after: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            memory_bytes: 64 << 20,
            call: Duration::from_secs(30),
            output_bytes: 32 << 20,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(60),
            failing_after: 10,
        }
    }
}

/// What becomes of a record that cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors {
    pub policy: Policy,
    /// Where dead letters go.
    pub topic: String,
}

impl Errors {
    /// Whether rejected records go to the topic.
    pub(crate) fn parks(&self) -> bool {
        matches!(self.policy, Policy::DeadLetter | Policy::Quarantine)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Try it again for ever.
    Retry,
    /// Stop the plugin and say so.
    Stop,
    /// Count it and go on.
    Skip,
    DeadLetter,
    /// As dead-letter, and later records of the same key follow it.
    Quarantine,
}
