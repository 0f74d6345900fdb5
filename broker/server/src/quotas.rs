//! Quotas at work: what each client has used, and until when its connection is muted because of it.
//!
//! Kafka answers at once and tells in the answer how long it reads nothing more of the connection
//! (`throttle_time_ms`): clients of today wait by themselves, older ones are made to.
//!
//! Invariants: without quotas nothing is measured and no lock is taken. What was used is forgotten with the
//! window, and so is who used it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use flumen_auth::quota::{Bucket, Kind, Rate, TokenBucket, Window};
use flumen_types::{Millis, Timestamp};
use tokio::time::Instant;

/// Before so many are known nobody is looked for who could be forgotten.
const FORGET_FROM: usize = 1000;

/// What every client has used lately.
pub(crate) struct Quotas {
    window: Window,
    /// Of controller mutations.
    mutation_window: Window,
    since: Instant,
    meters: Mutex<Meters>,
}

#[derive(Default)]
struct Meters {
    by_bucket: HashMap<(Kind, Bucket), Meter>,
    forget_at: usize,
}

struct Meter {
    used: Used,
    last: Timestamp,
}

enum Used {
    Rate(Rate),
    Tokens(TokenBucket),
}

impl Quotas {
    pub(crate) fn new(window: Window, mutation_window: Window) -> Quotas {
        Quotas { window, mutation_window, since: Instant::now(), meters: Mutex::default() }
    }

    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// Nobody's clock is set back.
    fn now(&self) -> Timestamp {
        // Not 0, where a bucket of tokens begins empty.
        Timestamp(1_000_000).plus(Millis::from(self.since.elapsed()))
    }

    /// Older than this nothing counts any more.
    fn memory_ms(&self) -> i64 {
        let age = |window: Window| i64::from(window.samples + 1) * window.size_ms;
        age(self.window).max(age(self.mutation_window))
    }

    fn with<T>(&self, kind: Kind, bucket: Bucket, act: impl FnOnce(&mut Used, Timestamp) -> T) -> T {
        let now = self.now();
        let mut meters = self.meters.lock().unwrap_or_else(PoisonError::into_inner);
        meters.forget(self.memory_ms(), now);
        let meter = meters.by_bucket.entry((kind, bucket)).or_insert_with(|| Meter {
            used: match kind {
                Kind::ControllerMutation => Used::Tokens(TokenBucket::new(self.mutation_window)),
                _ => Used::Rate(Rate::new(self.window)),
            },
            last: now,
        });
        meter.last = now;
        act(&mut meter.used, now)
    }

    /// Takes in what was used; how long to wait.
    pub(crate) fn record(&self, kind: Kind, bucket: Bucket, limit: f64, amount: f64) -> Duration {
        let wait = self.with(kind, bucket, |used, now| match used {
            Used::Rate(rate) => {
                rate.record(amount, now);
                rate.wait_ms(limit, now)
            }
            Used::Tokens(tokens) => {
                tokens.take(amount, limit, now);
                tokens.wait_ms(limit, now)
            }
        });
        let most = if kind == Kind::Request { self.window.size_ms } else { i32::MAX.into() };
        Millis(wait.min(most)).duration()
    }

    /// Takes only while there are tokens; else how long to wait for the first.
    pub(crate) fn take(&self, bucket: Bucket, limit: f64, tokens: f64) -> Result<(), Duration> {
        self.with(Kind::ControllerMutation, bucket, |used, now| {
            let Used::Tokens(bucket) = used else { return Ok(()) };
            match bucket.wait_ms(limit, now) {
                0 => {
                    bucket.take(tokens, limit, now);
                    Ok(())
                }
                wait => Err(Millis(wait).duration()),
            }
        })
    }
}

impl Meters {
    fn forget(&mut self, age: i64, now: Timestamp) {
        if self.by_bucket.len() < self.forget_at.max(FORGET_FROM) {
            return;
        }
        self.by_bucket.retain(|_, meter| {
            let owes = match &meter.used {
                Used::Tokens(tokens) => tokens.owes(),
                Used::Rate(_) => false,
            };
            owes || now.since(meter.last) < age
        });
        self.forget_at = self.by_bucket.len() * 2;
    }
}

/// Until when a connection is not read.
#[derive(Debug, Default)]
pub(crate) struct Mute(Mutex<Option<Instant>>);

impl Mute {
    pub(crate) fn extend(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut muted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *muted = (*muted).max(Some(until));
    }

    /// `None` if it may be read.
    pub(crate) fn until(&self) -> Option<Instant> {
        let mut muted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if muted.is_some_and(|until| until <= Instant::now()) {
            *muted = None;
        }
        *muted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_silent_for_a_window_is_forgotten_and_who_owes_is_not() {
        let quotas = Quotas::new(Window::default(), Window::default());
        let bucket = |n: usize| Bucket { user: n.to_string(), client: String::new() };
        for n in 0..FORGET_FROM {
            quotas.record(Kind::Produce, bucket(n), 1.0, 1.0);
        }
        quotas.record(Kind::ControllerMutation, bucket(0), 0.001, 5.0);
        let mut meters = quotas.meters.lock().unwrap();
        // The last of them has looked already, and would look again at twice as many.
        meters.forget_at = 0;
        let later = quotas.now().plus(Millis(60_000));
        meters.forget(quotas.memory_ms(), later);
        assert_eq!(meters.by_bucket.len(), 1);
    }
}
