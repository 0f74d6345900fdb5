//! How long to wait before the next try, and when waiting has become failing. Pure.

use std::time::Duration;

use crate::{Limits, State};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failing_after: u32,
    failures: u32,
}

impl Backoff {
    pub(crate) fn new(limits: &Limits) -> Backoff {
        Backoff {
            first: limits.backoff_min,
            longest: limits.backoff_max.max(limits.backoff_min),
            failing_after: limits.failing_after,
            failures: 0,
        }
    }

    pub(crate) fn progressed(&mut self) {
        self.failures = 0;
    }

    /// One more failure without progress. `jitter` lies in 0 .. 1; `after` is what the far side asks for.
    pub(crate) fn failed(&mut self, jitter: f64, after: Option<Duration>) -> (State, Duration) {
        self.failures = self.failures.saturating_add(1);
        let full = self.first.saturating_mul(1 << (self.failures - 1).min(16)).min(self.longest);
        let wait = full.mul_f64(0.5 + jitter / 2.0);
        let (state, wait) = if self.failures >= self.failing_after {
            (State::Failing, self.longest)
        } else {
            (State::Retrying, wait)
        };
        (state, after.map_or(wait, |after| after.min(10 * self.longest).max(self.first / 10)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_ten_in_a_row_are_failing() {
        let mut backoff = Backoff::new(&Limits::default());
        let waits: Vec<u128> = (0..9).map(|_| backoff.failed(1.0, None).1.as_millis()).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600]);
        assert_eq!(backoff.failed(0.0, None), (State::Failing, Limits::default().backoff_max));
        backoff.progressed();
        assert_eq!(backoff.failed(0.0, None), (State::Retrying, Duration::from_millis(50)));
        let asked = Duration::from_secs(7);
        assert_eq!(backoff.failed(0.5, Some(asked)).1, asked);
    }
}
