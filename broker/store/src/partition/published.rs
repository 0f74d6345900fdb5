//! A partition's marks and the one place that moves them.
//!
//! Invariants: the high watermark moves only with a sync, but for topics that ask for less
//! (`flumen_log::flush`). The last stable offset is below every
//! transaction that is open, and below every one whose end a sync has not covered yet: what a
//! reader of committed records has seen, a power cut cannot undo.

use std::collections::VecDeque;

use flumen_types::{LeaderEpoch, Offset};

use crate::events::Marks;

#[derive(Debug)]
pub(crate) struct Published {
    marks: Marks,
    /// Where the oldest open transaction begins.
    open: Option<Offset>,
    /// Transactions that have ended: where they begin, and their marker.
    ended: VecDeque<(Offset, Offset)>,
    /// Below: a sync has covered it. The high watermark, but for topics that show what is not synced.
    durable: Offset,
    /// How many syncs have ended.
    syncs: u64,
}

impl Published {
    /// After a load: everything below `end` is durable.
    pub(crate) fn new(start: Offset, end: Offset, epoch: LeaderEpoch, open: Option<Offset>) -> Published {
        let marks = Marks { start, high_watermark: end, last_stable: end, end, epoch, failed: false };
        let mut published = Published { marks, open, ended: VecDeque::new(), durable: end, syncs: 0 };
        published.settle();
        published
    }

    pub(crate) fn marks(&self) -> Marks {
        self.marks
    }

    /// A batch was written: the new end, the oldest transaction that is open now, and the ones that
    /// it ended.
    pub(crate) fn appended(
        &mut self,
        end: Offset,
        open: Option<Offset>,
        ended: impl IntoIterator<Item = (Offset, Offset)>,
    ) {
        self.marks.end = end;
        self.open = open;
        self.ended.extend(ended);
        self.settle();
    }

    pub(crate) fn synced(&mut self, upto: Offset) {
        self.syncs += 1;
        self.durable = self.durable.max(upto);
        self.shown(upto);
    }

    pub(crate) fn durable(&self) -> Offset {
        self.durable
    }

    /// Everything before an offset can be read: it was synced, or the topic does not wait for that.
    pub(crate) fn shown(&mut self, upto: Offset) {
        self.marks.high_watermark = self.marks.high_watermark.max(upto);
        self.ended.retain(|(_, marker)| *marker >= self.marks.high_watermark);
        self.settle();
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs
    }

    pub(crate) fn trimmed(&mut self, start: Offset) {
        self.marks.start = self.marks.start.max(start);
        self.settle();
    }

    pub(crate) fn poisoned(&mut self) {
        self.syncs += 1;
        self.marks.failed = true;
    }

    fn settle(&mut self) {
        let ended = self.ended.iter().map(|(first, _)| *first).min();
        let unstable = [self.open, ended].into_iter().flatten().min();
        let stable = unstable.map_or(self.marks.high_watermark, |first| first.min(self.marks.high_watermark));
        self.marks.last_stable = stable.max(self.marks.start).min(self.marks.high_watermark);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Offset {
        Offset(offset)
    }

    #[test]
    fn nothing_is_visible_before_its_sync() {
        let mut published = Published::new(at(0), at(5), LeaderEpoch(0), None);
        published.appended(at(9), None, []);
        let marks = published.marks();
        assert_eq!((marks.high_watermark, marks.last_stable, marks.end), (at(5), at(5), at(9)));
        published.synced(at(8));
        assert_eq!(published.marks().last_stable, at(8));
    }

    #[test]
    fn a_transaction_holds_the_last_stable_offset_until_its_marker_is_synced() {
        let mut published = Published::new(at(0), at(0), LeaderEpoch(0), None);
        published.appended(at(10), Some(at(3)), []);
        published.synced(at(10));
        assert_eq!(published.marks().last_stable, at(3));
        published.appended(at(11), None, [(at(3), at(10))]);
        assert_eq!(published.marks().last_stable, at(3));
        published.synced(at(11));
        assert_eq!(published.marks().last_stable, at(11));
    }
}
