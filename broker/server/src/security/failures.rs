//! Failed attempts to say who one is: how many, and how long the next one from there waits.
//!
//! Each failure from one address within a minute doubles the wait, up to 64 times the configured one, so
//! that guessing gets slow for the guesser and for nobody else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const REMEMBERED: Duration = Duration::from_secs(60);
const ADDRESSES_MAX: usize = 10_000;
const DOUBLINGS_MAX: u32 = 6;
/// The first few are slips.
const FREE: u32 = 3;

#[derive(Default)]
pub(crate) struct Failures {
    total: AtomicU64,
    recent: Mutex<HashMap<IpAddr, (u32, Instant)>>,
}

impl Failures {
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Counts a failure; how long its answer is to wait.
    pub(crate) fn count(&self, from: IpAddr, delay: Duration, now: Instant) -> Duration {
        self.total.fetch_add(1, Ordering::Relaxed);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.len() >= ADDRESSES_MAX {
            recent.retain(|_, (_, last)| now.duration_since(*last) < REMEMBERED);
        }
        if recent.len() >= ADDRESSES_MAX && !recent.contains_key(&from) {
            return delay * 2_u32.pow(DOUBLINGS_MAX);
        }
        let (count, last) = recent.entry(from).or_insert((0, now));
        if now.duration_since(*last) >= REMEMBERED {
            *count = 0;
        }
        (*count, *last) = (count.saturating_add(1), now);
        delay * 2_u32.pow(count.saturating_sub(FREE).min(DOUBLINGS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_for_one_address_and_is_forgotten() {
        let failures = Failures::default();
        let (guesser, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let (delay, start) = (Duration::from_millis(100), Instant::now());
        let waits: Vec<_> = (0..12).map(|_| failures.count(guesser, delay, start).as_millis()).collect();
        assert_eq!(waits, [100, 100, 100, 200, 400, 800, 1600, 3200, 6400, 6400, 6400, 6400]);
        assert_eq!(failures.count(other, delay, start), delay);
        assert_eq!(failures.count(guesser, delay, start + REMEMBERED), delay);
        assert_eq!(failures.total(), 14);
    }
}
