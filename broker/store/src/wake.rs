//! How a thread that does something every so often is had to do it now.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use crate::clock::Clock;
use crate::locks::lock;

#[derive(Default)]
pub(crate) struct Wake {
    state: Mutex<State>,
    changed: Condvar,
    /// Bytes that were synced since the last checkpoint.
    synced: AtomicU64,
}

#[derive(Default)]
struct State {
    stopping: bool,
    asked: Asked,
}

/// What is not to wait for its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Settings changed: look at everything.
    pub(crate) all: bool,
    /// A recovery would have much to read.
    pub(crate) checkpoint: bool,
}

/// What a recovery has to read, twice over: a checkpoint is begun by then, and the next ends it. More if checkpoints
/// take so long that one is not begun at once.
const CHECKPOINT_BYTES: u64 = 128 << 20;

impl Wake {
    pub(crate) fn stop(&self) {
        lock(&self.state).stopping = true;
        self.changed.notify_one();
    }

    pub(crate) fn is_stopping(&self) -> bool {
        lock(&self.state).stopping
    }

    pub(crate) fn look_at_all(&self) {
        lock(&self.state).asked.all = true;
        self.changed.notify_one();
    }

    /// So many more bytes are durable.
    pub(crate) fn synced(&self, bytes: u64) {
        if self.synced.fetch_add(bytes, Ordering::Relaxed) + bytes >= CHECKPOINT_BYTES {
            self.synced.store(0, Ordering::Relaxed);
            lock(&self.state).asked.checkpoint = true;
            self.changed.notify_one();
        }
    }

    /// `None` when stopping, else what is not only due.
    pub(crate) fn wait_until(&self, clock: &dyn Clock, next: Instant) -> Option<Asked> {
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return None;
            }
            let left = next.saturating_duration_since(clock.instant());
            if state.asked != Asked::default() || left.is_zero() {
                return Some(std::mem::take(&mut state.asked));
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
