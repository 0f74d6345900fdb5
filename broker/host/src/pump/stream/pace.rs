//! How many records a call is given, so that it ends in time. Pure.
//!
//! A service that takes a second for a hundred records does not take ten thousand in thirty; without
//! this each chunk would miss its deadline, and what a sink had delivered of it would be sent again. So a
//! sink that cannot take back what it has delivered begins with few, and is given more where it is quick.

use std::time::Duration;

use crate::{Kind, PluginInfo};

/// What a sink without transactions begins with.
const FIRST: u32 = 256;
/// After so many calls of the largest size without a miss the size is doubled.
const GROWS_AFTER: u32 = 64;
/// A call that takes less than this part of its time would do so with twice as much.
const QUICK: u32 = 4;
/// A size that no chunk has.
const UNBOUNDED: u32 = 1 << 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pace {
    /// None: as they come.
    records_max: Option<u32>,
    good: u32,
    /// It has missed a deadline: from then on it grows slowly.
    missed: bool,
}

impl Pace {
    pub(crate) fn new(kind: Kind, info: &PluginInfo) -> Pace {
        let records_max = (kind == Kind::Sink && !info.sql).then_some(FIRST);
        Pace { records_max, ..Pace::default() }
    }

    pub(super) fn records_max(&self) -> Option<u32> {
        self.records_max
    }

    /// A call with so many records missed its deadline.
    pub(super) fn missed(&mut self, records: u32) {
        *self = Pace { records_max: Some((records / 2).max(1)), good: 0, missed: true };
    }

    /// A call with so many records ended well, after this part of the time that it had.
    pub(super) fn kept(&mut self, records: u32, took: Duration, limit: Duration) {
        let Some(most) = self.records_max else { return };
        if records < most || took * QUICK > limit {
            return;
        }
        self.good += 1;
        if !self.missed || self.good >= GROWS_AFTER {
            let doubled = most.saturating_mul(2);
            self.records_max = (doubled < UNBOUNDED).then_some(doubled);
            self.good = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    fn kept(pace: &mut Pace, records: u32) {
        pace.kept(records, Duration::from_millis(1), LIMIT);
    }

    #[test]
    fn a_miss_halves_and_patience_doubles() {
        let mut pace = Pace::default();
        kept(&mut pace, 10_000);
        assert_eq!(pace.records_max(), None);
        pace.missed(10_000);
        pace.missed(5_000);
        assert_eq!(pace.records_max(), Some(2_500));
        (0..63).for_each(|_| kept(&mut pace, 2_500));
        kept(&mut pace, 100);
        assert_eq!(pace.records_max(), Some(2_500));
        kept(&mut pace, 2_500);
        assert_eq!(pace.records_max(), Some(5_000));
        pace.missed(1);
        assert_eq!(pace.records_max(), Some(1));
        (0..64 * 30).for_each(|_| kept(&mut pace, 1 << 20));
        assert_eq!(pace.records_max(), None);
    }

    #[test]
    fn a_beginner_is_given_twice_as_much_each_time_while_it_is_quick() {
        let mut pace = Pace { records_max: Some(FIRST), ..Pace::default() };
        kept(&mut pace, 256);
        kept(&mut pace, 512);
        assert_eq!(pace.records_max(), Some(1024));
        pace.kept(1024, LIMIT / 3, LIMIT);
        assert_eq!(pace.records_max(), Some(1024));
        pace.missed(1024);
        kept(&mut pace, 512);
        assert_eq!(pace.records_max(), Some(512));
    }
}
