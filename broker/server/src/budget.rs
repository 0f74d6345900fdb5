//! How many bytes all connections together may hold: of requests that come in, or of answers that go out.
//!
//! Taken before a body is read and given back when the request has been handled, so that many large
//! produces at once make their senders wait instead of filling the memory; taken before records are read
//! and given back when they are written, so that readers which take nothing make each other wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

#[derive(Clone)]
pub(crate) struct Budget {
    bytes: Arc<Semaphore>,
    total: usize,
}

/// What a request holds of the budget; given back when it is dropped.
pub(crate) type Share = OwnedSemaphorePermit;

impl Budget {
    pub(crate) fn new(total: usize) -> Budget {
        let total = total.clamp(1, u32::MAX as usize);
        Budget { bytes: Arc::new(Semaphore::new(total)), total }
    }

    /// `None` where one would have to wait.
    pub(crate) fn try_take(&self, bytes: usize) -> Option<Share> {
        let bytes = bytes.min(self.total) as u32;
        self.bytes.clone().try_acquire_many_owned(bytes).ok()
    }

    /// Waits for room. A request that is larger than the whole budget takes all of it.
    pub(crate) async fn take(&self, bytes: usize) -> Option<Share> {
        let bytes = bytes.min(self.total) as u32;
        self.bytes.clone().acquire_many_owned(bytes).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_is_taken_is_missing_until_it_is_given_back() {
        let budget = Budget::new(100);
        let first = budget.take(60).await;
        assert!(budget.take(50).now_or_never().is_none());
        drop(first);
        assert!(budget.take(50).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_request_over_the_budget_takes_all_of_it() {
        let budget = Budget::new(100);
        let all = budget.take(1000).await;
        assert!(all.is_some());
        assert!(budget.take(1).now_or_never().is_none());
    }
}
