//! Which batches of a fetch belong to aborted transactions.
//!
//! A read_committed fetch carries the producers whose transactions were aborted, each with the offset
//! of its first record. From there on the producer's transactional batches are hidden, until its abort
//! marker. Control batches are never shown.
//!
//! Pure; batches must be shown in the order of their offsets.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use flumen_records::BatchHeader;
use flumen_types::{Offset, ProducerId};

/// Hides what was aborted, over the batches of one partition's answer.
#[derive(Debug, Default)]
pub(crate) struct Aborted {
    /// Not begun yet, the earliest first.
    ahead: BinaryHeap<Reverse<(Offset, ProducerId)>>,
    open: HashSet<ProducerId>,
}

impl Aborted {
    pub(crate) fn new(transactions: impl IntoIterator<Item = (ProducerId, Offset)>) -> Aborted {
        let ahead = transactions.into_iter().map(|(producer, first)| Reverse((first, producer))).collect();
        Aborted { ahead, open: HashSet::new() }
    }

    /// Whether the records of this batch are to be shown. `is_abort`: it is a control batch that holds
    /// an abort marker.
    pub(crate) fn shows(&mut self, batch: &BatchHeader, is_abort: bool) -> bool {
        while let Some(&Reverse((first, producer))) = self.ahead.peek()
            && first <= batch.last_offset()
        {
            self.open.insert(producer);
            self.ahead.pop();
        }
        if batch.is_control() {
            if is_abort {
                self.open.remove(&batch.producer_id);
            }
            return false;
        }
        !(batch.is_transactional() && self.open.contains(&batch.producer_id))
    }
}

#[cfg(test)]
mod tests {
    use flumen_records::{Batch, BatchBuilder, Compression, ControlRecord, NewRecord, control_batch};
    use flumen_types::{ProducerEpoch, Sequence, Timestamp};

    use super::*;

    fn data(producer: i64, base: i64, transactional: bool) -> BatchHeader {
        let builder = BatchBuilder::new(Compression::None).base_offset(Offset(base));
        let builder = builder.producer(ProducerId(producer), ProducerEpoch(0), Sequence(0));
        let mut builder = if transactional { builder.transactional() } else { builder };
        builder.push(&NewRecord { timestamp: Timestamp(0), key: None, value: None, headers: &[] });
        Batch::parse(builder.build().unwrap()).unwrap().header().clone()
    }

    fn marker(producer: i64) -> BatchHeader {
        let abort = ControlRecord::Abort { coordinator_epoch: 0 };
        let bytes = control_batch(ProducerId(producer), ProducerEpoch(0), abort, Timestamp(0));
        Batch::parse(bytes).unwrap().header().clone()
    }

    #[test]
    fn records_between_first_and_marker_are_hidden() {
        let mut aborted = Aborted::new([(ProducerId(1), Offset(10))]);
        assert!(aborted.shows(&data(1, 9, true), false), "an earlier transaction of the same producer");
        assert!(!aborted.shows(&data(1, 10, true), false));
        assert!(aborted.shows(&data(2, 11, true), false), "another producer");
        assert!(aborted.shows(&data(1, 12, false), false), "not in a transaction");
        assert!(!aborted.shows(&marker(1), true));
        assert!(aborted.shows(&data(1, 20, true), false), "the next transaction");
    }

    #[test]
    fn two_aborts_of_one_producer_are_two() {
        let mut aborted = Aborted::new([(ProducerId(1), Offset(10)), (ProducerId(1), Offset(30))]);
        assert!(!aborted.shows(&data(1, 10, true), false));
        aborted.shows(&BatchHeader { base_offset: Offset(12), ..marker(1) }, true);
        assert!(aborted.shows(&data(1, 20, true), false));
        assert!(!aborted.shows(&data(1, 30, true), false));
    }
}
