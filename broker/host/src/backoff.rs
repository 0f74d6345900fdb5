//! How long to wait before the next try, and when waiting has become failing. Pure.

use std::time::Duration;

use crate::State;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// So many failures in a row are no hiccup any more.
const FAILING_AFTER: u32 = 10;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// One more failure without progress. `jitter` lies in 0 .. 1; `after` is what the far side asks for.
    pub(crate) fn failed(&mut self, jitter: f64, after: Option<Duration>) -> (State, Duration) {
        self.failures = self.failures.saturating_add(1);
        let full = FIRST.saturating_mul(1 << (self.failures - 1).min(16)).min(LONGEST);
        let wait = full.mul_f64(0.5 + jitter / 2.0);
        let (state, wait) =
            if self.failures >= FAILING_AFTER { (State::Failing, LONGEST) } else { (State::Retrying, wait) };
        (state, after.map_or(wait, |after| after.min(10 * LONGEST).max(FIRST / 10)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_ten_in_a_row_are_failing() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9).map(|_| backoff.failed(1.0, None).1.as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600]);
        assert_eq!(backoff.failed(0.0, None), (State::Failing, LONGEST));
        backoff.progressed();
        assert_eq!(backoff.failed(0.0, None), (State::Retrying, FIRST / 2));
        let asked = Duration::from_secs(7);
        assert_eq!(backoff.failed(0.5, Some(asked)).1, asked);
    }
}
