//! `file-source`: reads files, from their beginning or as they grow.
//!
//! README.md tells what it does about rotation, long lines and rows that do not fit.

mod config;
mod csv;
mod cursor;
mod files;
mod fingerprint;
mod folders;
mod format;
mod identity;
mod logic;
mod neighbours;
mod reader;
mod reading;
mod row_end;
mod survey;
mod tracked;
mod troubles;
mod walk;

pub use config::{AtEnd, Config, FormatName, OnLongLine, Start};
pub use csv::Type;
pub use logic::FileSource;

flumen_sdk::export_source!(FileSource);
