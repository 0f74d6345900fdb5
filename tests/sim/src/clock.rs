//! Time, which stands still until it is told to go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use flumen_store::Clock;
use flumen_types::Timestamp;

/// Where every run begins.
pub(crate) const BEGIN: i64 = 1_700_000_000_000;

#[derive(Clone, Debug)]
pub(crate) struct SimClock {
    /// Only ever compared with itself.
    began: Instant,
    passed_ms: Arc<AtomicI64>,
}

impl SimClock {
    pub(crate) fn new() -> SimClock {
        SimClock { began: Instant::now(), passed_ms: Arc::default() }
    }

    /// One that goes on from here by itself.
    pub(crate) fn fork(&self) -> SimClock {
        let passed_ms = self.passed_ms.load(Ordering::Relaxed);
        SimClock { began: self.began, passed_ms: Arc::new(AtomicI64::new(passed_ms)) }
    }

    pub(crate) fn pass(&self, ms: i64) {
        self.passed_ms.fetch_add(ms, Ordering::Relaxed);
    }

    pub(crate) fn now_ms(&self) -> i64 {
        BEGIN + self.passed_ms.load(Ordering::Relaxed)
    }
}

impl Default for SimClock {
    fn default() -> Self {
        SimClock::new()
    }
}

impl Clock for SimClock {
    fn instant(&self) -> Instant {
        self.began + Duration::from_millis(self.passed_ms.load(Ordering::Relaxed).unsigned_abs())
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.now_ms())
    }
}
