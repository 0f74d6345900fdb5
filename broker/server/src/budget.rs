//! How many bytes all connections together may hold: of requests that come in, or of answers that go out.
//!
//! Of requests it is taken as their bytes come in and given back when they have been handled, so that many
//! large produces at once make their senders wait instead of filling the memory. Who has come far and finds
//! no room waits for the one lane of those that are let over it, so that halves of requests cannot hold
//! each other up for ever. Of answers it is taken before records are read and given back when they are
//! written; who finds none gets a little all the same (`answer_room`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Clone)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    /// One request at a time may go over it.
    lane: Arc<Semaphore>,
    total: usize,
    waiting: Arc<AtomicUsize>,
}

/// What a request holds of the budget; given back when it is dropped.
pub(crate) type Share = OwnedSemaphorePermit;

/// All that one request holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    share: Option<Share>,
    lane: Option<Share>,
}

impl Held {
    pub(crate) fn is_nothing(&self) -> bool {
        self.share.is_none() && self.lane.is_none()
    }

    /// Whether it needs no more, however large it is.
    pub(crate) fn has_lane(&self) -> bool {
        self.lane.is_some()
    }

    pub(crate) fn add(&mut self, more: Held) {
        match (&mut self.share, more.share) {
            (Some(share), Some(more)) => share.merge(more),
            (share, more) => *share = share.take().or(more),
        }
        self.lane = self.lane.take().or(more.lane);
    }
}

impl Budget {
    pub(crate) fn new(total: usize) -> Budget {
        let total = total.clamp(1, u32::MAX as usize);
        Budget {
            bytes: Arc::new(Semaphore::new(total)),
            lane: Arc::new(Semaphore::new(1)),
            total,
            waiting: Arc::default(),
        }
    }

    /// `None` where one would have to wait.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Share> {
        let bytes = bytes.min(self.total) as u32;
        self.bytes.clone().try_acquire_many_owned(bytes).ok()
    }

    pub(crate) fn total(&self) -> usize {
        self.total
    }

    pub(crate) fn left(&self) -> usize {
        self.bytes.available_permits()
    }

    /// Waits for room, and for nothing else.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Share> {
        let _waiting = Waiting::new(&self.waiting);
        self.bytes.clone().acquire_many_owned(bytes.min(self.total) as u32).await.ok()
    }

    /// Whether somebody is in [`Budget::take`].
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Whether so much is a small part of what is left.
    pub(crate) fn is_ample_for(&self, bytes: usize) -> bool {
        bytes <= self.bytes.available_permits() / 8
    }

    /// Waits for room, or for the lane, whichever comes first.
    pub(crate) async fn more(&self, bytes: usize) -> Held {
        let take = async {
            match u32::try_from(bytes).ok().filter(|_| bytes <= self.total) {
                Some(bytes) => self.bytes.clone().acquire_many_owned(bytes).await.ok(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            share = take => Held { share, lane: None },
            lane = self.lane.clone().acquire_owned() => Held { share: None, lane: lane.ok() },
        }
    }
}

/// Counts who waits until they do no more.
struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn new(count: &AtomicUsize) -> Waiting<'_> {
        count.fetch_add(1, Ordering::Relaxed);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_is_taken_is_missing_until_it_is_given_back() {
        let budget = Budget::new(100);
        let first = budget.more(60).await;
        assert!(budget.try_take(50).is_none());
        drop(first);
        assert!(budget.try_take(50).is_some());
    }

    #[tokio::test]
    async fn one_at_a_time_is_let_over_it() {
        let budget = Budget::new(100);
        let mut first = budget.more(80).await;
        let over = budget.more(80).await;
        assert!(over.has_lane() && !first.has_lane());
        assert!(budget.more(80).now_or_never().is_none(), "the lane is taken, and there is no room");
        assert!(!budget.more(10).await.has_lane(), "what fits is let in");
        drop(over);
        first.add(budget.more(1000).await);
        assert!(first.has_lane(), "who holds a part may go on with the lane");
    }
}
