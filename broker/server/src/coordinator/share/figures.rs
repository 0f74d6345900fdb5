//! What share groups come to in numbers, for who watches the broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flumen_groups::share_partition::{Acknowledge, Kind};

use super::ShareCoordinator;

/// What members say of records, and Kafka's names for it.
const KINDS: [(Kind, &str); 4] =
    [(Kind::Accept, "accept"), (Kind::Release, "release"), (Kind::Reject, "reject"), (Kind::Renew, "renew")];

/// How many records members have said each of, since the broker has started.
#[derive(Default)]
pub(super) struct Acknowledged([AtomicU64; KINDS.len()]);

impl Acknowledged {
    pub(super) fn add(&self, said: &[Acknowledge]) {
        for (count, (kind, _)) in self.0.iter().zip(KINDS) {
            let records: i64 = said.iter().map(|one| one.count(kind)).sum();
            count.fetch_add(records as u64, Ordering::Relaxed);
        }
    }
}

/// Of all share groups now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareFigures {
    /// Records by what was said of them since the broker has started.
    pub acknowledged: [(&'static str, u64); KINDS.len()],
    pub sessions: usize,
    /// By group and topic, of those that members work on now.
    pub topics: BTreeMap<(Arc<str>, Arc<str>), ShareTopicFigures>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShareTopicFigures {
    /// Delivered and not done, from the first of such.
    pub in_flight: i64,
    /// Of them, those that a member holds.
    pub acquired: i64,
    /// Records that were held for too long.
    pub timed_out: u64,
}

impl ShareCoordinator {
    pub(crate) fn figures(&self) -> ShareFigures {
        let counts = &self.0.acknowledged.0;
        let mut topics = BTreeMap::<_, ShareTopicFigures>::new();
        let cells: Vec<_> = self.cells().values().filter_map(|slot| slot.get().cloned()).collect();
        for cell in cells {
            let (figures, timed_out) = cell.figures();
            let sum = topics.entry((cell.group().clone(), cell.log().id().topic.clone())).or_default();
            sum.in_flight += figures.in_flight;
            sum.acquired += figures.acquired;
            sum.timed_out += timed_out;
        }
        ShareFigures {
            acknowledged: std::array::from_fn(|n| (KINDS[n].1, counts[n].load(Ordering::Relaxed))),
            sessions: self.sessions().len(),
            topics,
        }
    }
}
