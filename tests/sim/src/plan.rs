//! What a seed decides before anything happens: which topics there are, what goes wrong, and how often.

use std::collections::BTreeMap;

use crate::disk::Faults;
use crate::model::Log;
use crate::rng::Rng;

pub(crate) type Configs = BTreeMap<String, String>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleanup {
    Delete,
    Compact,
    Both,
    /// `flush.messages`: acknowledged before it is durable.
    Behind,
}

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// By name; there is no more of one name than one.
    pub(crate) topics: Vec<(String, Cleanup)>,
    /// Operations between two starts.
    pub(crate) steps_max: u64,
    pub(crate) outages: u64,
    /// What goes wrong in a window of trouble.
    pub(crate) trouble: Faults,
    /// Windows of trouble come.
    pub(crate) troubled: bool,
    /// Reads and writes are short, all the time.
    pub(crate) short: u64,
    /// Media faults come.
    pub(crate) rots: bool,
    pub(crate) syncfs_over: usize,
    pub(crate) open_files_max: usize,
}

impl Plan {
    pub(crate) fn new(rng: &mut Rng) -> Plan {
        let kinds = [
            Cleanup::Delete,
            Cleanup::Delete,
            Cleanup::Compact,
            Cleanup::Compact,
            Cleanup::Both,
            Cleanup::Behind,
        ];
        let topics = (0..2 + rng.below(2)).map(|n| (format!("t{n}"), *rng.pick(&kinds))).collect();
        let mut chance = |of: u64| if rng.percent(50) { 0 } else { rng.below(of) };
        let trouble = Faults {
            read_fails: chance(400),
            write_fails: chance(1500),
            sync_fails: chance(2500),
            short: 0,
            full: false,
        };
        Plan {
            topics,
            steps_max: 10 + rng.below(60),
            outages: 2 + rng.below(4),
            trouble: Faults { full: rng.percent(40), ..trouble },
            troubled: rng.percent(35),
            short: if rng.percent(30) { 1 + rng.below(2000) } else { 0 },
            rots: rng.percent(15),
            syncfs_over: *rng.pick(&[1, 2, 32]),
            open_files_max: *rng.pick(&[1, 3, 4096]),
        }
    }
}

impl Plan {
    /// Nothing of a run's own: what happens is told by whoever has it.
    pub(crate) fn bare(syncfs_over: usize) -> Plan {
        Plan {
            topics: Vec::new(),
            steps_max: 0,
            outages: 0,
            trouble: Faults::default(),
            troubled: false,
            short: 0,
            rots: false,
            syncfs_over,
            open_files_max: 4096,
        }
    }
}

impl Cleanup {
    pub(crate) fn configs(self, rng: &mut Rng) -> Configs {
        let mut configs = Configs::new();
        let mut set = |key: &str, value: String| configs.insert(key.to_string(), value);
        set("internal.segment.bytes", rng.pick(&[500, 1500, 6000, 20_000]).to_string());
        set("index.interval.bytes", rng.pick(&[1, 300, 4096]).to_string());
        set("file.delete.delay.ms", rng.pick(&[0, 0, 5000]).to_string());
        set("retention.ms", "-1".to_string());
        if rng.percent(20) {
            set("segment.ms", "60000".to_string());
        }
        let policy = match self {
            Cleanup::Delete | Cleanup::Behind => "delete",
            Cleanup::Compact => "compact",
            Cleanup::Both => "compact,delete",
        };
        set("cleanup.policy", policy.to_string());
        if matches!(self, Cleanup::Delete | Cleanup::Both | Cleanup::Behind) && rng.percent(60) {
            set("retention.ms", rng.pick(&[20_000, 600_000]).to_string());
        }
        if matches!(self, Cleanup::Compact | Cleanup::Both) {
            set("min.cleanable.dirty.ratio", rng.pick(&["0", "0.3"]).to_string());
            set("delete.retention.ms", rng.pick(&[5_000, 100_000]).to_string());
            if rng.percent(20) {
                set("min.compaction.lag.ms", "3000".to_string());
            }
        }
        if self == Cleanup::Behind {
            set("flush.messages", rng.pick(&[3, 10, 1000]).to_string());
            if rng.percent(50) {
                set("flush.ms", "2000".to_string());
            }
        }
        configs
    }

    pub(crate) fn log(self) -> Log {
        Log {
            behind: self == Cleanup::Behind,
            compacted: matches!(self, Cleanup::Compact | Cleanup::Both),
            ..Log::default()
        }
    }
}
