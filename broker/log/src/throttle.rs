//! How long to pause so that so many bytes a second are not exceeded.
//!
//! Looked at a few times a second, as in Kafka: within a period there may be a burst, over periods there is not.

use std::time::Duration;

const PERIOD: Duration = Duration::from_millis(300);

#[derive(Clone, Debug)]
pub struct Throttle {
    bytes_per_second: f64,
    began: Duration,
    bytes: f64,
}

impl Throttle {
    pub fn new(bytes_per_second: f64) -> Throttle {
        Throttle { bytes_per_second, began: Duration::ZERO, bytes: 0.0 }
    }

    /// When the last pause is over.
    pub fn paused_until(&self) -> Duration {
        self.began
    }

    /// Takes note of bytes. `now`: on a clock that only goes forward, from wherever it began. Whoever is told to
    /// pause does so before the next bytes.
    pub fn pause_after(&mut self, bytes: usize, now: Duration) -> Duration {
        self.bytes += bytes as f64;
        let passed = now.saturating_sub(self.began);
        if passed < PERIOD {
            return Duration::ZERO;
        }
        let due = Duration::try_from_secs_f64(self.bytes / self.bytes_per_second).unwrap_or(Duration::MAX);
        let pause = due.saturating_sub(passed);
        self.began = now.saturating_add(pause);
        self.bytes = 0.0;
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_a_while_the_rate_is_kept() {
        let mut throttle = Throttle::new(1_000_000.0);
        let (mut now, mut sent) = (Duration::ZERO, 0);
        while now < Duration::from_secs(60) {
            sent += 50_000;
            // Without a pause it would be ten times as much.
            now += Duration::from_millis(5);
            now += throttle.pause_after(50_000, now);
        }
        let rate = sent as f64 / now.as_secs_f64();
        assert!((950_000.0..1_050_000.0).contains(&rate), "{rate}");
    }

    #[test]
    fn whoever_is_slow_anyway_does_not_pause() {
        let mut throttle = Throttle::new(1_000_000.0);
        let pause =
            |n: u64, throttle: &mut Throttle| throttle.pause_after(100_000, Duration::from_millis(200 * n));
        assert!((1..100).all(|n| pause(n, &mut throttle).is_zero()));
    }
}
