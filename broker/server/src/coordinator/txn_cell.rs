//! One partition of `__transaction_state` at work: the pure shard and its journal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flumen_groups::txn::{Due, Options, Producer, ProducerIds, RESERVED_ID, Transaction, TxnShard};
use flumen_groups::{Record, TxnEntry, TxnMetadata};
use flumen_types::{Offset, ProducerEpoch, ProducerId, Timestamp};
use tokio::sync::Notify;

use super::journal::{Journal, ReplayError, Replayed};
use crate::partition_log::AppendError;

pub(crate) struct TxnCell {
    journal: Journal,
    shard: Mutex<TxnShard>,
    /// Told whenever a transaction has its last marker.
    pub(crate) completed: Notify,
}

/// What a decision asks to be written.
pub(crate) struct Write {
    pub(crate) id: Arc<str>,
    /// `None`: a tombstone.
    pub(crate) metadata: Option<TxnMetadata>,
    /// With InitProducerId, the epoch that the producer came with.
    pub(crate) last_epoch: Option<ProducerEpoch>,
}

impl Write {
    pub(crate) fn new(id: &Arc<str>, metadata: TxnMetadata) -> Self {
        Write { id: id.clone(), metadata: Some(metadata), last_epoch: None }
    }
}

impl TxnCell {
    /// Reads back what the partition says, the producer ids given out among it.
    pub(crate) async fn load(
        journal: Journal,
        options: Options,
        ids: &mut ProducerIds,
    ) -> Result<TxnCell, ReplayError> {
        let mut shard = TxnShard::new(options);
        journal
            .replay(|replayed| {
                let Replayed::Record { key, value, .. } = replayed else { return Ok(()) };
                match TxnEntry::read(&key, value.as_ref())? {
                    TxnEntry::Transaction { id, metadata: Some(metadata) } if &*id == RESERVED_ID => {
                        ids.restore(metadata.producer_id);
                    }
                    TxnEntry::Transaction { id, metadata } => shard.apply(&id, metadata),
                    TxnEntry::Other { .. } => {}
                }
                Ok(())
            })
            .await?;
        Ok(TxnCell { journal, shard: Mutex::new(shard), completed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, TxnShard> {
        self.shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read<T>(&self, look: impl FnOnce(&TxnShard) -> T) -> T {
        look(&self.lock())
    }

    /// Decides and writes; what was decided, and what to wait for.
    pub(crate) fn change<T, E: From<AppendError>>(
        &self,
        now: Timestamp,
        decide: impl FnOnce(&TxnShard) -> Result<(Option<Write>, T), E>,
    ) -> Result<(T, Option<Offset>), E> {
        let mut shard = self.lock();
        let (write, told) = decide(&shard)?;
        let Some(write) = write else { return Ok((told, None)) };
        let at = self.write(&mut shard, write, now)?;
        Ok((told, Some(at)))
    }

    fn write(&self, shard: &mut TxnShard, write: Write, now: Timestamp) -> Result<Offset, AppendError> {
        let record = Record::transaction(&write.id, write.metadata.as_ref());
        let at = self.journal.append([record], None, now)?;
        match (write.metadata, write.last_epoch) {
            (Some(metadata), Some(last_epoch)) => shard.apply_init(&write.id, metadata, last_epoch),
            (metadata, _) => shard.apply(&write.id, metadata),
        }
        Ok(at)
    }

    /// Writes what time brings about; the transactions that are to be ended because of it. `fresh` gives a
    /// producer id if one is at hand.
    pub(crate) fn tick(
        &self,
        now: Timestamp,
        retry_at: Timestamp,
        mut fresh: impl FnMut() -> Option<ProducerId>,
    ) -> Vec<(Arc<str>, Offset)> {
        let mut ending = Vec::new();
        let mut shard = self.lock();
        while let Some((id, due)) = shard.pop_due(now, &mut fresh) {
            let metadata = match due {
                Due::Abort(metadata) => Some(metadata),
                Due::Forget => None,
                Due::NeedsId => {
                    shard.due_again(&id, retry_at);
                    continue;
                }
            };
            let aborts = metadata.is_some();
            match self.write(&mut shard, Write { id: id.clone(), metadata, last_epoch: None }, now) {
                Ok(at) if aborts => ending.push((id, at)),
                Ok(_) => {}
                Err(error) => {
                    shard.due_again(&id, retry_at);
                    tracing::warn!(transaction = %id, %error, "a transaction whose time is up cannot be ended yet");
                }
            }
        }
        ending
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.lock().next_deadline()
    }

    /// Writes a record that is no transaction's.
    pub(crate) fn append(&self, record: Record, now: Timestamp) -> Result<Offset, AppendError> {
        self.journal.append([record], None, now)
    }

    pub(crate) async fn durable(&self, last: Offset) -> bool {
        self.journal.durable(last).await
    }

    /// Waits until a transactional id is not being ended, as this producer's transaction at least.
    pub(crate) async fn until_completed(&self, id: &str, producer: Option<Producer>) {
        loop {
            let completed = self.completed.notified();
            let ending = |transaction: &Transaction| {
                let theirs = |producer| [transaction.producer(), transaction.after_end()].contains(&producer);
                transaction.is_ending() && producer.is_none_or(theirs)
            };
            if !self.read(|shard| shard.get(id).is_some_and(ending)) {
                return;
            }
            completed.await;
        }
    }
}
