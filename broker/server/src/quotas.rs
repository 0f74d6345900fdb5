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
use flumen_protocol::ErrorCode;
use flumen_types::{Millis, Timestamp};
use tokio::time::Instant;

use crate::ctx::Ctx;

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
    fn take(&self, bucket: Bucket, limit: f64, tokens: f64) -> Result<(), Duration> {
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
    fn extend(&self, wait: Duration) {
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

impl Ctx {
    fn quota(&self, kind: Kind) -> Option<(Bucket, f64)> {
        let limits = self.broker.security().limits(kind)?;
        limits.of(kind, &self.session.principal.name, self.client_id.as_deref().unwrap_or_default())
    }

    /// Takes in what this client has used; how long it is to wait.
    pub(crate) fn use_quota(&self, kind: Kind, amount: f64) -> Duration {
        let Some((bucket, limit)) = self.quota(kind) else { return Duration::ZERO };
        self.broker.quotas().record(kind, bucket, limit, amount)
    }

    /// It was not used after all.
    pub(crate) fn give_back(&self, kind: Kind, amount: f64) {
        let Some((bucket, limit)) = self.quota(kind) else { return };
        self.broker.quotas().record(kind, bucket, limit, -amount);
    }

    /// What may be fetched at once without being stopped for that alone.
    pub(crate) fn fetch_max(&self) -> usize {
        let limit = self.quota(Kind::Fetch).map(|(_, limit)| limit);
        limit.map_or(usize::MAX, |limit| self.broker.quotas().window().most_at_once(limit) as usize)
    }

    /// Reads nothing of the connection for so long; in milliseconds, as the answer says it.
    pub(crate) fn throttle(&self, wait: Duration) -> i32 {
        if wait.is_zero() {
            return 0;
        }
        self.mute.extend(wait);
        i32::try_from(wait.as_millis()).unwrap_or(i32::MAX)
    }

    /// Does something and takes in how long a thread was busy with it; what the answer has to say of it.
    pub(crate) async fn timed<T>(&self, work: impl Future<Output = T>) -> (T, i32) {
        if self.broker.security().limits(Kind::Request).is_none() {
            return (work.await, 0);
        }
        let mut work = std::pin::pin!(work);
        let mut busy = Duration::ZERO;
        let done = std::future::poll_fn(|cx| {
            let begun = Instant::now();
            let polled = work.as_mut().poll(cx);
            busy += begun.elapsed();
            polled
        });
        let done = done.await;
        let wait = self.use_quota(Kind::Request, percent(busy));
        (done, self.throttle(wait))
    }
}

/// Of one thread's second.
pub(crate) fn percent(busy: Duration) -> f64 {
    busy.as_secs_f64() * 100.0
}

/// The partitions that a request makes and deletes.
pub(crate) struct Mutations<'a> {
    ctx: &'a Ctx,
    /// An older client does not know THROTTLING_QUOTA_EXCEEDED: it is made to wait, and nothing is refused.
    strict: bool,
    wait: Duration,
}

impl<'a> Mutations<'a> {
    pub(crate) fn new(ctx: &'a Ctx, strict: bool) -> Mutations<'a> {
        Mutations { ctx, strict, wait: Duration::ZERO }
    }

    pub(crate) fn take(&mut self, partitions: i32) -> Result<(), ErrorCode> {
        let Some((bucket, limit)) = self.ctx.quota(Kind::ControllerMutation) else { return Ok(()) };
        let tokens = f64::from(partitions);
        if !self.strict {
            let wait = self.ctx.broker.quotas().record(Kind::ControllerMutation, bucket, limit, tokens);
            self.wait = self.wait.max(wait);
            return Ok(());
        }
        self.ctx.broker.quotas().take(bucket, limit, tokens).map_err(|wait| {
            self.wait = self.wait.max(wait);
            ErrorCode::ThrottlingQuotaExceeded
        })
    }

    /// What the answer has to say of it.
    pub(crate) fn throttle(&self) -> i32 {
        self.ctx.throttle(self.wait)
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
