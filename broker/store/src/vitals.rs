//! What the store counts of itself: its threads add, anybody reads, nobody waits.
//!
//! Invariants: a count is one relaxed addition, no lock is on the way of an append or a read. What is told of
//! one partition is `partition::health`'s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::locks::lock;

/// Upper ends of the buckets of [`SyncTimes`], in seconds.
pub const SYNC_SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// How long syncs took, as a histogram.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SyncTimes {
    /// Syncs that took up to [`SYNC_SECONDS`], not added up; those that took longer are the last.
    pub counts: [u64; SYNC_SECONDS.len() + 1],
    pub seconds: f64,
}

/// Counts of everything that all partitions have in common.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counts {
    pub syncs: SyncTimes,
    /// Appends that found the disk full.
    pub refused_full: u64,
    pub cleaned: Cleaned,
}

/// What the cleaner has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cleaned {
    pub passes: u64,
    /// Passes that ended early; they are tried again.
    pub failures: u64,
    /// Bytes that were read for it; over `seconds`, its speed.
    pub bytes_read: u64,
    pub seconds: f64,
}

/// The counters themselves; a handle to them outlives the store.
#[derive(Default)]
pub struct Vitals {
    syncs: [AtomicU64; SYNC_SECONDS.len() + 1],
    sync_nanos: AtomicU64,
    refused_full: AtomicU64,
    told_full: Mutex<Option<(Instant, u64)>>,
    passes: AtomicU64,
    failures: AtomicU64,
    bytes_read: AtomicU64,
    clean_nanos: AtomicU64,
}

/// Between two words about a full disk.
const TELL_FULL_EVERY: Duration = Duration::from_secs(10);

impl Vitals {
    /// Does a sync and takes its time.
    pub(crate) fn sync<T>(&self, clock: &dyn Clock, sync: impl FnOnce() -> T) -> T {
        let began = clock.instant();
        let done = sync();
        let took = clock.instant().saturating_duration_since(began);
        let bucket = SYNC_SECONDS.partition_point(|upto| *upto < took.as_secs_f64());
        self.syncs[bucket].fetch_add(1, Ordering::Relaxed);
        self.sync_nanos.fetch_add(nanos(took), Ordering::Relaxed);
        done
    }

    /// An append found the disk full. How many did since it was last said, if it is to be said again.
    pub(crate) fn refused_full(&self, now: Instant) -> Option<u64> {
        let refused = self.refused_full.fetch_add(1, Ordering::Relaxed) + 1;
        let mut told = lock(&self.told_full);
        match *told {
            Some((at, _)) if now.saturating_duration_since(at) < TELL_FULL_EVERY => None,
            last => {
                *told = Some((now, refused));
                Some(refused.saturating_sub(last.map_or(0, |(_, before)| before)))
            }
        }
    }

    /// A pass of the cleaner has ended, well or early.
    pub(crate) fn cleaned(&self, bytes_read: u64, took: Duration, ended_well: bool) {
        let ended = if ended_well { &self.passes } else { &self.failures };
        ended.fetch_add(1, Ordering::Relaxed);
        self.bytes_read.fetch_add(bytes_read, Ordering::Relaxed);
        self.clean_nanos.fetch_add(nanos(took), Ordering::Relaxed);
    }

    /// As they are now.
    pub fn counts(&self) -> Counts {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let seconds = |nanos: &AtomicU64| get(nanos) as f64 / 1e9;
        let counts = std::array::from_fn(|at| get(&self.syncs[at]));
        Counts {
            syncs: SyncTimes { counts, seconds: seconds(&self.sync_nanos) },
            refused_full: get(&self.refused_full),
            cleaned: Cleaned {
                passes: get(&self.passes),
                failures: get(&self.failures),
                bytes_read: get(&self.bytes_read),
                seconds: seconds(&self.clean_nanos),
            },
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// How far an open is; handed in by whoever shows it, because there is no store yet.
#[derive(Debug, Default)]
pub struct Progress {
    began: OnceLock<Instant>,
    partitions: AtomicU64,
    partitions_done: AtomicU64,
    bytes: AtomicU64,
    bytes_done: AtomicU64,
}

/// [`Progress`] at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    pub partitions: u64,
    pub partitions_done: u64,
    /// Of logs that are read again after a crash; none after a clean stop.
    pub bytes: u64,
    pub bytes_done: u64,
    pub elapsed: Duration,
    /// By how fast it went so far; `None` while nothing is done, or all is.
    pub left: Option<Duration>,
}

impl Progress {
    pub(crate) fn begin(&self, partitions: usize, now: Instant) {
        self.partitions.store(partitions as u64, Ordering::Relaxed);
        self.began.get_or_init(|| now);
    }

    /// So much more is to be read again.
    pub(crate) fn expect(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So much of it need not be.
    pub(crate) fn spare(&self, bytes: u64) {
        let less = |expected: u64| Some(expected.saturating_sub(bytes));
        // It never refuses.
        let _ = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    pub(crate) fn read(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says how many are, this one too.
    pub(crate) fn loaded_one(&self) -> usize {
        self.partitions_done.fetch_add(1, Ordering::Relaxed) as usize + 1
    }

    /// As it stands at a moment; whoever shows it has a clock of its own.
    pub fn at(&self, now: Instant) -> Opening {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (partitions, bytes) = (get(&self.partitions), get(&self.bytes));
        let partitions_done = get(&self.partitions_done).min(partitions);
        let bytes_done = get(&self.bytes_done).min(bytes);
        let elapsed = self.began.get().map_or(Duration::ZERO, |began| now.saturating_duration_since(*began));
        let (done, of) = if bytes > 0 { (bytes_done, bytes) } else { (partitions_done, partitions) };
        let left = if partitions_done == partitions { None } else { left(elapsed, done, of) };
        Opening { partitions, partitions_done, bytes, bytes_done, elapsed, left }
    }
}

fn left(elapsed: Duration, done: u64, of: u64) -> Option<Duration> {
    (done > 0).then(|| elapsed.mul_f64(of.saturating_sub(done) as f64 / done as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::OsClock;

    #[test]
    fn a_full_disk_is_told_of_once_in_a_while_and_what_was_unsaid_is_counted() {
        let (vitals, now) = (Vitals::default(), OsClock.instant());
        assert_eq!(vitals.refused_full(now), Some(1));
        for _ in 0..1000 {
            assert_eq!(vitals.refused_full(now + TELL_FULL_EVERY / 2), None);
        }
        assert_eq!(vitals.refused_full(now + TELL_FULL_EVERY), Some(1001));
        assert_eq!(vitals.counts().refused_full, 1002);
    }

    #[test]
    fn a_sync_is_counted_where_its_time_belongs() {
        let vitals = Vitals::default();
        // Clocks of some machines stand still for a while.
        let slow = || {
            let began = OsClock.instant();
            while OsClock.instant() == began {}
            5
        };
        assert_eq!(vitals.sync(&OsClock, slow), 5);
        let syncs = vitals.counts().syncs;
        assert_eq!(syncs.counts.iter().sum::<u64>(), 1);
        assert!(syncs.seconds > 0.0);
    }

    #[test]
    fn the_time_left_is_told_from_what_was_read() {
        let progress = Progress::default();
        assert_eq!(progress.at(OsClock.instant()), Opening::default());
        progress.begin(3, OsClock.instant());
        progress.expect(1000);
        assert_eq!(progress.at(OsClock.instant()).left, None, "nothing is known yet");
        progress.read(250);
        assert!(progress.at(OsClock.instant()).left.is_some());
        assert_eq!(left(Duration::from_secs(1), 250, 1000), Some(Duration::from_secs(3)));
        for _ in 0..3 {
            progress.loaded_one();
        }
        progress.read(9000);
        let now = progress.at(OsClock.instant());
        assert_eq!((now.left, now.partitions_done, now.bytes_done), (None, 3, 1000));
    }
}
