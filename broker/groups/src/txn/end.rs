//! How a transaction ends: what EndTxn comes to, what a time-out or a newer producer does, and what is
//! written when all markers are.
//!
//! In version 2 the epoch says which transaction is meant, so that an end that comes late ends nothing:
//!
//! ```text
//! V2              abort again (epoch - 1)  abort       commit again (epoch - 1)  commit
//! Empty           fenced                   epoch + 1   fenced                    INVALID_TXN_STATE
//! CompleteAbort   done                     epoch + 1   INVALID_TXN_STATE         INVALID_TXN_STATE
//! CompleteCommit  INVALID_TXN_STATE        epoch + 1   done                      INVALID_TXN_STATE
//! ```
//!
//! A producer whose epochs run out with this end goes on under another id from epoch 0; its markers still
//! carry the old id and the last epoch of all.

use std::collections::BTreeSet;

use flumen_types::{ProducerEpoch, ProducerId, Timestamp};

use super::transaction::{EPOCH_EXHAUSTED, Producer, Transaction};
use crate::error::TxnError;
use crate::txn_records::{TxnMetadata, TxnStatus, TxnVersion};

/// What a producer asks for with EndTxn.
#[derive(Clone, Copy, Debug)]
pub struct EndRequest {
    pub producer: Producer,
    pub commit: bool,
    pub version: TxnVersion,
    /// A producer id never used, in case one is needed.
    pub fresh: ProducerId,
}

/// What EndTxn comes to. Each way the producer goes on as [`Transaction::after_end`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Write this, then the markers.
    Prepare(TxnMetadata),
    /// It is being ended, in just that way.
    Underway,
    /// It has been ended, in just that way.
    Done,
}

impl Transaction {
    pub fn end(&self, request: &EndRequest, now: Timestamp) -> Result<End, TxnError> {
        match request.version {
            TxnVersion::V1 => self.end_v1(request, now),
            TxnVersion::V2 => self.end_v2(request, now),
        }
    }

    fn end_v1(&self, request: &EndRequest, now: Timestamp) -> Result<End, TxnError> {
        self.check_producer(request.producer)?;
        match (self.metadata.status, request.commit) {
            (TxnStatus::Ongoing, _) => Ok(End::Prepare(TxnMetadata {
                status: prepared(request.commit),
                previous_producer_id: self.metadata.producer_id,
                updated_at: now,
                client: TxnVersion::V1,
                ..self.metadata.clone()
            })),
            (TxnStatus::PrepareCommit, true) | (TxnStatus::PrepareAbort, false) => Ok(End::Underway),
            (TxnStatus::CompleteCommit, true) | (TxnStatus::CompleteAbort, false) => Ok(End::Done),
            _ => Err(TxnError::InvalidTxnState),
        }
    }

    fn end_v2(&self, request: &EndRequest, now: Timestamp) -> Result<End, TxnError> {
        let (status, commit) = (self.metadata.status, request.commit);
        let again = self.is_asked_again(request.producer);
        if self.is_ending() {
            let same = again && (status == TxnStatus::PrepareCommit) == commit;
            return if same { Ok(End::Underway) } else { Err(TxnError::ConcurrentTransactions) };
        }
        match status {
            TxnStatus::CompleteCommit | TxnStatus::CompleteAbort if again => {
                let same = (status == TxnStatus::CompleteCommit) == commit;
                return if same { Ok(End::Done) } else { Err(TxnError::InvalidTxnState) };
            }
            _ => self.check_producer(request.producer)?,
        }
        match status {
            TxnStatus::Ongoing => Ok(End::Prepare(self.bumped(prepared(commit), request.fresh, now))),
            // The producer cannot know whether anything has come that would have begun a transaction.
            TxnStatus::Empty | TxnStatus::CompleteCommit | TxnStatus::CompleteAbort if !commit => {
                let next = self.bumped(TxnStatus::PrepareAbort, request.fresh, now);
                Ok(End::Prepare(TxnMetadata { started_at: now, ..next }))
            }
            _ => Err(TxnError::InvalidTxnState),
        }
    }

    /// Whether this is the producer before the last end, which has not heard of it.
    fn is_asked_again(&self, producer: Producer) -> bool {
        let now = &self.metadata;
        let bumped = producer.id == now.producer_id && producer.epoch.0.checked_add(1) == Some(now.epoch.0);
        let rotated = producer.id == now.previous_producer_id
            && producer.id != now.producer_id
            && producer.epoch == EPOCH_EXHAUSTED
            && now.epoch == ProducerEpoch(0);
        bumped || rotated
    }

    /// Ends with a higher epoch, so that nothing that the producer still has on the way is taken.
    fn bumped(&self, status: TxnStatus, fresh: ProducerId, now: Timestamp) -> TxnMetadata {
        TxnMetadata {
            epoch: ProducerEpoch(self.metadata.epoch.0.saturating_add(1)),
            previous_producer_id: self.metadata.producer_id,
            next_producer_id: if self.is_exhausted() { fresh } else { ProducerId::NONE },
            status,
            updated_at: now,
            client: TxnVersion::V2,
            ..self.metadata.clone()
        }
    }

    /// Aborts on behalf of time, or of a newer producer.
    pub fn fence(&self, fresh: ProducerId, now: Timestamp) -> TxnMetadata {
        self.bumped(TxnStatus::PrepareAbort, fresh, now)
    }

    /// As whom the producer goes on when what is prepared is complete; now, if nothing is.
    pub fn after_end(&self) -> Producer {
        match self.rotates() {
            true => Producer { id: self.metadata.next_producer_id, epoch: ProducerEpoch(0) },
            false => self.producer(),
        }
    }

    fn rotates(&self) -> bool {
        self.metadata.client == TxnVersion::V2 && self.metadata.next_producer_id.is_some()
    }

    /// What to write when all markers are durable; `None` if nothing is being ended.
    pub fn complete(&self, now: Timestamp) -> Option<TxnMetadata> {
        let status = match self.metadata.status {
            TxnStatus::PrepareCommit => TxnStatus::CompleteCommit,
            TxnStatus::PrepareAbort => TxnStatus::CompleteAbort,
            _ => return None,
        };
        let producer = self.after_end();
        Some(TxnMetadata {
            producer_id: producer.id,
            epoch: producer.epoch,
            previous_producer_id: self.metadata.producer_id,
            next_producer_id: ProducerId::NONE,
            status,
            partitions: BTreeSet::new(),
            updated_at: now,
            ..self.metadata.clone()
        })
    }
}

fn prepared(commit: bool) -> TxnStatus {
    if commit { TxnStatus::PrepareCommit } else { TxnStatus::PrepareAbort }
}
