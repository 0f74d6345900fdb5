//! From the SDK's types to those of the interface.

use std::time::Duration;

use crate::bindings::types;
use crate::{Error, Rejections};

pub fn error(error: Error) -> types::Error {
    match error {
        Error::Retry { reason, after } => {
            types::Error::Retry(types::Later { reason, after_ms: after.map(millis) })
        }
        // Callers have turned a rejection into a list, or into one of the others, before.
        Error::Reject(reason) | Error::Fatal(reason) => types::Error::Fatal(reason),
    }
}

pub fn rejected(rejections: Rejections) -> Vec<types::Rejected> {
    let rejections = rejections.0.into_iter();
    rejections.map(|(index, reason)| types::Rejected { index, reason }).collect()
}

pub(crate) fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}
