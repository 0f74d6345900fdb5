//! Keeps the cleaners' reads and writes below the rate that the broker was told, all threads together.

use std::sync::atomic::{AtomicUsize, Ordering};
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
    state: Mutex<Option<throttle::Throttle>>,
    /// Goes up when the rate changes: nobody goes on pausing for the old one.
    rates: AtomicUsize,
    waiting: Mutex<()>,
    stopped: Condvar,
}

/// How long a topic that is deleted waits for a cleaner that pauses.
const STEP: Duration = Duration::from_millis(100);

impl Throttle {
    pub(crate) fn new(clock: Arc<dyn Clock>, bytes_per_second: Option<ByteSize>) -> Throttle {
        let (began, state) = (clock.instant(), Mutex::new(bytes_per_second.map(at)));
        let (rates, waiting) = (AtomicUsize::new(0), Mutex::default());
        Throttle { clock, began, state, rates, waiting, stopped: Condvar::new() }
    }

    pub(crate) fn set_rate(&self, bytes_per_second: Option<ByteSize>) {
        *lock(&self.state) = bytes_per_second.map(at);
        self.rates.fetch_add(1, Ordering::Relaxed);
        self.wake();
    }

    fn now(&self) -> Duration {
        self.clock.instant().saturating_duration_since(self.began)
    }

    #[cfg(test)]
    pub(crate) fn is_pausing(&self) -> bool {
        lock(&self.state).as_ref().is_some_and(|state| state.paused_until() > self.now())
    }

    /// Takes note of bytes, and pauses if it must, or until `stopped`.
    pub(crate) fn pass(&self, bytes: usize, stopped: &dyn Fn() -> bool) {
        let (now, rate) = (self.now(), self.rates.load(Ordering::Relaxed));
        let Some(pause) = lock(&self.state).as_mut().map(|state| state.pause_after(bytes, now)) else {
            return;
        };
        let until = now.saturating_add(pause);
        let mut waiting = lock(&self.waiting);
        while !stopped() && self.rates.load(Ordering::Relaxed) == rate {
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

fn at(rate: ByteSize) -> throttle::Throttle {
    throttle::Throttle::new(rate.0 as f64)
}
