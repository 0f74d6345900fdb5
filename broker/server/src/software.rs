//! Which library a client says in ApiVersions that it is; kept with its connection.

use std::sync::{Mutex, PoisonError};

/// What is kept of a name: it is a client's to choose, and its connection may live long.
const LENGTH_MAX: usize = 255;
/// Of whoever has not said it, as with Kafka.
const UNKNOWN: &str = "unknown";

#[derive(Debug, Default)]
pub(crate) struct Software(Mutex<Option<(Box<str>, Box<str>)>>);

impl Software {
    /// Both are plain words, as ApiVersions has checked.
    pub(crate) fn is(&self, name: &str, version: &str) {
        let said = Some((cut(name).into(), cut(version).into()));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = said;
    }

    /// Name and version.
    pub(crate) fn said(&self) -> (String, String) {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.as_ref().map_or_else(
            || (UNKNOWN.into(), UNKNOWN.into()),
            |(name, version)| (name.to_string(), version.to_string()),
        )
    }
}

fn cut(word: &str) -> &str {
    &word[..word.floor_char_boundary(LENGTH_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_said_nothing_is_unknown_and_nobody_says_too_much() {
        let software = Software::default();
        assert_eq!(software.said(), ("unknown".into(), "unknown".into()));
        software.is(&"x".repeat(30_000), "1");
        assert_eq!(software.said(), ("x".repeat(255), "1".into()));
    }
}
