//! Groups and transactions: what decides is pure (`flumen-groups`); here is what reads, appends and
//! waits.

use std::sync::Arc;

use crate::broker::StartError;
use crate::options::Options;
use crate::topics::Topics;

/// Consumer groups and their offsets; cheap to clone.
#[derive(Clone)]
pub struct GroupCoordinator(Arc<Shared>);

/// Transactions and producer ids; cheap to clone.
#[derive(Clone)]
pub struct TransactionCoordinator(Arc<Shared>);

struct Shared {
    _topics: Arc<Topics>,
    _options: Arc<Options>,
}

impl GroupCoordinator {
    pub(crate) async fn start(topics: Arc<Topics>, options: Arc<Options>) -> Result<Self, StartError> {
        Ok(GroupCoordinator(Arc::new(Shared { _topics: topics, _options: options })))
    }

    pub(crate) async fn stop(&self) {
        let _ = &self.0;
    }
}

impl TransactionCoordinator {
    pub(crate) async fn start(
        topics: Arc<Topics>,
        _groups: GroupCoordinator,
        options: Arc<Options>,
    ) -> Result<Self, StartError> {
        Ok(TransactionCoordinator(Arc::new(Shared { _topics: topics, _options: options })))
    }

    pub(crate) async fn stop(&self) {
        let _ = &self.0;
    }
}
