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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Topic {
    pub name: String,
    pub partitions: u32,
    /// Offsets between start and end; with compaction or transactions there are fewer records.
    pub offsets: u64,
    pub bytes: u64,
    /// Partitions that take no writes because their disk failed.
    pub failed: Vec<i32>,
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
