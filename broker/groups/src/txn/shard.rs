//! All transactional ids that one partition of `__transaction_state` keeps.

use std::collections::HashMap;
use std::sync::Arc;

use flumen_types::{ProducerEpoch, ProducerId, Timestamp};

use super::transaction::{Options, Transaction};
use crate::deadlines::Deadlines;
use crate::txn_records::{TxnMetadata, TxnStatus};

#[derive(Debug, Default)]
pub struct TxnShard {
    options: Options,
    transactions: HashMap<Arc<str>, Transaction>,
    deadlines: Deadlines<Arc<str>>,
}

/// What is to be done because time has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Write this, then the markers.
    Abort(TxnMetadata),
    /// Write a tombstone.
    Forget,
    /// An abort that needs a producer id, and there was none.
    NeedsId,
}

/// A transactional id with its state.
#[derive(Clone, Debug)]
pub struct Listed {
    pub id: Arc<str>,
    pub metadata: TxnMetadata,
}

impl TxnShard {
    pub fn new(options: Options) -> Self {
        TxnShard { options, ..TxnShard::default() }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    pub fn get(&self, id: &str) -> Option<&Transaction> {
        self.transactions.get(id)
    }

    /// Takes in what is in the log, live or at start.
    pub fn apply(&mut self, id: &Arc<str>, metadata: Option<TxnMetadata>) {
        self.change(id, metadata, None);
    }

    pub fn apply_init(&mut self, id: &Arc<str>, metadata: TxnMetadata, last_epoch: ProducerEpoch) {
        self.change(id, Some(metadata), Some(last_epoch));
    }

    fn change(&mut self, id: &Arc<str>, metadata: Option<TxnMetadata>, last_epoch: Option<ProducerEpoch>) {
        let Some(metadata) = metadata else {
            self.transactions.remove(id);
            self.deadlines.set(id, None);
            return;
        };
        let transaction = match self.transactions.get_mut(id) {
            Some(transaction) => {
                transaction.apply(metadata);
                transaction
            }
            None => self.transactions.entry(id.clone()).or_insert(Transaction::restore(metadata)),
        };
        if let Some(last_epoch) = last_epoch {
            transaction.set_last_epoch(last_epoch);
        }
        let due = transaction.next_deadline(&self.options);
        self.deadlines.set(id, due);
    }

    /// The next id whose time is up, and what to do about it. Whoever cannot do it sets it to be
    /// [due again](Self::due_again). `fresh` gives a producer id never used, if there is one at hand.
    pub fn pop_due(
        &mut self,
        now: Timestamp,
        mut fresh: impl FnMut() -> Option<ProducerId>,
    ) -> Option<(Arc<str>, Due)> {
        while let Some(id) = self.deadlines.pop_due(now) {
            let Some(transaction) = self.transactions.get(&id) else { continue };
            let due = match transaction.metadata().status {
                TxnStatus::Ongoing if transaction.is_exhausted() => match fresh() {
                    Some(fresh) => Due::Abort(transaction.fence(fresh, now)),
                    None => Due::NeedsId,
                },
                TxnStatus::Ongoing => Due::Abort(transaction.fence(ProducerId::NONE, now)),
                _ => Due::Forget,
            };
            return Some((id, due));
        }
        None
    }

    pub fn due_again(&mut self, id: &Arc<str>, at: Timestamp) {
        self.deadlines.set(id, Some(at));
    }

    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// Those whose end is decided but not written everywhere: to be completed at start.
    pub fn unfinished(&self) -> Vec<Arc<str>> {
        let unfinished = self.transactions.iter().filter(|(_, transaction)| transaction.is_ending());
        unfinished.map(|(id, _)| id.clone()).collect()
    }

    pub fn list(&self) -> Vec<Listed> {
        self.transactions.iter().map(listed).collect()
    }

    pub fn listed(&self, id: &str) -> Option<Listed> {
        self.transactions.get_key_value(id).map(listed)
    }
}

fn listed((id, transaction): (&Arc<str>, &Transaction)) -> Listed {
    Listed { id: id.clone(), metadata: transaction.metadata().clone() }
}
