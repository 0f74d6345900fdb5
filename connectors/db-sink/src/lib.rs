//! `db-sink`: JSON records as rows of a table.
//!
//! README.md tells how values map to types, and what a record that does not fit does.

mod apply;
mod config;
mod kind;
mod logic;
mod number;
mod rows;
mod statement;
mod table;
mod writes;

pub use config::{Config, Evolution, KeyFrom, Mode, Tombstones};
pub use logic::DbSink;

flumen_sdk::export_sql_sink!(DbSink);
