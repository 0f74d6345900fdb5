//! `json-map`: reshapes JSON objects, field by field.
//!
//! README.md has the order in which its settings apply.

mod cast;
mod logic;

pub use cast::Cast;
pub use logic::{Config, JsonMap};

flumen_sdk::export_transform!(JsonMap);
