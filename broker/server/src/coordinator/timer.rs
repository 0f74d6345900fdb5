//! One task for all deadlines of a coordinator.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI64, Ordering};

use flumen_types::{Millis, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::time::Clock;

/// Nothing sleeps longer: what forgot to set the alarm is late, not lost.
const SLEEP_MAX: Millis = Millis(60_000);

const AFTER_PANIC: Millis = Millis(1000);

/// When the task wakes, known to those who may need it earlier.
pub(crate) struct Alarm {
    at: AtomicI64,
    earlier: Notify,
}

impl Default for Alarm {
    fn default() -> Self {
        Alarm { at: AtomicI64::new(i64::MAX), earlier: Notify::new() }
    }
}

impl Alarm {
    /// Somebody has to be looked at by `due`.
    pub(crate) fn set(&self, due: Option<Timestamp>) {
        if due.is_some_and(|due| due.0 < self.at.load(Ordering::Acquire)) {
            self.earlier.notify_one();
        }
    }

    /// Calls `tick` whenever something is due, until `stop`; it tells when to come back.
    pub(crate) async fn run(
        &self,
        clock: Clock,
        stop: CancellationToken,
        mut tick: impl FnMut(Timestamp) -> Option<Timestamp>,
    ) {
        loop {
            // Until the next time is known, everybody who sets the alarm rings it.
            self.at.store(i64::MAX, Ordering::Release);
            let now = clock.now();
            let latest = now.plus(SLEEP_MAX);
            // A bug in one group must not end the sessions of all others.
            let ticked = catch_unwind(AssertUnwindSafe(|| tick(now)));
            let next = match ticked {
                Ok(next) => next.unwrap_or(latest).min(latest),
                Err(_) => {
                    tracing::error!("a coordinator's timer panicked: this is a bug; it goes on");
                    now.plus(AFTER_PANIC)
                }
            };
            self.at.store(next.0, Ordering::Release);
            tokio::select! {
                () = tokio::time::sleep_until(clock.instant(next)) => {}
                () = self.earlier.notified() => {}
                () = stop.cancelled() => return,
            }
        }
    }
}
