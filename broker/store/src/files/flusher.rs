//! Group commit: the threads that sync what was appended.
//!
//! A partition that gets its first unsynced byte queues itself; a thread takes it, syncs it and
//! publishes its new high watermark. What is appended meanwhile forms the next group, so there is
//! no timer: an idle disk answers at once, a busy one gets larger groups. When many partitions are
//! queued at once, one syncfs serves them all. (A topic can ask for a sync that comes later:
//! `flumen_log::flush`.)
//!
//! Invariants: a partition is in the queue or in the hands of one thread, never both and never
//! twice. A failed sync poisons its partition and is never tried again: the kernel has dropped the
//! pages and would answer the second try with success. What could not even be begun, for want of a
//! descriptor or of room for an index, is begun again after a pause.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::locks::lock;

/// What the flusher syncs. (A partition; the trait is the seam for the tests here.)
pub(crate) trait Flushable: Send + Sync + 'static {
    fn turn(&self) -> &Turn;
    /// Syncs all that was appended before the call and publishes it.
    fn flush(&self) -> Flushed;
    /// The same for several on one file system, in one sync if that works; what came of each.
    fn flush_together(group: &[Arc<Self>]) -> Vec<Flushed>
    where
        Self: Sized;
    /// Called behind a flush, when it is out of the flusher's hands again.
    fn flushed(&self) {}
}

/// What came of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flushed {
    /// Published, or poisoned.
    Done,
    /// Nothing was lost and nothing gained; it is to be tried again.
    NotYet,
}

/// Nobody's sync is put off for longer, nor a time beyond what a clock can tell.
const SPAN_MAX: Duration = Duration::from_secs(3600);
/// How long the want of something is given to pass.
const PAUSE: Duration = Duration::from_millis(50);

/// Where a partition stands with the flusher.
#[derive(Debug, Default)]
pub(crate) struct Turn(AtomicU8);

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const SYNCING: u8 = 2;
/// More was appended during the sync.
const SYNCING_AND_DIRTY: u8 = 3;
/// To be queued when its time has come, or when it is dirty before.
const LATER: u8 = 4;
/// To be queued when its time has come, and not before.
const PAUSED: u8 = 5;

impl Turn {
    /// True if the caller has to queue the partition.
    fn dirty(&self) -> bool {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let next = match now {
                IDLE | LATER => QUEUED,
                SYNCING => SYNCING_AND_DIRTY,
                _ => return false,
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return next == QUEUED,
                Err(other) => now = other,
            }
        }
    }

    fn begin(&self) {
        self.0.store(SYNCING, Ordering::Release);
    }

    /// True if the caller has to see to it that its time comes.
    fn later(&self) -> bool {
        self.0.compare_exchange(IDLE, LATER, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whatever was appended meanwhile.
    fn pause(&self) {
        self.0.store(PAUSED, Ordering::Release);
    }

    /// Its time has come; true if the caller has to queue the partition.
    fn ripe(&self) -> bool {
        [LATER, PAUSED].into_iter().any(|waiting| {
            self.0.compare_exchange(waiting, QUEUED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    /// True if the caller has to queue the partition again.
    fn end(&self) -> bool {
        let idle = self.0.compare_exchange(SYNCING, IDLE, Ordering::AcqRel, Ordering::Acquire);
        if idle.is_err() {
            self.0.store(QUEUED, Ordering::Release);
        }
        idle.is_err()
    }
}

/// The queue; appenders hold this side.
pub(crate) struct FlushQueue<P> {
    clock: Arc<dyn Clock>,
    state: Mutex<State<P>>,
    wake: Condvar,
    together_over: usize,
}

struct State<P> {
    dirty: VecDeque<Arc<P>>,
    /// Those whose time comes, by when, and a number to tell them apart.
    later: BTreeMap<(Instant, u64), Arc<P>>,
    numbered: u64,
    stopping: bool,
}

impl<P: Flushable> State<P> {
    fn wait(&mut self, partition: Arc<P>, due: Instant) {
        self.numbered += 1;
        self.later.insert((due, self.numbered), partition);
    }

    /// Those whose time has come are dirty; when stopping, all.
    fn wake_ripe(&mut self, now: Instant) {
        while let Some(first) = self.later.first_entry().filter(|e| e.key().0 <= now || self.stopping) {
            let partition = first.remove();
            if partition.turn().ripe() {
                self.dirty.push_back(partition);
            }
        }
    }
}

impl<P: Flushable> FlushQueue<P> {
    pub(crate) fn new(clock: Arc<dyn Clock>, together_over: usize) -> Arc<FlushQueue<P>> {
        let state = Mutex::new(State {
            dirty: VecDeque::new(),
            later: BTreeMap::new(),
            numbered: 0,
            stopping: false,
        });
        Arc::new(FlushQueue { clock, state, wake: Condvar::new(), together_over: together_over.max(1) })
    }

    /// Tells that the partition has something to sync. `arc` is asked for only if it must be queued.
    pub(crate) fn dirty(&self, turn: &Turn, arc: impl FnOnce() -> Option<Arc<P>>) {
        if turn.dirty()
            && let Some(partition) = arc()
        {
            self.push(partition);
        }
    }

    /// The same, but it has so much time.
    pub(crate) fn dirty_later(&self, turn: &Turn, span: Duration, arc: impl FnOnce() -> Option<Arc<P>>) {
        if turn.later()
            && let Some(partition) = arc()
        {
            self.lock().wait(partition, self.clock.instant() + span.min(SPAN_MAX));
            self.wake.notify_one();
        }
    }

    fn push(&self, partition: Arc<P>) {
        self.lock().dirty.push_back(partition);
        self.wake.notify_one();
    }

    /// Those to sync together, one or many, if there are any now.
    fn ready(&self, state: &mut State<P>, now: Instant) -> Option<Vec<Arc<P>>> {
        state.wake_ripe(now);
        if state.dirty.len() > self.together_over {
            return Some(state.dirty.drain(..).collect());
        }
        state.dirty.pop_front().map(|one| vec![one])
    }

    /// Waits for the next to sync together; `None` when stopping and all is done.
    fn take(&self) -> Option<Vec<Arc<P>>> {
        let mut state = self.lock();
        loop {
            let now = self.clock.instant();
            let ready = self.ready(&mut state, now);
            if ready.is_some() || state.stopping {
                return ready;
            }
            state = match state.later.keys().next() {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some((due, _)) => {
                    let pause = due.saturating_duration_since(now);
                    self.wake.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<P>> {
        lock(&self.state)
    }

    fn run(&self) {
        while let Some(group) = self.take() {
            self.flush(group);
        }
    }

    /// Syncs on this thread what is to be synced now; false if that is nothing.
    pub(crate) fn step(&self) -> bool {
        let ready = self.ready(&mut self.lock(), self.clock.instant());
        ready.map(|group| self.flush(group)).is_some()
    }

    fn flush(&self, group: Vec<Arc<P>>) {
        for partition in &group {
            partition.turn().begin();
        }
        let flushed = match group.as_slice() {
            [one] => vec![one.flush()],
            many => P::flush_together(many),
        };
        for (partition, flushed) in group.into_iter().zip(flushed) {
            match flushed {
                Flushed::Done if partition.turn().end() => self.push(partition),
                Flushed::Done => partition.flushed(),
                Flushed::NotYet => self.push_later(partition),
            }
        }
    }

    /// At a stop it has had its last chance: what it lacks is left to the next open.
    fn push_later(&self, partition: Arc<P>) {
        let mut state = self.lock();
        if !state.stopping {
            partition.turn().pause();
            state.wait(partition, self.clock.instant() + PAUSE);
        }
    }
}

/// The threads; stopped and joined by [`Flusher::stop`] or drop, after the queue is empty.
pub(crate) struct Flusher<P: Flushable> {
    queue: Arc<FlushQueue<P>>,
    threads: Vec<JoinHandle<()>>,
}

impl<P: Flushable> Flusher<P> {
    /// Without threads, whoever steps the queue does their work.
    pub(crate) fn start(queue: Arc<FlushQueue<P>>, threads: usize) -> std::io::Result<Flusher<P>> {
        let mut flusher = Flusher { queue, threads: Vec::new() };
        for n in 0..threads {
            let queue = flusher.queue.clone();
            let thread = std::thread::Builder::new().name(format!("flush-{n}"));
            flusher.threads.push(thread.spawn(move || queue.run())?);
        }
        Ok(flusher)
    }

    /// Syncs what is queued, then ends the threads.
    pub(crate) fn stop(&mut self) {
        self.queue.lock().stopping = true;
        self.queue.wake.notify_all();
        for thread in self.threads.drain(..) {
            // A panic in there has been printed; the partitions it left unsynced are not published.
            let _ = thread.join();
        }
        while self.queue.step() {}
    }
}

impl<P: Flushable> Drop for Flusher<P> {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;
    use crate::clock::OsClock;

    #[derive(Default)]
    struct Counter {
        turn: Turn,
        appended: AtomicUsize,
        synced: AtomicUsize,
        together: AtomicUsize,
        fails: AtomicUsize,
    }

    impl Flushable for Counter {
        fn turn(&self) -> &Turn {
            &self.turn
        }

        fn flush(&self) -> Flushed {
            if self.fails.load(Ordering::SeqCst) > 0 {
                self.fails.fetch_sub(1, Ordering::SeqCst);
                return Flushed::NotYet;
            }
            let upto = self.appended.load(Ordering::SeqCst);
            std::thread::yield_now();
            self.synced.store(upto, Ordering::SeqCst);
            Flushed::Done
        }

        fn flush_together(group: &[Arc<Self>]) -> Vec<Flushed> {
            let flush = |one: &Arc<Self>| {
                one.together.fetch_add(1, Ordering::SeqCst);
                one.flush()
            };
            group.iter().map(flush).collect()
        }
    }

    #[test]
    fn everything_appended_is_synced_when_the_flusher_has_stopped() {
        let queue = FlushQueue::new(Arc::new(OsClock), 2);
        let mut flusher = Flusher::start(queue.clone(), 3).unwrap();
        let partitions: Vec<Arc<Counter>> = (0..8).map(|_| Arc::default()).collect();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for round in 0..2000 {
                        let one = &partitions[round % 8];
                        one.appended.fetch_add(1, Ordering::SeqCst);
                        queue.dirty(&one.turn, || Some(one.clone()));
                    }
                });
            }
        });
        flusher.stop();
        for one in &partitions {
            assert_eq!(one.synced.load(Ordering::SeqCst), 750);
        }
    }

    #[test]
    fn many_at_once_go_together() {
        let queue = FlushQueue::new(Arc::new(OsClock), 2);
        let partitions: Vec<Arc<Counter>> = (0..5).map(|_| Arc::default()).collect();
        for one in &partitions {
            queue.dirty(&one.turn, || Some(one.clone()));
            queue.dirty(&one.turn, || unreachable!("queued already"));
        }
        Flusher::start(queue, 1).unwrap().stop();
        assert!(partitions.iter().all(|one| one.together.load(Ordering::SeqCst) == 1));
    }

    #[test]
    fn without_threads_a_step_does_what_is_to_be_done_now() {
        let queue = FlushQueue::new(Arc::new(OsClock), 2);
        let mut flusher = Flusher::start(queue.clone(), 0).unwrap();
        let (now, later): (Arc<Counter>, Arc<Counter>) = Default::default();
        assert!(!queue.step());
        for one in [&now, &later] {
            one.appended.fetch_add(1, Ordering::SeqCst);
        }
        queue.dirty(&now.turn, || Some(now.clone()));
        queue.dirty_later(&later.turn, Duration::from_secs(3600), || Some(later.clone()));
        assert!(queue.step() && !queue.step());
        assert_eq!((now.synced.load(Ordering::SeqCst), later.synced.load(Ordering::SeqCst)), (1, 0));
        flusher.stop();
        assert_eq!(later.synced.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_could_not_be_begun_is_tried_again_but_not_for_ever() {
        let queue = FlushQueue::new(Arc::new(OsClock), 2);
        let mut flusher = Flusher::start(queue.clone(), 1).unwrap();
        let one: Arc<Counter> = Arc::default();
        let dirty = || {
            one.appended.fetch_add(1, Ordering::SeqCst);
            queue.dirty(&one.turn, || Some(one.clone()));
        };
        one.fails.store(3, Ordering::SeqCst);
        dirty();
        crate::tests::testing::wait_until("it is synced", || one.synced.load(Ordering::SeqCst) == 1);
        one.fails.store(usize::MAX, Ordering::SeqCst);
        dirty();
        flusher.stop();
        assert_eq!(one.synced.load(Ordering::SeqCst), 1);
    }
}
