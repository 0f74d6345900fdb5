//! `db-sink`: rows of a database from JSON records.
//!
//! Which statement a record becomes, and how its fields become columns, is told in README.md.

mod column;
mod config;
mod logic;
mod row;
mod statement;
mod table;

pub use config::{Config, Evolution, Mode};
pub use logic::DbSink;

flumen_sdk::export_sql_sink!(DbSink);
