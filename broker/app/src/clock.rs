//! The time of day, for what is told to people and for records that have no time of their own.

use std::time::SystemTime;

use flumen_types::{Millis, Timestamp};

pub(crate) fn now() -> Timestamp {
    Timestamp(Millis::from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()).0)
}
