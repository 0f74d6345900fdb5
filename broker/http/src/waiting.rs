//! Connections that have sent no whole header yet: the first to go when there are too many.
//!
//! Invariant: one that has asked for something is not among them, whatever it sends later.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// By the numbers that they got when they came.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<BTreeMap<u64, CancellationToken>>);

impl Waiting {
    /// What is cancelled when it has to go.
    pub(crate) fn enter(&self, number: u64) -> CancellationToken {
        self.lock().entry(number).or_default().clone()
    }

    /// It has asked, or has gone.
    pub(crate) fn leave(&self, number: u64) {
        self.lock().remove(&number);
    }

    /// Ends the one that has waited longest; false if none waits.
    pub(crate) fn end_oldest(&self) -> bool {
        let oldest = self.lock().pop_first();
        oldest.inspect(|(_, gone)| gone.cancel()).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
