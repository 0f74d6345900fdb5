//! When what was appended is synced, and whether its acknowledgement waits for that.
//!
//! By default every append is synced and waited for: an acknowledged record is on the device. A topic
//! that sets `flush.messages` or `flush.ms` (Kafka's keys) wants less for more speed: its records are
//! acknowledged and read when they are written, and synced behind. A process that dies loses none of
//! them, a machine that does may lose what was not synced yet, and give its offsets to others.

use flumen_types::Millis;

/// What a topic asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    EveryAppend,
    /// Synced after so many records, or after so long, or when a segment closes.
    Behind {
        messages: i64,
        within: Millis,
    },
}

/// When the next sync is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    Now,
    Within(Millis),
    /// Not before there is more.
    Open,
}

impl Flush {
    /// From `flush.messages` and `flush.ms`, where the largest number is Kafka's "never".
    pub fn new(messages: i64, within: Millis) -> Flush {
        let unset = messages == i64::MAX && within.0 == i64::MAX;
        if unset || messages <= 1 || within.0 == 0 {
            Flush::EveryAppend
        } else {
            Flush::Behind { messages, within }
        }
    }

    /// With so many records that no sync has covered.
    pub fn due(self, unsynced: i64) -> Due {
        match self {
            Flush::EveryAppend => Due::Now,
            Flush::Behind { messages, .. } if unsynced >= messages => Due::Now,
            Flush::Behind { within, .. } if within.0 < i64::MAX => Due::Within(within),
            Flush::Behind { .. } => Due::Open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_asks_for_less_gets_less() {
        let never = i64::MAX;
        for (messages, within) in [(never, never), (1, never), (never, 0), (1, 1000), (1000, 0)] {
            assert_eq!(Flush::new(messages, Millis(within)), Flush::EveryAppend, "{messages} {within}");
        }
        let count = Flush::new(10, Millis(never));
        assert_eq!([1, 9, 10, 11].map(|n| count.due(n)), [Due::Open, Due::Open, Due::Now, Due::Now]);
        let time = Flush::new(never, Millis(50));
        assert_eq!(time.due(1_000_000), Due::Within(Millis(50)));
        assert_eq!(Flush::new(10, Millis(50)).due(10), Due::Now);
    }
}
