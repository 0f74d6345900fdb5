//! From the decision to end a transaction to its end: the markers, and the record that says so.
//!
//! ```text
//! Prepare durable -> markers appended, all partitions at once -> all of them durable -> Complete appended
//! ```
//!
//! A crash before Prepare is durable leaves the transaction open: its producer asks again, or it times
//! out. After it, the start finds Prepare and writes the markers (once more, where they were there
//! already: a marker that ends nothing is passed over by every reader). Complete is not waited for: it
//! says nothing that Prepare and the markers do not say, and if it is lost the start writes the
//! markers once more. But it may not come before the markers are durable, for then a crash could keep it
//! and lose them; and nothing else of this transactional id may come before it, which is why a producer
//! whose transaction is being ended is made to wait.

use std::sync::Arc;
use std::time::Duration;

use flumen_groups::txn::Producer;
use flumen_groups::{TxnMetadata, TxnStatus};
use flumen_types::{Offset, TopicPartition};
use futures::future::{BoxFuture, join_all};
use tokio_util::sync::CancellationToken;

use super::groups::GroupCoordinator;
use super::journal::append_marker;
use super::txn_cell::{TxnCell, Write};
use crate::internal_topics::CONSUMER_OFFSETS;
use crate::partition_log::{AppendError, durable};
use crate::topics::Topics;

/// Between two tries to write on a disk that is full.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Markers {
    pub(crate) topics: Arc<Topics>,
    pub(crate) groups: GroupCoordinator,
    pub(crate) stop: CancellationToken,
}

impl Markers {
    /// Ends what is prepared; false if it has to be left to the next start.
    pub(crate) async fn complete(&self, cell: &TxnCell, id: &Arc<str>, prepared_at: Option<Offset>) -> bool {
        if let Some(at) = prepared_at
            && !cell.durable(at).await
        {
            return false;
        }
        let prepared =
            cell.read(|shard| shard.get(id).filter(|t| t.is_ending()).map(|t| t.metadata().clone()));
        let Some(prepared) = prepared else { return true };
        if !self.mark_all(&prepared).await {
            tracing::error!(transaction = %id, "a transaction is left half ended; the next start ends it");
            return false;
        }
        loop {
            let now = self.groups.now();
            let written = cell.change(now, |shard| {
                let next = shard.get(id).and_then(|transaction| transaction.complete(now));
                Ok::<_, AppendError>((next.map(|next| Write::new(id, next)), ()))
            });
            match written {
                Ok(_) => break,
                Err(error) if self.may_retry(&error).await => {}
                Err(_) => return false,
            }
        }
        cell.completed.notify_waiters();
        true
    }

    async fn mark_all(&self, prepared: &TxnMetadata) -> bool {
        let producer = Producer { id: prepared.producer_id, epoch: prepared.epoch };
        let commit = prepared.status == TxnStatus::PrepareCommit;
        let mut waits = Vec::with_capacity(prepared.partitions.len());
        for partition in &prepared.partitions {
            match self.mark(partition, producer, commit).await {
                Ok(wait) => waits.push(wait),
                Err(()) => return false,
            }
        }
        join_all(waits).await.into_iter().all(|durable| durable)
    }

    /// Appends one marker; what tells whether it became durable. A disk that is full is waited for.
    async fn mark(
        &self,
        partition: &TopicPartition,
        producer: Producer,
        commit: bool,
    ) -> Result<BoxFuture<'static, bool>, ()> {
        loop {
            let error = match self.try_mark(partition, producer, commit) {
                Ok(wait) => return Ok(wait),
                Err(error) => error,
            };
            if matches!(error, AppendError::InvalidProducerEpoch { .. }) {
                // A later incarnation has written here, so that this transaction has ended already.
                tracing::warn!(%partition, %error, "a marker is not needed any more");
                return Ok(Box::pin(async { true }));
            }
            if !self.may_retry(&error).await {
                return Err(());
            }
        }
    }

    /// A marker, appended; what tells whether it became durable.
    pub(crate) fn try_mark(
        &self,
        partition: &TopicPartition,
        producer: Producer,
        commit: bool,
    ) -> Result<BoxFuture<'static, bool>, AppendError> {
        if &*partition.topic == CONSUMER_OFFSETS
            && let Some((cell, marked)) = self.groups.mark(partition.partition, producer, commit)
        {
            let at = marked?;
            return Ok(Box::pin(async move { cell.durable(at).await }));
        }
        // A topic deleted meanwhile has nothing to end.
        let Some(log) = self.topics.partition(partition) else { return Ok(Box::pin(async { true })) };
        let at = match append_marker(&*log, producer, commit, self.groups.now()) {
            Ok(at) => at,
            Err(AppendError::Closed) if self.topics.partition(partition).is_none() => {
                return Ok(Box::pin(async { true }));
            }
            Err(error) => return Err(error),
        };
        let (topics, partition) = (self.topics.clone(), partition.clone());
        Ok(Box::pin(async move { durable(log.watch(), at).await || topics.partition(&partition).is_none() }))
    }

    /// Waits a while if another try may succeed.
    async fn may_retry(&self, error: &AppendError) -> bool {
        let AppendError::Storage(_) = error else { return false };
        tracing::warn!(
            error = error as &dyn std::error::Error,
            "a transaction cannot be ended yet; tried again"
        );
        tokio::time::timeout(RETRY, self.stop.cancelled()).await.is_err()
    }
}
