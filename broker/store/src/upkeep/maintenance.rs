//! The threads that retention and checkpoints run on, and compaction.
//!
//! A trouble with one partition is told and does not keep the others waiting; it is tried again the
//! next time round. A compaction takes long, so it has threads of its own (`cleaners` says what each is at);
//! retention passes over the partition that one is at, and is caught up with behind it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flumen_log::checkpoint::Offsets;
use flumen_types::{Timestamp, TopicPartition};

use crate::clock::Clock;
use crate::error::{FileError, chain};
use crate::files::checkpoints;
use crate::locks::{lock, read};
use crate::partition::{Partition, Shared};
use crate::upkeep::cleaners::Cleaners;

pub(crate) type Partitions = RwLock<HashMap<TopicPartition, Arc<Partition>>>;

/// What upkeep works on.
pub(crate) struct Upkeep {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partitions: Arc<Partitions>,
}

/// By name: what is done to all is done in the same order each time.
pub(crate) fn in_order(partitions: &Partitions) -> Vec<Arc<Partition>> {
    let mut all: Vec<Arc<Partition>> = read(partitions).values().cloned().collect();
    all.sort_unstable_by(|a, b| a.id().cmp(b.id()));
    all
}

impl Upkeep {
    pub(crate) fn partitions_now(&self) -> Vec<Arc<Partition>> {
        in_order(&self.partitions)
    }

    /// Drops what is to go, everywhere.
    pub(crate) fn retain(&self, now: Timestamp) {
        for partition in self.partitions_now() {
            self.retain_one(&partition, now);
        }
    }

    pub(crate) fn retain_one(&self, partition: &Partition, now: Timestamp) {
        if let Err(error) = partition.retain(now) {
            tracing::warn!(partition = %partition.id(), error = %chain(&error), "retention failed; it is tried again");
        }
    }

    /// Compacts what is due, everywhere, one after another.
    pub(crate) fn compact(&self, now: Timestamp) {
        for partition in self.due(now, |_| true) {
            self.compact_one(&partition, now);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    /// Looks once for what nobody would miss before they read there.
    pub(crate) fn look_for_gaps(&self) {
        for partition in self.partitions_now() {
            if let Err(error) = partition.look_for_gaps() {
                tracing::warn!(partition = %partition.id(), error = %chain(&error), "its segments cannot be looked through for gaps");
            }
        }
    }

    /// Notes how far everything is durable, so that a recovery need not look before that. One at a time:
    /// what is written last is what was asked last, and knows no partition that is gone.
    pub(crate) fn checkpoint(&self) -> Result<(), FileError> {
        let _one = lock(&self.shared.checkpointing);
        let points: Offsets =
            self.partitions_now().iter().map(|p| (p.id().clone(), p.recovery_point())).collect();
        let dir = &self.shared.options.dir;
        self.shared.starts.save()?;
        self.save_cleaned()?;
        checkpoints::save(self.shared.files(), dir, checkpoints::RECOVERY_POINTS, &points)
    }

    /// Notes how far everything is compacted, so that nothing is compacted twice.
    pub(crate) fn checkpoint_cleaned(&self) -> Result<(), FileError> {
        // The threads that compact come here side by side; what is read first must not be written last.
        let _one = lock(&self.shared.checkpointing);
        self.save_cleaned()
    }

    fn save_cleaned(&self) -> Result<(), FileError> {
        let cleaned = |p: &Arc<Partition>| p.cleaned_upto().map(|upto| (p.id().clone(), upto));
        let cleaned: Offsets = self.partitions_now().iter().filter_map(cleaned).collect();
        checkpoints::save(self.shared.files(), &self.shared.options.dir, checkpoints::CLEANED, &cleaned)
    }
}

/// The threads; drop it to end them after what they are at, and join them.
pub(crate) struct Maintenance {
    workers: Vec<Worker>,
}

impl Maintenance {
    pub(crate) fn start(upkeep: &Arc<Upkeep>) -> std::io::Result<Maintenance> {
        let mut workers = vec![Worker::start("log-upkeep".into(), upkeep, keep_up)?];
        let options = &upkeep.shared.options.cleaner;
        let cleaners = if options.enabled { options.threads.max(1) } else { 0 };
        let shared: Arc<Cleaners> = Arc::default();
        for n in 0..cleaners {
            let shared = shared.clone();
            let run = move |upkeep: &Upkeep, wake: &Wake| clean(upkeep, wake, &shared);
            workers.push(Worker::start(format!("log-cleaner-{n}"), upkeep, run)?);
        }
        Ok(Maintenance { workers })
    }

    /// Has everything looked at soon.
    pub(crate) fn wake(&self) {
        for worker in &self.workers {
            lock(&worker.wake.state).now = true;
            worker.wake.changed.notify_one();
        }
    }
}

struct Worker {
    wake: Arc<Wake>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start(
        name: String,
        upkeep: &Arc<Upkeep>,
        run: impl FnOnce(&Upkeep, &Wake) + Send + 'static,
    ) -> std::io::Result<Worker> {
        let wake: Arc<Wake> = Arc::default();
        let (upkeep, shared) = (upkeep.clone(), wake.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || run(&upkeep, &shared))?;
        Ok(Worker { wake, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        lock(&self.wake.state).stopping = true;
        self.wake.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; nothing it was at counts before it is whole.
            let _ = thread.join();
        }
    }
}

#[derive(Default)]
struct Wake {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopping: bool,
    /// Settings changed: look at everything now.
    now: bool,
}

fn keep_up(upkeep: &Upkeep, wake: &Wake) {
    upkeep.look_for_gaps();
    let options = &upkeep.shared.options;
    let clock = &*options.clock;
    let mut retention = Rounds::new(clock, options.retention_interval);
    let mut checkpoint = Rounds::new(clock, options.checkpoint_interval);
    while let Some(all) = wake.wait_until(clock, retention.next.min(checkpoint.next)) {
        if retention.due(all) {
            upkeep.retain(clock.now());
        }
        if checkpoint.due(false)
            && let Err(error) = upkeep.checkpoint()
        {
            tracing::warn!(error = %chain(&error), "writing the checkpoints failed; it is tried again");
        }
    }
}

fn clean(upkeep: &Upkeep, wake: &Wake, cleaners: &Cleaners) {
    let clock = &*upkeep.shared.options.clock;
    let mut compaction = Rounds::new(clock, upkeep.shared.options.cleaner.backoff);
    while let Some(all) = wake.wait_until(clock, compaction.next) {
        if compaction.due(all) {
            cleaners.work(upkeep);
        }
    }
}

impl Wake {
    /// `None` when stopping, else whether everything is to be looked at.
    fn wait_until(&self, clock: &dyn Clock, next: Instant) -> Option<bool> {
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return None;
            }
            let left = next.saturating_duration_since(clock.instant());
            if state.now || left.is_zero() {
                return Some(std::mem::take(&mut state.now));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

struct Rounds<'a> {
    clock: &'a dyn Clock,
    every: Duration,
    next: Instant,
}

impl<'a> Rounds<'a> {
    fn new(clock: &'a dyn Clock, every: Duration) -> Rounds<'a> {
        Rounds { clock, every, next: clock.instant() + every }
    }

    fn due(&mut self, anyway: bool) -> bool {
        let now = self.clock.instant();
        let due = anyway || self.next <= now;
        if due {
            self.next = now + self.every;
        }
        due
    }
}
