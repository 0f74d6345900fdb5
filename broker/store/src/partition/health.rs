//! How a partition is, for people: its size, what is lost of it, what the cleaner makes of it.
//!
//! Nothing here is asked for by an append or a fetch, and nothing here reads a file: segments are counted, the
//! rest is what others have noted.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use flumen_log::compaction::Dirt;
use flumen_types::Offset;

use crate::locks::{lock, read};
use crate::partition::Partition;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    pub bytes: u64,
    pub segments: u64,
    /// It takes no appends until a restart: a sync failed.
    pub poisoned: bool,
    /// Offsets in ranges that are quarantined: their bytes are there and are not whole.
    pub damaged: Vec<Range<Offset>>,
    /// Offsets whose bytes are not there: a file was cut, or is gone.
    pub missing: Vec<Range<Offset>>,
    /// Segments that do not fit where their names put them.
    pub misfits: Vec<Offset>,
    /// As the cleaner last saw it; `None` where nothing is compacted.
    pub dirt: Option<Dirty>,
    /// The pass that runs now: bytes read, and to be read in all.
    pub cleaning: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    pub clean_bytes: u64,
    pub cleanable_bytes: u64,
}

impl Dirty {
    /// What `min.cleanable.dirty.ratio` is compared with.
    pub fn ratio(self) -> f64 {
        Dirt { clean_bytes: self.clean_bytes, cleanable_bytes: self.cleanable_bytes, ..Dirt::default() }
            .ratio()
    }
}

/// What the cleaner notes on its way.
#[derive(Default)]
pub(crate) struct Cleaning {
    clean_bytes: AtomicU64,
    cleanable_bytes: AtomicU64,
    total: AtomicU64,
    done: AtomicU64,
}

impl Cleaning {
    pub(crate) fn surveyed(&self, dirt: &Dirt) {
        self.clean_bytes.store(dirt.clean_bytes, Ordering::Relaxed);
        self.cleanable_bytes.store(dirt.cleanable_bytes, Ordering::Relaxed);
    }

    /// The dirty part is read twice: for its keys, and to rewrite it with the rest.
    fn begin(&self, dirt: &Dirt) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store((dirt.clean_bytes + 2 * dirt.cleanable_bytes).max(1), Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn end(&self) -> u64 {
        self.total.store(0, Ordering::Relaxed);
        self.done.swap(0, Ordering::Relaxed)
    }

    fn now(&self) -> Option<(u64, u64)> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.done.load(Ordering::Relaxed).min(total), total))
    }
}

impl Partition {
    pub fn health(&self) -> Health {
        let segments = self.segments_now();
        let damage = segments.iter().flat_map(|segment| segment.damage().ranges().to_vec());
        let dirt = || Dirty {
            clean_bytes: self.cleaning.clean_bytes.load(Ordering::Relaxed),
            cleanable_bytes: self.cleaning.cleanable_bytes.load(Ordering::Relaxed),
        };
        Health {
            bytes: self.size_bytes(),
            segments: segments.len() as u64,
            poisoned: self.marks().failed,
            damaged: damage.map(|range| range.first..range.next).collect(),
            missing: lock(&self.gaps).clone(),
            misfits: lock(&self.misfits).clone(),
            dirt: read(&self.config).cleanup_policy.compact.then(dirt),
            cleaning: self.cleaning.now(),
        }
    }

    /// Does a pass of the cleaner, and counts it.
    pub(crate) fn counted_pass<E>(&self, dirt: &Dirt, pass: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        self.cleaning.begin(dirt);
        let clock = &self.shared.options.clock;
        let began = clock.instant();
        let passed = pass();
        let took = clock.instant().saturating_duration_since(began);
        self.shared.vitals.cleaned(self.cleaning.end(), took, passed.is_ok());
        passed
    }
}
