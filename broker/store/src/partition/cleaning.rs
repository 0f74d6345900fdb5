//! How the cleaner stands with a partition: what it has noted on its way, and why it does not go on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use flumen_log::compaction::Dirt;

/// What the cleaner notes on its way.
#[derive(Default)]
pub(crate) struct Cleaning {
    pub(super) clean_bytes: AtomicU64,
    pub(super) cleanable_bytes: AtomicU64,
    total: AtomicU64,
    done: AtomicU64,
}

impl Cleaning {
    pub(crate) fn surveyed(&self, dirt: &Dirt) {
        self.clean_bytes.store(dirt.clean_bytes, Ordering::Relaxed);
        self.cleanable_bytes.store(dirt.cleanable_bytes, Ordering::Relaxed);
    }

    /// The dirty part is read twice: for its keys, and to rewrite it with the rest.
    pub(super) fn begin(&self, dirt: &Dirt) {
        self.done.store(0, Ordering::Relaxed);
        self.total.store((dirt.clean_bytes + 2 * dirt.cleanable_bytes).max(1), Ordering::Relaxed);
    }

    pub(crate) fn read(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn end(&self) -> u64 {
        self.total.store(0, Ordering::Relaxed);
        self.done.swap(0, Ordering::Relaxed)
    }

    pub(super) fn now(&self) -> Option<(u64, u64)> {
        let total = self.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.done.load(Ordering::Relaxed).min(total), total))
    }
}

/// Why a partition is not compacted, as its status says it.
#[derive(Clone, Debug)]
pub struct CleaningFailure {
    /// In a row.
    pub failures: u32,
    pub reason: String,
    pub(crate) next_try: Instant,
}
