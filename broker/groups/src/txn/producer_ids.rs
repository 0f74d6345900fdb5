//! Ids for producers, each given once for the life of a data directory.
//!
//! Ids are drawn from blocks. Before the first id of a block is given, the end of the block is written,
//! as a record of `__transaction_state` under a reserved transactional id whose producer id is the next
//! one free: in Kafka's own format, so that every tool that reads the topic still can, and compaction
//! keeps the last one. A crash loses the rest of a block, never gives an id twice.

use std::collections::BTreeSet;

use flumen_types::{Millis, ProducerEpoch, ProducerId, Timestamp};

use crate::txn_records::{TxnEntry, TxnMetadata, TxnStatus, TxnVersion};

/// No client may use this transactional id.
pub const RESERVED_ID: &str = "__flumen_producer_ids";

const BLOCK: i64 = 1000;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerIds {
    next: i64,
    /// Written: ids below this may be given.
    end: i64,
}

impl ProducerIds {
    /// After a start: the log says that all below `next` may have been given.
    pub fn restore(&mut self, next: ProducerId) {
        self.next = self.next.max(next.0);
        self.end = self.end.max(self.next);
    }

    /// The next id, if its block has been written.
    pub fn take(&mut self) -> Option<ProducerId> {
        if self.next >= self.end {
            return None;
        }
        self.next += 1;
        Some(ProducerId(self.next - 1))
    }

    /// What to write before more ids can be taken.
    pub fn reserve(&self, now: Timestamp) -> TxnEntry {
        let metadata = TxnMetadata {
            producer_id: ProducerId(self.end.saturating_add(BLOCK)),
            previous_producer_id: ProducerId::NONE,
            next_producer_id: ProducerId::NONE,
            epoch: ProducerEpoch(0),
            timeout: Millis(0),
            status: TxnStatus::Empty,
            partitions: BTreeSet::new(),
            updated_at: now,
            started_at: Timestamp::NONE,
            client: TxnVersion::V1,
        };
        TxnEntry::Transaction { id: RESERVED_ID.into(), metadata: Some(metadata) }
    }

    /// The reservation is durable.
    pub fn reserved(&mut self, end: ProducerId) {
        self.end = self.end.max(end.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve(ids: &mut ProducerIds) -> ProducerId {
        let TxnEntry::Transaction { metadata: Some(metadata), .. } = ids.reserve(Timestamp(0)) else {
            panic!("a reservation is a transaction's record");
        };
        ids.reserved(metadata.producer_id);
        metadata.producer_id
    }

    #[test]
    fn no_id_is_given_before_its_block_is_written() {
        let mut ids = ProducerIds::default();
        assert_eq!(ids.take(), None);
        reserve(&mut ids);
        let taken: Vec<_> = std::iter::from_fn(|| ids.take()).collect();
        assert_eq!(taken, (0..1000).map(ProducerId).collect::<Vec<_>>());
    }

    #[test]
    fn no_id_is_given_twice_whenever_it_crashes() {
        let (mut seen, mut ids) = (BTreeSet::new(), ProducerIds::default());
        let mut written = ProducerId(0);
        for taken in [1, 999, 1000, 3, 1500] {
            for _ in 0..taken {
                let id = ids.take().unwrap_or_else(|| {
                    written = reserve(&mut ids);
                    ids.take().unwrap()
                });
                assert!(seen.insert(id), "{id} twice");
            }
            ids = ProducerIds::default();
            ids.restore(written);
        }
    }
}
