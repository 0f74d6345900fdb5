//! The decisions about one transactional id. Each gives the metadata that is to be written; whoever
//! has written it hands it to [`Transaction::apply`].

use std::collections::BTreeSet;

use flumen_types::{Millis, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::error::TxnError;
use crate::txn_records::{TxnMetadata, TxnStatus};

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

#[derive(Clone, Copy, Debug)]
pub struct InitRequest {
    pub timeout: Millis,
    /// What the producer was before, if it goes on after an error (KIP-360).
    pub expected: Option<Producer>,
    /// A producer id never used, in case one is needed.
    pub fresh: ProducerId,
}

/// What InitProducerId comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Init {
    /// Write this; its producer is the answer.
    Begin { next: TxnMetadata, last_epoch: ProducerEpoch },
    /// The answer got lost the first time.
    Repeat(Producer),
    /// A transaction is open: write this, end it, and let the producer ask again.
    AbortFirst(TxnMetadata),
}

/// What EndTxn comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Write this, then the markers.
    Prepare(TxnMetadata),
    /// It is being ended, in just that way.
    Underway,
    /// It has been ended, in just that way.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    metadata: TxnMetadata,
    /// The epoch before the last bump that a producer asked for by its old epoch.
    last_epoch: ProducerEpoch,
}

/// From here on a producer id is not given a higher epoch; the last one is left for fencing.
const EPOCH_EXHAUSTED: ProducerEpoch = ProducerEpoch(i16::MAX - 1);

impl Transaction {
    pub fn restore(metadata: TxnMetadata) -> Self {
        Transaction { metadata, last_epoch: ProducerEpoch::NONE }
    }

    pub fn metadata(&self) -> &TxnMetadata {
        &self.metadata
    }

    /// Whether the next InitProducerId needs a producer id never used.
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
        self.metadata = next;
    }

    pub(super) fn set_last_epoch(&mut self, last_epoch: ProducerEpoch) {
        self.last_epoch = last_epoch;
    }

    /// The first InitProducerId of a transactional id.
    pub fn first(request: &InitRequest, now: Timestamp) -> TxnMetadata {
        TxnMetadata {
            producer_id: request.fresh,
            previous_producer_id: ProducerId::NONE,
            epoch: ProducerEpoch(0),
            timeout: request.timeout,
            status: TxnStatus::Empty,
            partitions: BTreeSet::new(),
            updated_at: now,
            started_at: Timestamp::NONE,
        }
    }

    pub fn init(&self, request: &InitRequest, now: Timestamp) -> Result<Init, TxnError> {
        if request.expected.is_some_and(|expected| !self.may_go_on(expected)) {
            return Err(TxnError::ProducerFenced);
        }
        match self.metadata.status {
            TxnStatus::PrepareCommit | TxnStatus::PrepareAbort | TxnStatus::PrepareEpochFence => {
                Err(TxnError::ConcurrentTransactions)
            }
            TxnStatus::Ongoing => {
                // Going on after an error, only with what it has: an older one must not abort a newer.
                if request.expected.is_some_and(|expected| expected != self.producer()) {
                    return Err(TxnError::ProducerFenced);
                }
                Ok(Init::AbortFirst(self.fence(now)))
            }
            TxnStatus::Empty | TxnStatus::CompleteCommit | TxnStatus::CompleteAbort | TxnStatus::Dead => {
                self.begin(request, now)
            }
        }
    }

    fn begin(&self, request: &InitRequest, now: Timestamp) -> Result<Init, TxnError> {
        let current = self.metadata.epoch;
        let mut next = TxnMetadata {
            timeout: request.timeout,
            status: TxnStatus::Empty,
            partitions: BTreeSet::new(),
            updated_at: now,
            started_at: Timestamp::NONE,
            ..self.metadata.clone()
        };
        let last_epoch = match request.expected {
            Some(expected) if expected.epoch != current || expected.id != next.producer_id => {
                return self.repeat(expected).map(Init::Repeat);
            }
            Some(_) => current,
            None => ProducerEpoch::NONE,
        };
        if current >= EPOCH_EXHAUSTED {
            next.previous_producer_id = next.producer_id;
            next.producer_id = request.fresh;
            next.epoch = ProducerEpoch(0);
        } else {
            next.epoch = ProducerEpoch(current.0 + 1);
        }
        Ok(Init::Begin { next, last_epoch })
    }

    /// The same request once more, whose first answer was lost.
    fn repeat(&self, expected: Producer) -> Result<Producer, TxnError> {
        let rotated = expected.id == self.metadata.previous_producer_id && self.metadata.epoch.0 == 0;
        let bumped = expected.id == self.metadata.producer_id && expected.epoch == self.last_epoch;
        match rotated || bumped {
            true => Ok(self.producer()),
            false => Err(TxnError::ProducerFenced),
        }
    }

    fn may_go_on(&self, expected: Producer) -> bool {
        let rotated = expected.id == self.metadata.previous_producer_id && expected.epoch >= EPOCH_EXHAUSTED;
        expected.id == self.metadata.producer_id || rotated
    }

    /// Aborts with a higher epoch, so that nothing that the producer still has on the way is taken.
    pub fn fence(&self, now: Timestamp) -> TxnMetadata {
        let epoch = ProducerEpoch(self.metadata.epoch.0.saturating_add(1));
        TxnMetadata { epoch, status: TxnStatus::PrepareAbort, updated_at: now, ..self.metadata.clone() }
    }

    fn check_producer(&self, producer: Producer) -> Result<(), TxnError> {
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
        now: Timestamp,
    ) -> Result<Option<TxnMetadata>, TxnError> {
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
        next.partitions.extend(partitions.iter().cloned());
        next.updated_at = now;
        Ok(Some(next))
    }

    /// Whether a partition takes part in the producer's open transaction.
    pub fn check_partition(&self, producer: Producer, partition: &TopicPartition) -> Result<(), TxnError> {
        self.check_producer(producer)?;
        match self.metadata.status == TxnStatus::Ongoing && self.metadata.partitions.contains(partition) {
            true => Ok(()),
            false => Err(TxnError::InvalidTxnState),
        }
    }

    pub fn end(&self, producer: Producer, commit: bool, now: Timestamp) -> Result<End, TxnError> {
        self.check_producer(producer)?;
        match (self.metadata.status, commit) {
            (TxnStatus::Ongoing, _) => {
                let status = if commit { TxnStatus::PrepareCommit } else { TxnStatus::PrepareAbort };
                Ok(End::Prepare(TxnMetadata { status, updated_at: now, ..self.metadata.clone() }))
            }
            (TxnStatus::PrepareCommit, true) | (TxnStatus::PrepareAbort, false) => Ok(End::Underway),
            (TxnStatus::CompleteCommit, true) | (TxnStatus::CompleteAbort, false) => Ok(End::Done),
            _ => Err(TxnError::InvalidTxnState),
        }
    }

    /// What to write when all markers are durable; `None` if nothing is being ended.
    pub fn complete(&self, now: Timestamp) -> Option<TxnMetadata> {
        let status = match self.metadata.status {
            TxnStatus::PrepareCommit => TxnStatus::CompleteCommit,
            TxnStatus::PrepareAbort => TxnStatus::CompleteAbort,
            _ => return None,
        };
        let partitions = BTreeSet::new();
        Some(TxnMetadata { status, partitions, updated_at: now, ..self.metadata.clone() })
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
