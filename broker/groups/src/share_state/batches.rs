//! Stretches of records whose delivery is known, and how newer ones are laid over older ones.

use std::collections::BTreeMap;

use flumen_types::Offset;

use crate::share_partition::Span;

/// Where a record stands when nobody holds it; the number is Kafka's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum Delivered {
    Available = 0,
    Acknowledged = 2,
    Archived = 4,
}

impl Delivered {
    pub fn read(code: i8) -> Option<Delivered> {
        let all = [Delivered::Available, Delivered::Acknowledged, Delivered::Archived];
        all.into_iter().find(|state| *state as i8 == code)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateBatch {
    pub first: Offset,
    pub last: Offset,
    pub state: Delivered,
    /// How often it was delivered.
    pub count: i16,
}

impl StateBatch {
    pub fn span(&self) -> Span {
        Span { first: self.first, last: self.last }
    }

    /// Whether another is next to it and alike.
    pub(crate) fn continues(&self, next: &StateBatch) -> bool {
        self.last.next() == next.first && self.rank() == next.rank()
    }

    /// Counts and states only go up: of two that tell of one record the higher is the newer.
    fn rank(&self) -> (i16, Delivered) {
        (self.count, self.state)
    }
}

/// What is known of the records from `start` on, as few batches as can say it.
pub fn combine(
    old: impl IntoIterator<Item = StateBatch>,
    new: &[StateBatch],
    start: Offset,
) -> Vec<StateBatch> {
    let from = start.max(Offset::ZERO);
    let mut all: Vec<StateBatch> =
        old.into_iter().chain(new.iter().copied()).filter(|batch| batch.last >= from).collect();
    all.sort_by_key(StateBatch::rank);
    let mut laid: BTreeMap<Offset, StateBatch> = BTreeMap::new();
    for batch in all {
        lay(&mut laid, StateBatch { first: batch.first.max(from), ..batch });
    }
    let mut combined: Vec<StateBatch> = Vec::with_capacity(laid.len());
    for batch in laid.into_values() {
        match combined.last_mut().filter(|last| last.continues(&batch)) {
            Some(last) => last.last = batch.last,
            None => combined.push(batch),
        }
    }
    combined
}

/// Puts a batch in the place of all that it covers.
fn lay(laid: &mut BTreeMap<Offset, StateBatch>, batch: StateBatch) {
    if batch.last < batch.first {
        return;
    }
    let before = laid.range(..batch.first).next_back().map(|(_, before)| *before);
    if let Some(before) = before.filter(|before| before.last >= batch.first) {
        let cut = StateBatch { last: Offset(batch.first.0 - 1), ..before };
        laid.insert(cut.first, cut);
        if before.last > batch.last {
            laid.insert(batch.last.next(), StateBatch { first: batch.last.next(), ..before });
        }
    }
    let covered: Vec<StateBatch> =
        laid.range(batch.first..=batch.last).map(|(_, covered)| *covered).collect();
    for covered in covered {
        laid.remove(&covered.first);
        if covered.last > batch.last {
            laid.insert(batch.last.next(), StateBatch { first: batch.last.next(), ..covered });
        }
    }
    laid.insert(batch.first, batch);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch() -> impl Strategy<Value = StateBatch> {
        let states = [Delivered::Available, Delivered::Acknowledged, Delivered::Archived];
        (0..60i64, 0..12i64, prop::sample::select(states.to_vec()), 1..4i16).prop_map(
            |(first, more, state, count)| StateBatch {
                first: Offset(first),
                last: Offset(first + more),
                state,
                count,
            },
        )
    }

    proptest! {
        /// Offset by offset the highest counts, as Kafka's own combiner has it.
        #[test]
        fn the_newest_counts_for_each_record(
            old in prop::collection::vec(batch(), 0..8),
            new in prop::collection::vec(batch(), 0..8),
            start in -1..70i64,
        ) {
            let combined = combine(old.clone(), &new, Offset(start));
            for at in 0..80 {
                let holds = |batch: &&StateBatch| batch.first.0 <= at && at <= batch.last.0;
                let newest = old.iter().chain(&new).filter(holds).map(StateBatch::rank).max();
                let expected = newest.filter(|_| at >= start);
                let found: Vec<_> = combined.iter().filter(holds).map(StateBatch::rank).collect();
                prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "at {}", at);
            }
            for pair in combined.windows(2) {
                prop_assert!(pair[0].last < pair[1].first && !pair[0].continues(&pair[1]));
            }
        }
    }
}
