//! How a plugin is, and how its tasks tell.
//!
//! A [`Board`] belongs to one use of a plugin and outlives its instances: counts go on over a swap.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use flumen_types::Offset;
use serde::Serialize;

use crate::{Kind, lock};

/// One plugin, as `flumen status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct PluginStatus {
    pub name: String,
    pub kind: Kind,
    /// The component that runs, by its own name.
    pub plugin: String,
    pub version: String,
    /// SHA-256 of its bytes.
    pub hash: String,
    pub state: State,
    /// Why it is in this state; none while it runs well.
    pub reason: Option<String>,
    pub since_ms: i64,
    pub records_in: u64,
    pub records_out: u64,
    /// Records that were parked, skipped, or stopped it.
    pub rejected: u64,
    /// Committed records it has yet to read; none for a source.
    pub lag: Option<u64>,
    pub restarts: u64,
    pub swaps: u64,
    pub tasks: u32,
    /// Conditions that the plugin itself reports, and goes on.
    pub troubles: BTreeMap<String, Trouble>,
    /// Bytes done of bytes in all, where the plugin says so.
    pub progress: Option<(u64, u64)>,
    pub counters: BTreeMap<String, u64>,
    pub gauges: BTreeMap<String, f64>,
    /// A replacement that was refused; what ran before goes on.
    pub refused: Option<Trouble>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    pub reason: String,
    pub since_ms: i64,
}

/// Ordered from well to worst: a plugin is as its worst task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A finite source that has ended.
    Finished,
    Running,
    Starting,
    /// Waits for a backoff to end, then tries again.
    Retrying,
    /// Retries at the longest backoff, without progress for a long time.
    Failing,
    Stopped,
}

/// What one task says of itself.
#[derive(Clone, Debug)]
pub(crate) struct TaskState {
    pub state: State,
    pub reason: Option<String>,
    pub since_ms: i64,
}

/// Sums and states of all tasks of a plugin.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    tasks: BTreeMap<u32, TaskState>,
    counts: Counts,
    /// Up to where each partition has been dealt with.
    reached: BTreeMap<(String, u32), Offset>,
    restarts: u64,
    swaps: u64,
    refused: Option<Trouble>,
    /// By generation and task: during a swap two generations report.
    reports: BTreeMap<(u64, u32), Reports>,
    generation: u64,
    /// What generations before this one have counted.
    counted: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub records_in: u64,
    pub records_out: u64,
    pub rejected: u64,
}

/// What a guest has said over `metrics` and `status`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reports {
    pub counters: BTreeMap<String, u64>,
    pub gauges: BTreeMap<String, f64>,
    pub troubles: BTreeMap<String, Trouble>,
    pub progress: Option<(u64, u64)>,
}

/// One instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reporter {
    pub generation: u64,
    pub task: u32,
}

pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Board {
    pub(crate) fn set(&self, task: u32, state: State, reason: Option<String>) {
        let mut inner = lock(&self.0);
        let fresh = TaskState { state, reason, since_ms: now_ms() };
        let entry = inner.tasks.entry(task).or_insert_with(|| fresh.clone());
        // Since-when belongs to the state; the reason may become more precise meanwhile.
        if entry.state == state {
            entry.reason = fresh.reason;
        } else {
            *entry = fresh;
        }
    }

    pub(crate) fn state(&self, task: u32) -> Option<State> {
        lock(&self.0).tasks.get(&task).map(|t| t.state)
    }

    pub(crate) fn tasks(&self) -> BTreeMap<u32, TaskState> {
        lock(&self.0).tasks.clone()
    }

    /// As they were before.
    pub(crate) fn put_tasks(&self, tasks: BTreeMap<u32, TaskState>) {
        lock(&self.0).tasks = tasks;
    }

    /// Tasks from `tasks` on are no more.
    pub(crate) fn keep_tasks(&self, tasks: u32) {
        lock(&self.0).tasks.retain(|task, _| *task < tasks);
    }

    pub(crate) fn count(&self, counts: Counts) {
        let mut inner = lock(&self.0);
        inner.counts.records_in += counts.records_in;
        inner.counts.records_out += counts.records_out;
        inner.counts.rejected += counts.rejected;
    }

    pub(crate) fn reached(&self, topic: &str, partition: u32, offset: Offset) {
        lock(&self.0).reached.insert((topic.to_owned(), partition), offset);
    }

    /// Other topics are no inputs any more.
    pub(crate) fn keep_inputs(&self, inputs: &[String]) {
        lock(&self.0).reached.retain(|(topic, _), _| inputs.contains(topic));
    }

    /// How many offsets lie between what has been dealt with and the ends.
    fn lag(&self, end: impl Fn(&str, u32) -> Option<Offset>) -> u64 {
        let reached = lock(&self.0).reached.clone();
        let behind = |((topic, partition), at): (&(String, u32), &Offset)| {
            end(topic, *partition).map_or(0, |end| end.since(*at).max(0) as u64)
        };
        reached.iter().map(behind).sum()
    }

    pub(crate) fn restarted(&self) {
        lock(&self.0).restarts += 1;
    }

    /// The instances of this generation are the plugin now.
    pub(crate) fn swapped(&self, generation: u64) {
        let mut inner = lock(&self.0);
        inner.swaps += 1;
        inner.refused = None;
        inner.generation = generation;
        let (kept, gone) =
            std::mem::take(&mut inner.reports).into_iter().partition(|(of, _)| of.0 == generation);
        inner.reports = kept;
        let gone: BTreeMap<(u64, u32), Reports> = gone;
        for (name, count) in gone.into_values().flat_map(|reports| reports.counters) {
            *inner.counted.entry(name).or_default() += count;
        }
    }

    /// A generation that was refused has never been.
    pub(crate) fn forget(&self, generation: u64) {
        lock(&self.0).reports.retain(|of, _| of.0 != generation);
    }

    pub(crate) fn refused(&self, reason: Option<String>) {
        lock(&self.0).refused = reason.map(|reason| Trouble { reason, since_ms: now_ms() });
    }

    pub(crate) fn report(&self, reporter: Reporter, change: impl FnOnce(&mut Reports)) {
        change(lock(&self.0).reports.entry((reporter.generation, reporter.task)).or_default());
    }

    /// A new instance starts with a clean slate of conditions; its counters go on.
    pub(crate) fn clear_reports(&self, reporter: Reporter) {
        if let Some(reports) = lock(&self.0).reports.get_mut(&(reporter.generation, reporter.task)) {
            reports.troubles.clear();
            reports.gauges.clear();
            reports.progress = None;
        }
    }

    /// The worst task's state, or of those equally bad the one that has been so for longest.
    pub(crate) fn worst(&self) -> Option<TaskState> {
        let inner = lock(&self.0);
        inner.tasks.values().max_by_key(|t| (t.state, std::cmp::Reverse(t.since_ms))).cloned()
    }

    /// Fills what the board knows into a status. `end` tells where a partition ends now.
    pub(crate) fn fill(&self, status: &mut PluginStatus, end: impl Fn(&str, u32) -> Option<Offset>) {
        if let Some(worst) = self.worst() {
            status.state = worst.state;
            status.reason = worst.reason;
            status.since_ms = worst.since_ms;
        }
        status.lag = (status.kind != Kind::Source).then(|| self.lag(end));
        let inner = lock(&self.0);
        status.records_in = inner.counts.records_in;
        status.records_out = inner.counts.records_out;
        status.rejected = inner.counts.rejected;
        status.restarts = inner.restarts;
        status.swaps = inner.swaps;
        status.refused = inner.refused.clone();
        status.counters = inner.counted.clone();
        for (_, reports) in inner.reports.iter().filter(|(of, _)| of.0 == inner.generation) {
            for (name, count) in &reports.counters {
                *status.counters.entry(name.clone()).or_default() += count;
            }
            status.gauges.extend(reports.gauges.clone());
            status.troubles.extend(reports.troubles.clone());
            if let Some((done, total)) = reports.progress {
                let so_far = status.progress.unwrap_or_default();
                status.progress = Some((so_far.0 + done, so_far.1 + total));
            }
        }
    }
}
