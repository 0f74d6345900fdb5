//! What a request uses of its sender's quotas, and how long nothing more is read of the connection then.

use std::time::Duration;

use flumen_auth::quota::{Bucket, Kind};
use flumen_protocol::ErrorCode;
use tokio::time::Instant;

use crate::ctx::Ctx;
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
