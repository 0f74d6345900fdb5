//! What time it is: passed in, so that a test can have an hour pass in no time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flumen_types::Timestamp;

/// Two clocks, as the operating system has them.
pub trait Clock: Send + Sync + 'static {
    /// Never goes back; for spans.
    fn instant(&self) -> Instant;
    /// The wall's, which people set; for what is compared with timestamps of records.
    fn now(&self) -> Timestamp;
}

#[derive(Clone, Copy, Debug, Default)]
pub struct OsClock;

#[allow(clippy::disallowed_methods, reason = "this is the door")]
impl Clock for OsClock {
    fn instant(&self) -> Instant {
        Instant::now()
    }

    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}
