//! How fast an answer has to be taken: slowly while nobody wants the room that it holds, and faster from the
//! moment when somebody is seen to wait for it.
//!
//! Invariant: once others wait it is over within a time that grows with what is left, however small the steps
//! in which the peer takes it.

use std::time::Duration;

use tokio::time::Instant;

/// How often it is looked whether others wait while nothing moves.
pub(crate) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the peer of an answer owes.
#[derive(Clone, Copy)]
struct Terms {
    /// It has to move on within this.
    stall_max: Duration,
    /// And be taken, on the whole, at least at this rate.
    bytes_per_second_min: usize,
}

const ORDINARY: Terms = Terms { stall_max: Duration::from_secs(60), bytes_per_second_min: 64 << 10 };
/// A client that reads its socket only with its heartbeats does so every 3 s; 10 Mbit/s are enough.
const WANTED: Terms = Terms { stall_max: Duration::from_secs(5), bytes_per_second_min: 1 << 20 };

impl Terms {
    fn due(&self, bytes: usize, now: Instant) -> Instant {
        now + self.stall_max + Duration::from_secs((bytes / self.bytes_per_second_min) as u64)
    }
}

/// An answer on its way.
pub(crate) struct AnswerPace {
    left: usize,
    moved: Instant,
    due: Instant,
    /// The same, since others were seen to wait.
    wanted_due: Option<Instant>,
}

impl AnswerPace {
    pub(crate) fn new(bytes: usize, now: Instant) -> AnswerPace {
        AnswerPace { left: bytes, moved: now, due: ORDINARY.due(bytes, now), wanted_due: None }
    }

    pub(crate) fn took(&mut self, bytes: usize, now: Instant) {
        self.left = self.left.saturating_sub(bytes);
        self.moved = now;
    }

    /// Why the peer is given up, if it is. `wanted`: others wait for what the answer holds.
    pub(crate) fn judge(&mut self, wanted: bool, now: Instant) -> Result<(), &'static str> {
        let is_over = |terms: Terms, due: Instant| now >= due.min(self.moved + terms.stall_max);
        if is_over(ORDINARY, self.due) {
            return Err("the peer does not take its answers");
        }
        if !wanted {
            return Ok(());
        }
        // They may be others a moment later: what has begun to count goes on.
        let due = *self.wanted_due.get_or_insert_with(|| WANTED.due(self.left, now));
        if is_over(WANTED, due) {
            return Err("the peer takes its answers too slowly, and others wait");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// At which second a peer is given up that takes so much each second, while others wait from a second on.
    fn given_up(bytes: usize, each_second: usize, wanted_from: u64) -> Option<u64> {
        let begun = Instant::now();
        let mut pace = AnswerPace::new(bytes, begun);
        let mut second = 0;
        loop {
            second += 1;
            let now = begun + Duration::from_secs(second);
            if each_second > 0 {
                pace.took(each_second, now);
            }
            if pace.left == 0 {
                return None;
            }
            if pace.judge(second >= wanted_from, now).is_err() {
                return Some(second);
            }
        }
    }

    #[test]
    fn who_trickles_is_given_up_when_others_wait_and_not_before() {
        // 16 MiB are due 5 s and 16 s after others began to wait.
        assert_eq!(given_up(16 * MIB, 1, 1), Some(1 + 5 + 15));
        assert_eq!(given_up(16 * MIB, 1, 100), Some(100 + 5 + 15));
        assert_eq!(given_up(16 * MIB, 100_000, u64::MAX), None);
        assert_eq!(given_up(16 * MIB, 1, u64::MAX), Some(60 + 256));
    }

    #[test]
    fn who_reads_on_at_the_least_rate_has_it_all() {
        assert_eq!(given_up(64 * MIB, MIB, 1), None);
        assert_eq!(given_up(64 * MIB, MIB * 7 / 8, 1), Some(1 + 5 + 63));
    }

    #[test]
    fn who_reads_nothing_is_given_up_sooner_when_others_wait() {
        assert_eq!(given_up(16 * MIB, 0, 1), Some(5));
        assert_eq!(given_up(16 * MIB, 0, 30), Some(30));
        assert_eq!(given_up(16 * MIB, 0, u64::MAX), Some(60));
    }

    #[test]
    fn the_time_that_has_begun_to_run_goes_on_though_nobody_waits_for_a_moment() {
        let begun = Instant::now();
        let mut pace = AnswerPace::new(MIB, begun);
        let mut at = |second: u64, wanted: bool| {
            let now = begun + Duration::from_secs(second);
            pace.took(1, now);
            pace.judge(wanted, now).is_err()
        };
        assert!(!at(0, true) && !at(3, false) && !at(8, false), "nobody waits");
        assert!(at(9, true));
    }
}
