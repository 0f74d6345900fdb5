//! Topics by regular expression, in the syntax of RE2, as Kafka has it; it must match a whole name.
//!
//! What it finds is what the sender of the request that had it looked up may know of, as with Kafka: for
//! all members that subscribe to it, until it is looked up for another.
//!
//! `\Q...\E` is taken for the text in between, which is how Java quotes. Not here: what RE2 allows and
//! `regex` does not (`\C`), and classes within classes, which RE2 takes for plain brackets.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_types::Timestamp;
use regex::{Regex, RegexBuilder};

use super::View;

/// An expression's topics at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub topics: BTreeSet<Arc<str>>,
    /// Of the topics that it was compared with.
    pub version: i64,
    pub at: Timestamp,
}

/// An expression for other names than topics' (ListTransactions 2).
#[derive(Clone, Debug)]
pub struct NamePattern(Regex);

impl NamePattern {
    /// An error is what is wrong with it.
    pub fn new(regex: &str) -> Result<NamePattern, String> {
        compile(regex).map(NamePattern)
    }

    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// What a client's expression may grow to in memory.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// What `regex` says of an expression, and what RE2 says.
const WORDS: &[(&str, &str)] = &[
    ("unclosed group", "missing closing )"),
    ("unclosed character class", "missing closing ]"),
    ("unopened group", "unexpected )"),
    ("repetition operator missing expression", "missing argument to repetition operator"),
    ("unrecognized escape sequence", "invalid escape sequence"),
    ("incomplete escape sequence", "trailing backslash at end of expression"),
    ("invalid character class range", "invalid character class range"),
];

/// An error is what is wrong with it, in RE2's words.
pub(super) fn compile(regex: &str) -> Result<Regex, String> {
    let plain = unquote(regex);
    // Alone first, so that an unbalanced `)` cannot end the group around it.
    let built = build(&plain).and_then(|_| build(&format!("^(?:{plain})$")));
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => "expression too large".to_string(),
        other => words(&other.to_string()),
    })
}

fn words(error: &str) -> String {
    let known = WORDS.iter().find(|(ours, _)| error.contains(ours)).map(|(_, re2)| *re2);
    let last_line = error.lines().last().unwrap_or_default();
    known.unwrap_or(last_line.trim_start_matches("error: ")).to_string()
}

fn build(regex: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(regex).size_limit(COMPILED_BYTES_MAX).dfa_size_limit(COMPILED_BYTES_MAX).build()
}

/// With text between `\Q` and `\E` (or the end) escaped.
fn unquote(regex: &str) -> String {
    let mut plain = String::with_capacity(regex.len());
    let mut rest = regex;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        rest = match escape.strip_prefix("\\Q") {
            Some(quoted) => {
                let (text, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
                plain.push_str(&regex::escape(text));
                after
            }
            None => {
                // The backslash and what it escapes, which may be another one.
                let width = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
                plain.push_str(&escape[..width]);
                &escape[width..]
            }
        };
    }
    plain + rest
}

/// Empty for what cannot be compiled; that was refused when it came.
pub(super) fn resolve(regex: &str, topics: View<'_>) -> BTreeSet<Arc<str>> {
    let Ok(regex) = compile(regex) else { return BTreeSet::new() };
    let matching = topics.image.names().filter(|name| regex.is_match(name));
    matching.filter(|name| (topics.shows)(name)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(regex: &str, name: &str) -> bool {
        compile(regex).unwrap().is_match(name)
    }

    #[test]
    fn a_whole_name_must_match() {
        assert!(matches("orders.*", "orders-eu") && !matches("orders", "orders-eu"));
        assert!(matches("a|bc", "bc") && !matches("a|bc", "ac"));
        assert!(matches("^topic\\d+$", "topic12"));
    }

    #[test]
    fn quoted_text_is_plain() {
        assert!(matches("\\Qa.b\\E.*", "a.bc") && !matches("\\Qa.b\\E", "axb"));
        assert!(matches("\\Qa.b", "a.b"));
        assert!(matches("a\\\\Q?", "a\\Q"));
    }

    #[test]
    fn what_cannot_be_an_expression_is_refused() {
        for wrong in ["(", "a)", "a)(b", "[", "*", "(?<n", "\\", "(a{1000}){1000}"] {
            assert!(compile(wrong).is_err(), "{wrong}");
        }
        assert_eq!(compile("a(").unwrap_err(), "missing closing )");
        assert_eq!(compile("*a").unwrap_err(), "missing argument to repetition operator");
    }
}
