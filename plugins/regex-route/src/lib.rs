//! `regex-route`: sends each record, unchanged, to the topic of the first pattern that matches.
//!
//! README.md tells what can be matched.

mod logic;

pub use logic::{Config, RegexRoute, Route, Unmatched};

flumen_sdk::export_transform!(RegexRoute);
