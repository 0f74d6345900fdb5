//! How many records a call is given where calls have missed their deadline. Pure.
//!
//! A service that takes a second for a hundred records does not take ten thousand in thirty; without
//! this each chunk would miss its deadline, and what a sink had delivered of it would be sent again.

/// After so many calls of the largest size without a miss the size is doubled.
const GROWS_AFTER: u32 = 64;
/// A size that no chunk has.
const UNBOUNDED: u32 = 1 << 20;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// None: as they come.
    records_max: Option<u32>,
    good: u32,
}

impl Pace {
    pub(super) fn records_max(&self) -> Option<u32> {
        self.records_max
    }

    /// A call with so many records missed its deadline.
    pub(super) fn missed(&mut self, records: u32) {
        *self = Pace { records_max: Some((records / 2).max(1)), good: 0 };
    }

    pub(super) fn kept(&mut self, records: u32) {
        let Some(most) = self.records_max else { return };
        if records < most {
            return;
        }
        self.good += 1;
        if self.good >= GROWS_AFTER {
            let doubled = most.saturating_mul(2);
            *self = Pace { records_max: (doubled < UNBOUNDED).then_some(doubled), good: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_miss_halves_and_patience_doubles() {
        let mut pace = Pace::default();
        pace.kept(10_000);
        assert_eq!(pace.records_max(), None);
        pace.missed(10_000);
        pace.missed(5_000);
        assert_eq!(pace.records_max(), Some(2_500));
        (0..63).for_each(|_| pace.kept(2_500));
        pace.kept(100);
        assert_eq!(pace.records_max(), Some(2_500));
        pace.kept(2_500);
        assert_eq!(pace.records_max(), Some(5_000));
        pace.missed(1);
        assert_eq!(pace.records_max(), Some(1));
        (0..64 * 30).for_each(|_| pace.kept(1 << 20));
        assert_eq!(pace.records_max(), None);
    }
}
