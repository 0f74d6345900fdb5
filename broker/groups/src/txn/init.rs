//! What InitProducerId comes to for a transactional id: its next epoch, another producer id when the epochs
//! have run out, the answer once more, or first the end of what was left open.

use std::collections::BTreeSet;

use flumen_types::{Millis, ProducerEpoch, ProducerId, Timestamp};

use super::transaction::{EPOCH_EXHAUSTED, Producer, Transaction};
use crate::error::TxnError;
use crate::txn_records::{TxnMetadata, TxnStatus, TxnVersion};

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

impl Transaction {
    /// The first InitProducerId of a transactional id.
    pub fn first(request: &InitRequest, now: Timestamp) -> TxnMetadata {
        TxnMetadata {
            producer_id: request.fresh,
            previous_producer_id: request.fresh,
            next_producer_id: ProducerId::NONE,
            epoch: ProducerEpoch(0),
            timeout: request.timeout,
            status: TxnStatus::Empty,
            partitions: BTreeSet::new(),
            updated_at: now,
            started_at: Timestamp::NONE,
            client: TxnVersion::V1,
        }
    }

    pub fn init(&self, request: &InitRequest, now: Timestamp) -> Result<Init, TxnError> {
        if self.is_ending() {
            return Err(TxnError::ConcurrentTransactions);
        }
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
                Ok(Init::AbortFirst(self.fence(request.fresh, now)))
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
            previous_producer_id: self.metadata.producer_id,
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
            next.producer_id = request.fresh;
            next.epoch = ProducerEpoch(0);
        } else {
            next.epoch = ProducerEpoch(current.0 + 1);
        }
        Ok(Init::Begin { next, last_epoch })
    }

    /// The same request once more, whose first answer was lost; or a producer whose transaction has timed
    /// out, which goes on with the epoch that it has been fenced with (KIP-588).
    fn repeat(&self, expected: Producer) -> Result<Producer, TxnError> {
        let other_id = expected.id != self.metadata.producer_id;
        let rotated = other_id && self.may_go_on(expected) && self.metadata.epoch == ProducerEpoch(0);
        let bumped = !other_id && expected.epoch == self.last_epoch;
        match rotated || bumped {
            true => Ok(self.producer()),
            false => Err(TxnError::ProducerFenced),
        }
    }

    fn may_go_on(&self, expected: Producer) -> bool {
        let rotated = expected.id == self.metadata.previous_producer_id && expected.epoch >= EPOCH_EXHAUSTED;
        expected.id == self.metadata.producer_id || rotated
    }
}
