//! Keeps the cleaners' reads and writes below the rate that the broker was told, all threads together.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use flumen_log::throttle;
use flumen_types::ByteSize;

use crate::clock::Clock;
use crate::locks::lock;

pub(crate) struct Throttle {
    clock: Arc<dyn Clock>,
    began: Instant,
    /// `None`: as fast as the disk.
    state: Option<Mutex<throttle::Throttle>>,
    waiting: Mutex<()>,
    stopped: Condvar,
}

/// How long a topic that is deleted waits for a cleaner that pauses.
const STEP: Duration = Duration::from_millis(100);

impl Throttle {
    pub(crate) fn new(clock: Arc<dyn Clock>, bytes_per_second: Option<ByteSize>) -> Throttle {
        let throttle = |rate: ByteSize| Mutex::new(throttle::Throttle::new(rate.0 as f64));
        let (began, state) = (clock.instant(), bytes_per_second.map(throttle));
        Throttle { clock, began, state, waiting: Mutex::default(), stopped: Condvar::new() }
    }

    fn now(&self) -> Duration {
        self.clock.instant().saturating_duration_since(self.began)
    }

    #[cfg(test)]
    pub(crate) fn is_pausing(&self) -> bool {
        self.state.as_ref().is_some_and(|state| lock(state).paused_until() > self.now())
    }

    /// Takes note of bytes, and pauses if it must, or until `stopped`.
    pub(crate) fn pass(&self, bytes: usize, stopped: &dyn Fn() -> bool) {
        let Some(state) = &self.state else { return };
        let now = self.now();
        let until = now.saturating_add(lock(state).pause_after(bytes, now));
        let mut waiting = lock(&self.waiting);
        while !stopped() {
            let left = until.saturating_sub(self.now());
            if left.is_zero() {
                return;
            }
            let wait = self.stopped.wait_timeout(waiting, left.min(STEP));
            waiting = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whoever pauses looks anew whether it is stopped.
    pub(crate) fn wake(&self) {
        let _waiting = lock(&self.waiting);
        self.stopped.notify_all();
    }
}
