//! How much has been used, and how long to wait until it is no more than may be: Kafka's samples and its bucket
//! of tokens, with its arithmetic.
//!
//! A [`Rate`] is the sum of at most `samples` windows (and of one that overlaps the oldest), divided by their
//! time, which is never taken for less than all but one of them. So nobody is stopped for what they do in the
//! first moment, and what was much is forgiven window by window.

use flumen_types::Timestamp;

/// `quota.window.num` and `quota.window.size.seconds`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub samples: u32,
    pub size_ms: i64,
}

impl Default for Window {
    fn default() -> Window {
        Window { samples: 11, size_ms: 1000 }
    }
}

impl Window {
    fn seconds(self) -> f64 {
        self.size_ms as f64 / 1000.0
    }

    /// More than this at once is always too much.
    pub fn most_at_once(self, limit: f64) -> f64 {
        limit * f64::from(self.samples.saturating_sub(1)) * self.seconds()
    }
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    value: f64,
    start: Timestamp,
    last: Timestamp,
}

impl Sample {
    fn new(now: Timestamp) -> Sample {
        Sample { value: 0.0, start: now, last: now }
    }
}

/// What was used lately.
#[derive(Clone, Debug)]
pub struct Rate {
    window: Window,
    samples: Vec<Sample>,
    current: usize,
}

impl Rate {
    pub fn new(window: Window) -> Rate {
        Rate { window, samples: Vec::new(), current: 0 }
    }

    /// Takes in what was used; negative, what was not after all.
    pub fn record(&mut self, value: f64, now: Timestamp) {
        let sample = match self.samples.get(self.current) {
            Some(sample) if now.since(sample.start) < self.window.size_ms => &mut self.samples[self.current],
            Some(_) => self.advance(now),
            None => {
                self.samples.push(Sample::new(now));
                &mut self.samples[self.current]
            }
        };
        sample.value += value;
        sample.last = now;
    }

    fn advance(&mut self, now: Timestamp) -> &mut Sample {
        // One more than are looked at: the one that overlaps the oldest.
        self.current = (self.current + 1) % (self.window.samples as usize + 1);
        match self.samples.get(self.current) {
            Some(_) => self.samples[self.current] = Sample::new(now),
            None => self.samples.push(Sample::new(now)),
        }
        &mut self.samples[self.current]
    }

    /// How long until the rate is down to `limit` if nothing more is used; 0 if it is not above.
    pub fn wait_ms(&mut self, limit: f64, now: Timestamp) -> i64 {
        let span_ms = self.span_ms(now);
        let used: f64 = self.samples.iter().map(|sample| sample.value).sum();
        let rate = used / (span_ms as f64 / 1000.0);
        if rate <= limit {
            return 0;
        }
        ((rate - limit) / limit * span_ms as f64).round() as i64
    }

    /// Over how much time the use is spread.
    fn span_ms(&mut self, now: Timestamp) -> i64 {
        let Window { samples, size_ms } = self.window;
        let age = i64::from(samples) * size_ms;
        for sample in &mut self.samples {
            if now.since(sample.last) >= age {
                *sample = Sample::new(now);
            }
        }
        let oldest = self.samples.iter().map(|sample| sample.start).min().unwrap_or(now);
        let elapsed = now.since(oldest);
        let missing = i64::from(samples) - 1 - elapsed / size_ms;
        (elapsed + missing.max(0) * size_ms).max(1)
    }
}

/// Tokens that come back at the limit's rate, up to as many as a whole window's.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    window: Window,
    tokens: f64,
    at: Timestamp,
}

impl TokenBucket {
    pub fn new(window: Window) -> TokenBucket {
        TokenBucket { window, tokens: 0.0, at: Timestamp(0) }
    }

    /// How long until there are tokens again; 0 if there are.
    pub fn wait_ms(&mut self, limit: f64, now: Timestamp) -> i64 {
        self.refill(limit, now);
        if self.tokens >= 0.0 { 0 } else { (-self.tokens / limit * 1000.0).round() as i64 }
    }

    /// Takes tokens, more than there are perhaps.
    pub fn take(&mut self, tokens: f64, limit: f64, now: Timestamp) {
        self.refill(limit, now);
        self.tokens = (self.tokens - tokens).min(self.burst(limit));
    }

    /// Whether more was taken than there was.
    pub fn owes(&self) -> bool {
        self.tokens < 0.0
    }

    fn refill(&mut self, limit: f64, now: Timestamp) {
        let came = limit * now.since(self.at) as f64 / 1000.0;
        self.tokens = (self.tokens + came).min(self.burst(limit));
        self.at = now;
    }

    fn burst(&self, limit: f64) -> f64 {
        f64::from(self.window.samples) * self.window.seconds() * limit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Window = Window { samples: 11, size_ms: 1000 };

    #[test]
    fn who_stays_below_does_not_wait() {
        let mut rate = Rate::new(WINDOW);
        for second in 0..60 {
            // A twelfth sample overlaps the eleven windows.
            rate.record(90.0, Timestamp(second * 1000));
            assert_eq!(rate.wait_ms(100.0, Timestamp(second * 1000)), 0, "{second}");
        }
    }

    #[test]
    fn a_burst_waits_until_the_rate_is_right() {
        let mut rate = Rate::new(WINDOW);
        rate.record(1000.0, Timestamp(5));
        assert_eq!(rate.wait_ms(100.0, Timestamp(5)), 0, "ten windows' worth is just what may be");
        rate.record(1000.0, Timestamp(5));
        assert_eq!(rate.wait_ms(100.0, Timestamp(5)), 10_000);
        assert_eq!(rate.wait_ms(100.0, Timestamp(2005)), 10_000, "the least time is that of ten windows");
        assert_eq!(rate.wait_ms(100.0, Timestamp(11_005)), 0, "and after eleven it is forgotten");
    }

    #[test]
    fn what_was_not_used_after_all_does_not_count() {
        let mut rate = Rate::new(WINDOW);
        rate.record(5000.0, Timestamp(0));
        rate.record(-5000.0, Timestamp(0));
        assert_eq!(rate.wait_ms(1.0, Timestamp(0)), 0);
    }

    #[test]
    fn tokens_are_owed_and_come_back() {
        let mut bucket = TokenBucket::new(WINDOW);
        let now = Timestamp(1_000_000);
        assert_eq!(bucket.wait_ms(2.0, now), 0);
        bucket.take(22.0, 2.0, now);
        assert_eq!(bucket.wait_ms(2.0, now), 0, "the burst is eleven seconds' worth");
        bucket.take(3.0, 2.0, now);
        assert_eq!(bucket.wait_ms(2.0, now), 1500);
        assert_eq!(bucket.wait_ms(2.0, Timestamp(now.0 + 1500)), 0);
    }

    proptest! {
        /// Whoever uses little at a time and waits as told has used no more, on the whole, than may be, but for
        /// two windows' worth. (Who uses more than a window's worth at once gets a window for nothing each time:
        /// Kafka's samples forget what is older.)
        #[test]
        fn waiting_as_told_keeps_the_rate(
            uses in proptest::collection::vec(1..1_000i64, 50..600),
            limit in 1_000..5_000i64,
        ) {
            let (mut rate, mut now, mut used) = (Rate::new(WINDOW), 0, 0);
            for amount in uses {
                rate.record(amount as f64, Timestamp(now));
                used += amount;
                now += rate.wait_ms(limit as f64, Timestamp(now));
            }
            let allowed = (limit as f64) * (now as f64 / 1000.0 + 22.0);
            prop_assert!((used as f64) <= allowed, "{used} in {now} ms of {limit}");
        }
    }
}
