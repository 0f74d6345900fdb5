//! The threads that retention and checkpoints run on, and compaction.
//!
//! A trouble with one partition is told and does not keep the others waiting; it is tried again the
//! next time round. A compaction takes long, so it has threads of its own (`cleaners` says what each is at);
//! retention passes over the partition that one is at, and is caught up with behind it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flumen_log::checkpoint::Offsets;
use flumen_types::{Timestamp, TopicPartition};

use crate::clock::Clock;
use crate::error::{FileError, chain};
use crate::files::checkpoints;
use crate::files::durable_file::{self, SYNC_ALL_OVER};
use crate::files::site::Site;
use crate::locks::{lock, read};
use crate::partition::{Partition, Shared};
use crate::upkeep::cleaners::Cleaners;
use crate::wake::Wake;

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
        let partitions = self.partitions_now();
        self.advance(&partitions)?;
        for partition in &partitions {
            if let Err(error) = partition.take_moment() {
                tracing::warn!(partition = %partition.id(), error = %chain(&error), "its recovery point stays where it was");
            }
        }
        // Of those that are idle it is durable already; the others' turn is the next checkpoint.
        self.advance(&partitions)?;
        self.save_all()
    }

    /// Moves the recovery points of those whose last moment is durable.
    fn advance(&self, partitions: &[Arc<Partition>]) -> Result<(), FileError> {
        let stays = |partition: &Partition, error: &FileError| {
            tracing::warn!(partition = %partition.id(), error = %chain(error), "its recovery point stays where it was");
        };
        let mut written = Vec::new();
        for partition in partitions {
            match partition.write_moment() {
                Ok(moment) => written.extend(moment.map(|moment| (partition, moment))),
                Err(error) => stays(partition, &error),
            }
        }
        let many = written.len() > SYNC_ALL_OVER;
        if many {
            durable_file::sync_all(self.shared.files(), &self.shared.options.dir, Site::CheckpointTogether)?;
        }
        for (partition, moment) in &written {
            let synced = if many { Ok(()) } else { partition.sync_moment(moment) };
            if let Err(error) = synced.and_then(|()| partition.pass_moment(moment)) {
                stays(partition, &error);
            }
        }
        Ok(())
    }

    /// The files that say so, of all partitions.
    pub(crate) fn save_checkpoints(&self) -> Result<(), FileError> {
        let _one = lock(&self.shared.checkpointing);
        self.save_all()
    }

    fn save_all(&self) -> Result<(), FileError> {
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
        let mut workers =
            vec![Worker::start("log-upkeep".into(), upkeep, upkeep.shared.upkeep.clone(), keep_up)?];
        let options = &upkeep.shared.options.cleaner;
        let cleaners = if options.enabled { options.threads.max(1) } else { 0 };
        let shared: Arc<Cleaners> = Arc::default();
        for n in 0..cleaners {
            let shared = shared.clone();
            let run = move |upkeep: &Upkeep, wake: &Wake| clean(upkeep, wake, &shared);
            workers.push(Worker::start(format!("log-cleaner-{n}"), upkeep, Arc::default(), run)?);
        }
        Ok(Maintenance { workers })
    }

    /// Has everything looked at soon.
    pub(crate) fn wake(&self) {
        for worker in &self.workers {
            worker.wake.look_at_all();
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
        wake: Arc<Wake>,
        run: impl FnOnce(&Upkeep, &Wake) + Send + 'static,
    ) -> std::io::Result<Worker> {
        let (upkeep, shared) = (upkeep.clone(), wake.clone());
        let thread = std::thread::Builder::new().name(name).spawn(move || run(&upkeep, &shared))?;
        Ok(Worker { wake, thread: Some(thread) })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.wake.stop();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; nothing it was at counts before it is whole.
            let _ = thread.join();
        }
    }
}

fn keep_up(upkeep: &Upkeep, wake: &Wake) {
    upkeep.look_for_gaps();
    let options = &upkeep.shared.options;
    let clock = &*options.clock;
    let mut retention = Rounds::new(clock, options.retention_interval);
    let mut checkpoint = Rounds::new(clock, options.checkpoint_interval);
    let mut quiet = clock.instant();
    while let Some(asked) = wake.wait_until(clock, retention.next.min(checkpoint.next)) {
        if retention.due(asked.all) {
            upkeep.retain(clock.now());
        }
        // Where there are many partitions one takes long: it is not to be all that is done.
        let began = clock.instant();
        if !checkpoint.due(asked.checkpoint && began >= quiet) {
            continue;
        }
        if let Err(error) = upkeep.checkpoint() {
            tracing::warn!(error = %chain(&error), "writing the checkpoints failed; it is tried again");
        }
        let ended = clock.instant();
        quiet = ended + (ended - began) * QUIET_TIMES;
    }
}

/// After a checkpoint none is made before so many times what it took, unless its time has come.
const QUIET_TIMES: u32 = 10;

fn clean(upkeep: &Upkeep, wake: &Wake, cleaners: &Cleaners) {
    let clock = &*upkeep.shared.options.clock;
    let mut compaction = Rounds::new(clock, upkeep.shared.options.cleaner.backoff);
    while let Some(asked) = wake.wait_until(clock, compaction.next) {
        if compaction.due(asked.all) {
            cleaners.work(upkeep);
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
