//! Transactions, followed through a log that is read from front to end: whose data was aborted, and which
//! markers still mark something.

use std::collections::{HashMap, HashSet};

use flumen_records::{Batch, BatchError, ControlRecord};
use flumen_types::{Offset, ProducerId};

/// A transaction that was aborted, as `.txnindex` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    pub last_offset: Offset,
    pub last_stable: Offset,
}

#[derive(Clone, Debug)]
pub struct Transactions {
    /// Not begun yet, the earliest last.
    ahead: Vec<Aborted>,
    /// Aborted ones that are open here, and whether data of them was met.
    aborted: HashMap<ProducerId, (Aborted, bool)>,
    /// Committed ones of which data was met.
    committed: HashSet<ProducerId>,
    /// Aborted ones of which data was met: what the rewritten index keeps.
    met: Vec<Aborted>,
}

impl Transactions {
    /// For a log that is read from `from` on. Those whose markers lie before it are over: nobody would
    /// end them here, and all that their producers write later would pass for aborted.
    pub fn new(mut aborted: Vec<Aborted>, from: Offset) -> Self {
        aborted.retain(|txn| txn.last_offset >= from);
        aborted.sort_unstable_by_key(|txn| std::cmp::Reverse(txn.first_offset));
        Transactions { ahead: aborted, aborted: HashMap::new(), committed: HashSet::new(), met: Vec::new() }
    }

    /// Whether the batch can go: data of an aborted transaction, or a marker with nothing left to mark.
    pub fn discards(&mut self, batch: &Batch) -> Result<bool, BatchError> {
        let header = batch.header();
        // Where its marker is damaged nobody ends it, and what the producer wrote later was not aborted.
        self.aborted.retain(|_, (txn, _)| txn.last_offset >= header.base_offset);
        while self.ahead.last().is_some_and(|txn| txn.first_offset <= header.last_offset()) {
            let Some(txn) = self.ahead.pop() else { break };
            self.aborted.entry(txn.producer_id).or_insert((txn, false));
        }
        let id = header.producer_id;
        if header.is_control() {
            return self.marker(batch);
        }
        if !header.is_transactional() {
            return Ok(false);
        }
        Ok(match self.aborted.get_mut(&id) {
            Some((_, met)) => {
                *met = true;
                true
            }
            None => {
                self.committed.insert(id);
                false
            }
        })
    }

    fn marker(&mut self, batch: &Batch) -> Result<bool, BatchError> {
        let id = batch.header().producer_id;
        // A marker that lost its record on an earlier pass has nothing to say.
        if batch.header().records_count == 0 {
            return Ok(true);
        }
        Ok(match batch.control()? {
            ControlRecord::Abort { .. } => match self.aborted.remove(&id) {
                Some((txn, true)) => {
                    self.met.push(txn);
                    false
                }
                _ => true,
            },
            ControlRecord::Commit { .. } => !self.committed.remove(&id),
            ControlRecord::Other(_) => false,
        })
    }

    /// Aborted transactions of which data was met since the last call.
    pub fn take_met(&mut self) -> Vec<Aborted> {
        std::mem::take(&mut self.met)
    }
}
