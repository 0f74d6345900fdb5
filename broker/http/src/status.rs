//! The JSON of `/v1/status`. `flumen status` reads it back, so that each type goes both ways.
//!
//! Invariants: fields are only ever added; a reader ignores those it does not know. Points in time are
//! milliseconds since 1970 UTC.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How the broker and everything it runs is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub version: String,
    pub node_id: i32,
    pub started_ms: i64,
    /// Addresses that Kafka clients connect to.
    pub listeners: Vec<String>,
    pub data_dir: String,
    pub configuration: Configuration,
    pub plugins: Vec<Plugin>,
    pub topics: Vec<Topic>,
    /// While the broker starts, how far it is.
    pub opening: Option<Opening>,
    pub storage: Storage,
}

/// A start that is not at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Opening {
    pub partitions: u64,
    pub partitions_done: u64,
    /// Of logs that are read again after a crash.
    pub bytes: u64,
    pub bytes_done: u64,
    pub elapsed_ms: u64,
    pub left_ms: Option<u64>,
}

/// The log on the disk, all topics together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    pub bytes: u64,
    pub segments: u64,
    pub syncs: u64,
    /// None before the first.
    pub sync_ms_mean: Option<f64>,
    /// 99 of 100 took no longer; an upper bound, for they are counted in buckets.
    pub sync_ms_p99: Option<f64>,
    /// Appends that found the disk full.
    pub refused_full: u64,
    pub cleaner_passes: u64,
    pub cleaner_failures: u64,
    pub cleaner_bytes_per_second: Option<f64>,
    /// What is compacted now.
    pub cleaning: Vec<Cleaning>,
}

/// A pass of the cleaner.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cleaning {
    pub topic: String,
    pub partition: i32,
    pub bytes: u64,
    pub bytes_done: u64,
}

/// Offsets that were in a log and cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    pub partition: i32,
    /// The first, and the one behind the last.
    pub from: i64,
    pub upto: i64,
    /// `damaged`: the bytes are there and are not whole. `missing`: they are not there.
    pub why: String,
}

/// One partition of a topic.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Partition {
    pub partition: i32,
    pub start: i64,
    pub high_watermark: i64,
    pub last_stable: i64,
    pub end: i64,
    pub bytes: u64,
    pub segments: u64,
    /// None where nothing is compacted.
    pub dirty_ratio: Option<f64>,
    /// It takes no writes until a restart.
    pub poisoned: bool,
    /// Its last write was refused because the disk was full.
    pub full: bool,
    pub lost: Vec<Lost>,
    /// Bases of segments whose batches do not fit their names.
    pub misfits: Vec<i64>,
}

/// Which file is in force, and whether the one on disk was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    pub file: Option<String>,
    pub applied_ms: i64,
    pub refused: Option<Refused>,
    /// Differences that a reload reports and never does by itself, such as a topic gone from the file.
    pub left_alone: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub since_ms: i64,
    pub problems: Vec<String>,
}

/// One plugin of the file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plugin {
    pub name: String,
    /// `source`, `transform` or `sink`.
    pub kind: String,
    /// The component that runs, by its own name.
    pub plugin: String,
    pub version: String,
    pub state: State,
    /// Why it is in this state; none while it runs well.
    pub reason: Option<String>,
    pub since_ms: i64,
    pub records_in: u64,
    pub records_out: u64,
    pub rejected: u64,
    /// Records it has yet to read; none for a source.
    pub lag: Option<u64>,
    pub restarts: u64,
    /// How often a new component or configuration took over while it ran.
    pub swaps: u64,
    /// Conditions that the plugin reports itself, and goes on: what, and why.
    pub troubles: Vec<String>,
    /// Bytes done, and bytes in all, of a finite piece of work.
    pub progress: Option<(u64, u64)>,
    /// What the plugin itself counts.
    pub counters: BTreeMap<String, u64>,
    /// What the plugin itself measures; only what is a number, JSON knows no others.
    pub gauges: BTreeMap<String, f64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    #[default]
    Starting,
    Running,
    /// Waits for a backoff to end, then tries again.
    Retrying,
    /// Retries at the longest backoff, without progress for a long time.
    Failing,
    Stopped,
    /// A finite source that has ended.
    Finished,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Running => "running",
            State::Retrying => "retrying",
            State::Failing => "failing",
            State::Stopped => "stopped",
            State::Finished => "finished",
        }
    }
}

/// One topic, summed over its partitions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Topic {
    pub name: String,
    pub partitions: u32,
    /// Offsets between start and end; with compaction or transactions there are fewer records.
    pub offsets: u64,
    pub bytes: u64,
    /// Partitions that take no writes because their disk failed.
    pub failed: Vec<i32>,
    /// Partitions whose last write was refused because the disk was full.
    pub full: Vec<i32>,
    pub segments: u64,
    /// Of what the cleaner may look at, the part that it has not; none where nothing is compacted.
    pub dirty_ratio: Option<f64>,
    /// At most a hundred ranges; `lost_offsets` counts them all.
    pub lost: Vec<Lost>,
    pub lost_offsets: u64,
    /// Partitions with segments whose batches do not fit their names.
    pub misfits: Vec<i32>,
    /// Deletes that stay in the log past their time for a sink that has not read them, by sink.
    pub held_tombstones: Vec<HeldTombstones>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeldTombstones {
    /// The sink.
    pub by: String,
    pub count: u64,
    /// When the oldest of them was to go, and where it is.
    pub since_ms: i64,
    pub partition: i32,
    pub offset: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_ignores_what_it_does_not_know() {
        let newer =
            r#"{"version":"9.0","shards":7,"plugins":[{"name":"a","state":"failing","colour":"red"}]}"#;
        let status: Status = serde_json::from_str(newer).unwrap();
        assert_eq!(status.plugins[0].state, State::Failing);
        assert_eq!(status.plugins[0].state.name(), "failing");
    }
}
