//! The differences that are meant, with the reason for each: `known-differences.toml`.
//!
//! Invariants: an entry explains something, or the suite says that it can go.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::compare::Difference;

pub struct Known(Vec<Entry>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// `area/name`; `*` is anything.
    cases: String,
    /// As a difference tells its place; `*` is anything.
    at: String,
    /// Kafka's and Flumen's value, where only these are meant.
    kafka: Option<String>,
    flumen: Option<String>,
    #[allow(dead_code, reason = "it is for who reads the file")]
    why: String,
    #[serde(skip)]
    seen: AtomicBool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    known: Vec<Entry>,
}

impl Known {
    pub fn read() -> Result<Known> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("known-differences.toml");
        let text = std::fs::read_to_string(&path).context("known-differences.toml")?;
        let file: File = toml::from_str(&text).context("known-differences.toml")?;
        Ok(Known(file.known))
    }

    /// Whether a difference is explained.
    pub fn explains(&self, case: &str, difference: &Difference) -> bool {
        let said = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| matches(wanted, value))
        };
        let found: Vec<&Entry> = self
            .0
            .iter()
            .filter(|entry| matches(&entry.cases, case) && matches(&entry.at, &difference.at))
            .filter(|entry| said(&entry.kafka, &difference.kafka) && said(&entry.flumen, &difference.flumen))
            .collect();
        for entry in &found {
            entry.seen.store(true, Ordering::Relaxed);
        }
        !found.is_empty()
    }

    /// The entries that have explained nothing.
    pub fn unseen(&self) -> Vec<String> {
        let unseen = self.0.iter().filter(|entry| !entry.seen.load(Ordering::Relaxed));
        unseen.map(|entry| format!("cases = {:?}, at = {:?}", entry.cases, entry.at)).collect()
    }
}

/// `*` in the pattern stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(before) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| matches(after, &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_anything() {
        assert!(matches("a*c", "abc") && matches("*", "") && matches("x[*].y", "x[1].y"));
        assert!(!matches("a*c", "abd") && !matches("a", "ab"));
    }
}
