//! `json-filter`: keeps the records that a CEL expression is true of.
//!
//! What a field, a missing field and a tombstone are to the expression is told in README.md.

mod fields;
mod logic;
mod quick;

pub use logic::{Config, JsonFilter, Missing, Tombstones};

flumen_sdk::export_filter!(JsonFilter);
