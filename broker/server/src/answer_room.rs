//! What one read for an answer holds of the budget of answers.
//!
//! Invariants: the fuller the budget, the less is read at once; a little is always read, and counted only while
//! there is room. A single batch that is larger than that waits until there is room for it, while those who do
//! not take their answers are given up ([`Budget::is_waited_for`]).

use tokio::time::{Instant, timeout_at};

use crate::budget::{Budget, Share};

/// What is read even when the budget is spent.
const ROOM_MIN: usize = 64 << 10;
/// The part of what is left that one read may have.
const PART: usize = 4;

pub(crate) struct AnswerRoom {
    budget: Budget,
    share: Option<Share>,
    bytes: usize,
}

impl AnswerRoom {
    /// What a budget has to have for a read of so much, while nothing is held.
    pub(crate) fn total_for(bytes: usize) -> usize {
        bytes.saturating_mul(PART)
    }

    /// At most so much, and less if there is little.
    pub(crate) fn take(budget: &Budget, wanted: usize) -> AnswerRoom {
        let part = wanted.min(budget.left() / PART);
        let share = budget.try_take(part).filter(|_| part > 0 && part >= wanted.min(ROOM_MIN));
        let bytes = if share.is_some() { part } else { wanted.min(ROOM_MIN) };
        AnswerRoom { budget: budget.clone(), share, bytes }
    }

    /// At most so much, of what somebody has waited for.
    pub(crate) fn of(budget: &Budget, share: Share, wanted: usize) -> AnswerRoom {
        let bytes = wanted.min(share.num_permits());
        AnswerRoom { budget: budget.clone(), share: Some(share), bytes }
    }

    /// To read so much.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing of the budget was left.
    pub(crate) fn is_spent(&self) -> bool {
        self.share.is_none()
    }

    /// So much was read: gives back the rest, or takes more. False: there is no room, and it must be dropped.
    pub(crate) fn fits(&mut self, used: usize) -> bool {
        let held = self.share.as_ref().map_or(0, Share::num_permits);
        if let Some(unused) = held.checked_sub(used) {
            drop(self.share.as_mut().and_then(|share| share.split(unused)));
            return true;
        }
        if used <= ROOM_MIN {
            return true;
        }
        let Some(more) = self.budget.try_take(used - held) else { return held >= self.budget.total() };
        match &mut self.share {
            Some(share) => share.merge(more),
            share => *share = Some(more),
        }
        true
    }

    /// Waits until there is room for so much; false: there was none in time.
    pub(crate) async fn wait(&mut self, used: usize, until: Instant) -> bool {
        // Two who hold a part could wait for each other.
        self.share = None;
        self.share = timeout_at(until, self.budget.take(used)).await.ok().flatten();
        self.share.is_some()
    }

    pub(crate) fn into_share(self) -> Option<Share> {
        self.share
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MIB: usize = 1 << 20;

    #[test]
    fn the_fuller_the_budget_the_less_is_read() {
        let budget = Budget::new(4 * MIB);
        let first = AnswerRoom::take(&budget, 2 * MIB);
        let second = AnswerRoom::take(&budget, 2 * MIB);
        assert_eq!((first.bytes(), second.bytes()), (MIB, 3 * MIB / 4));
        let all = budget.try_take(budget.left()).unwrap();
        let last = AnswerRoom::take(&budget, 2 * MIB);
        assert!(last.is_spent() && !second.is_spent());
        assert_eq!(last.bytes(), ROOM_MIN);
        drop((first, second, last, all));
        assert_eq!(budget.left(), 4 * MIB);
    }

    #[test]
    fn what_was_read_is_what_is_held() {
        let budget = Budget::new(4 * MIB);
        let mut room = AnswerRoom::take(&budget, MIB);
        assert!(room.fits(1000));
        assert_eq!(budget.left(), 4 * MIB - 1000);
        let mut larger = AnswerRoom::take(&budget, 1);
        assert!(larger.fits(3 * MIB));
        assert_eq!(budget.left(), MIB - 1000);
        let mut too_large = AnswerRoom::take(&budget, 1);
        assert!(!too_large.fits(3 * MIB));
        assert!(too_large.fits(ROOM_MIN), "a little always goes");
    }

    #[tokio::test]
    async fn a_batch_without_room_waits_for_it() {
        let budget = Budget::new(4 * MIB);
        let mut room = AnswerRoom::take(&budget, 1);
        let held = budget.try_take(2 * MIB).unwrap();
        assert!(!room.wait(3 * MIB, Instant::now()).await);
        assert!(!budget.is_waited_for());
        let (waited, ()) =
            tokio::join!(room.wait(3 * MIB, Instant::now() + Duration::from_secs(60)), async {
                assert!(budget.is_waited_for());
                drop(held);
            });
        assert!(waited && !budget.is_waited_for());
        assert_eq!(budget.left(), MIB);
    }
}
