//! The time of day, for what is told to people.

use std::time::{SystemTime, UNIX_EPOCH};

/// Since 1970.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
