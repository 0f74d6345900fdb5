//! How a partition is, for people: its size, what is lost of it, what the cleaner makes of it.
//!
//! Nothing here is asked for by an append or a fetch, and nothing here reads a file: segments are counted, the
//! rest is what others have noted.

use std::ops::Range;
use std::sync::atomic::Ordering;

use flumen_log::cleaner::HeldTombstones;
use flumen_log::compaction::Dirt;
use flumen_types::Offset;

use crate::locks::{lock, read};
use crate::partition::Partition;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    pub bytes: u64,
    pub segments: u64,
    /// The last append was refused because the disk was full.
    pub full: bool,
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
    /// Tombstones past their time that the last pass left for somebody who has not read them.
    pub held_tombstones: Vec<HeldTombstones>,
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

impl Partition {
    /// Tombstones past their delete horizon that the last compaction left for somebody.
    pub fn held_tombstones(&self) -> Vec<HeldTombstones> {
        lock(&self.held_tombstones).clone()
    }

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
            full: self.full.load(Ordering::Relaxed),
            damaged: damage.map(|range| range.first..range.next).collect(),
            missing: lock(&self.gaps).clone(),
            misfits: lock(&self.misfits).clone(),
            dirt: read(&self.config).cleanup_policy.compact.then(dirt),
            cleaning: self.cleaning.now(),
            held_tombstones: self.held_tombstones(),
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
