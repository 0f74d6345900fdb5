//! The threads that retention and checkpoints run on, and compaction.
//!
//! A compaction takes long, so it has threads of its own (`cleaners` says what each is at);
//! retention passes over the partition that one is at, and is caught up with behind it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::error::chain;
use crate::upkeep::cleaners::Cleaners;
use crate::upkeep::tasks::Upkeep;
use crate::wake::Wake;

/// The threads; drop it to end them after what they are at, and join them.
pub(crate) struct Maintenance {
    upkeep: Worker,
    cleaners: Vec<Worker>,
    /// Those that were told to end, and may still be at something.
    leaving: Vec<Worker>,
    agenda: Arc<Cleaners>,
}

impl Maintenance {
    pub(crate) fn start(upkeep: &Arc<Upkeep>) -> std::io::Result<Maintenance> {
        let wake = upkeep.shared.upkeep.clone();
        let mut maintenance = Maintenance {
            upkeep: Worker::start("log-upkeep".into(), upkeep, wake, keep_up)?,
            cleaners: Vec::new(),
            leaving: Vec::new(),
            agenda: Arc::default(),
        };
        maintenance.set_cleaners(upkeep)?;
        Ok(maintenance)
    }

    /// Has as many threads compact as there are to be; one too many ends after the partition it is at.
    pub(crate) fn set_cleaners(&mut self, upkeep: &Arc<Upkeep>) -> std::io::Result<()> {
        let options = upkeep.shared.settings().cleaner.clone();
        let wanted = if options.enabled { options.threads.max(1) } else { 0 };
        for worker in self.cleaners.drain(wanted.min(self.cleaners.len())..) {
            worker.wake.stop();
            self.leaving.push(worker);
        }
        self.leaving.retain(|worker| worker.thread.as_ref().is_some_and(|thread| !thread.is_finished()));
        for n in self.cleaners.len()..wanted {
            let agenda = self.agenda.clone();
            let run = move |upkeep: &Upkeep, wake: &Wake| clean(upkeep, wake, &agenda);
            self.cleaners.push(Worker::start(format!("log-cleaner-{n}"), upkeep, Arc::default(), run)?);
        }
        Ok(())
    }

    /// Has everything looked at soon.
    pub(crate) fn wake(&self) {
        for worker in self.cleaners.iter().chain([&self.upkeep]) {
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
    let backoff = || upkeep.shared.settings().cleaner.backoff;
    let mut compaction = Rounds::new(clock, backoff());
    while let Some(asked) = wake.wait_until(clock, compaction.next) {
        compaction.every = backoff();
        if compaction.due(asked.all) {
            cleaners.work(upkeep, wake);
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
