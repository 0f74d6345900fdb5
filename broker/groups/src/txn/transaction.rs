//! One transactional id: what it is and what joins its transaction. How it begins is in `init.rs`, how it
//! ends in `end.rs`. Each decision gives the metadata that is to be written; whoever has written it hands
//! it to [`Transaction::apply`].

use flumen_types::{Millis, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::error::TxnError;
use crate::txn_records::{TxnMetadata, TxnStatus, TxnVersion};

/// Kafka's broker keys.
#[derive(Clone, Debug)]
pub struct Options {
    /// transaction.max.timeout.ms
    pub timeout_max: Millis,
    /// transactional.id.expiration.ms
    pub id_expiration: Millis,
}

impl Default for Options {
    fn default() -> Self {
        Options { timeout_max: Millis(15 * 60 * 1000), id_expiration: Millis(7 * 24 * 60 * 60 * 1000) }
    }
}

/// An incarnation of a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: ProducerId,
    pub epoch: ProducerEpoch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub(super) metadata: TxnMetadata,
    /// The epoch before the last bump: of an end, or of a producer that asked for it by its old epoch.
    /// In memory alone, as with Kafka.
    pub(super) last_epoch: ProducerEpoch,
}

/// From here on a producer id is not given a higher epoch; the last one is left for fencing.
pub(super) const EPOCH_EXHAUSTED: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

impl Transaction {
    pub fn restore(metadata: TxnMetadata) -> Self {
        Transaction { metadata, last_epoch: ProducerEpoch::NONE }
    }

    pub fn metadata(&self) -> &TxnMetadata {
        &self.metadata
    }

    /// Whether the next epoch needs a producer id never used.
    pub fn is_exhausted(&self) -> bool {
        self.metadata.epoch >= EPOCH_EXHAUSTED
    }

    /// Whether its end is decided and the markers are on their way.
    pub fn is_ending(&self) -> bool {
        matches!(self.metadata.status, TxnStatus::PrepareCommit | TxnStatus::PrepareAbort)
    }

    pub fn producer(&self) -> Producer {
        Producer { id: self.metadata.producer_id, epoch: self.metadata.epoch }
    }

    /// Takes in metadata that is in the log.
    pub fn apply(&mut self, next: TxnMetadata) {
        let ends =
            !self.is_ending() && matches!(next.status, TxnStatus::PrepareCommit | TxnStatus::PrepareAbort);
        if ends && next.epoch > self.metadata.epoch {
            self.last_epoch = self.metadata.epoch;
        } else if next.status == TxnStatus::Empty {
            self.last_epoch = ProducerEpoch::NONE;
        }
        self.metadata = next;
    }

    pub(super) fn set_last_epoch(&mut self, last_epoch: ProducerEpoch) {
        self.last_epoch = last_epoch;
    }

    pub(super) fn check_producer(&self, producer: Producer) -> Result<(), TxnError> {
        if producer.id != self.metadata.producer_id {
            return Err(TxnError::InvalidProducerIdMapping);
        }
        match producer.epoch == self.metadata.epoch {
            true => Ok(()),
            false => Err(TxnError::ProducerFenced),
        }
    }

    /// `None` if all of them are in the transaction already.
    pub fn add_partitions(
        &self,
        producer: Producer,
        partitions: &[TopicPartition],
        client: TxnVersion,
        now: Timestamp,
    ) -> Result<Option<TxnMetadata>, TxnError> {
        // Before anything else: whoever has just ended may know the id that it goes on with already.
        if self.is_ending() {
            return Err(TxnError::ConcurrentTransactions);
        }
        self.check_producer(producer)?;
        let mut next = self.metadata.clone();
        match next.status {
            TxnStatus::PrepareCommit | TxnStatus::PrepareAbort | TxnStatus::PrepareEpochFence => {
                return Err(TxnError::ConcurrentTransactions);
            }
            TxnStatus::Ongoing if partitions.iter().all(|p| next.partitions.contains(p)) => return Ok(None),
            TxnStatus::Ongoing => {}
            TxnStatus::Empty | TxnStatus::CompleteCommit | TxnStatus::CompleteAbort | TxnStatus::Dead => {
                next.partitions.clear();
                next.started_at = now;
            }
        }
        next.status = TxnStatus::Ongoing;
        next.previous_producer_id = next.producer_id;
        next.partitions.extend(partitions.iter().cloned());
        next.updated_at = now;
        next.client = client;
        Ok(Some(next))
    }

    /// Whether a partition takes part in the producer's open transaction.
    pub fn check_partition(&self, producer: Producer, partition: &TopicPartition) -> Result<(), TxnError> {
        self.check_producer(producer)?;
        match self.metadata.status {
            TxnStatus::PrepareCommit | TxnStatus::PrepareAbort => Err(TxnError::ConcurrentTransactions),
            TxnStatus::Ongoing if self.metadata.partitions.contains(partition) => Ok(()),
            _ => Err(TxnError::TransactionAbortable),
        }
    }

    /// When it is to be aborted or forgotten; never while it is being ended.
    pub fn next_deadline(&self, options: &Options) -> Option<Timestamp> {
        match self.metadata.status {
            TxnStatus::Ongoing => Some(self.metadata.started_at.plus(self.metadata.timeout)),
            TxnStatus::PrepareCommit | TxnStatus::PrepareAbort | TxnStatus::PrepareEpochFence => None,
            TxnStatus::Empty | TxnStatus::CompleteCommit | TxnStatus::CompleteAbort | TxnStatus::Dead => {
                Some(self.metadata.updated_at.plus(options.id_expiration))
            }
        }
    }
}
