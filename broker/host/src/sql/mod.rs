//! SQL databases, as sinks use them: drivers, types, and the offsets that make them exactly once.
//!
//! Invariants: addresses and passwords stay here; a guest names a database and sends statements. A
//! connection belongs to one task. Statements of a guest never begin or end a transaction, attach a
//! file, or change a session: [`is_plain`] lets through what reads, writes and defines, by its first
//! word, and drivers run one statement at a time.

#[cfg(test)]
mod contract;
mod database;
mod offsets;
mod postgres;
mod result_set;
mod sqlite;

use async_trait::async_trait;

pub use database::{Database, DatabaseError, Databases};
pub(crate) use offsets::{AdvanceError, Claim, Letter, Position, Positions, Resume, Taken};

pub(crate) use crate::bindings::flumen::plugin::sql::{Column, DbError, Dialect, Value};

/// What a guest's handle stands for: its task's one connection.
#[allow(unreachable_pub)] // The generated bindings name it in public.
pub struct Opened;

/// A connection to one database.
///
/// Contract: `execute` and `query` are all or nothing. Between `begin` and `commit` they leave the
/// transaction usable when they fail; outside of it each is a transaction of its own. Dropping a
/// connection rolls back. After an error of class 08 it is dead. After one of 40000 the database has
/// taken the transaction back by itself, and all but `rollback` fails. A query whose answer is larger
/// than `bytes_max` fails with 54000, and is not read to its end.
#[async_trait]
pub(crate) trait Connection: Send {
    fn dialect(&self) -> Dialect;
    async fn begin(&mut self) -> Result<(), DbError>;
    async fn commit(&mut self) -> Result<(), DbError>;
    async fn rollback(&mut self) -> Result<(), DbError>;
    /// Columns in order; none where there is no such table.
    async fn describe(&mut self, table: &str) -> Result<Option<Vec<Column>>, DbError>;
    async fn query(
        &mut self,
        statement: &str,
        params: Vec<Value>,
        bytes_max: usize,
    ) -> Result<Vec<Vec<Value>>, DbError>;
    async fn execute(&mut self, statement: &str, rows: Vec<Vec<Value>>) -> Result<u64, DbError>;
}

/// For a guest that may be given so many bytes by one query.
pub(crate) async fn connect(database: &Database, bytes_max: usize) -> Result<Box<dyn Connection>, DbError> {
    match database {
        Database::Sqlite { path } => Ok(Box::new(sqlite::Sqlite::open(path.clone(), bytes_max).await?)),
        Database::Postgres { .. } => Ok(Box::new(postgres::Postgres::connect(database).await?)),
    }
}

/// What went wrong, in the form that a guest sees.
pub(crate) fn error(sqlstate: &str, message: impl Into<String>) -> DbError {
    DbError { sqlstate: sqlstate.to_owned(), message: message.into(), retryable: false, row: None }
}

/// The database cannot be talked to.
pub(crate) fn away(message: impl Into<String>) -> DbError {
    DbError { retryable: true, ..error("08006", message) }
}

/// Whether it says no to what is in the rows (data exceptions, violated constraints), and always will.
pub(crate) fn is_of_the_values(failed: &DbError) -> bool {
    !failed.retryable && (failed.sqlstate.starts_with("22") || failed.sqlstate.starts_with("23"))
}

/// `message (SQLSTATE 23505)`.
pub(crate) fn sentence(error: &DbError) -> String {
    format!("{} (SQLSTATE {})", error.message, error.sqlstate)
}

/// Whether a guest may run it: one that reads, writes or defines, by its first word.
pub(crate) fn is_plain(statement: &str) -> bool {
    const PLAIN: [&str; 14] = [
        "select", "insert", "update", "delete", "merge", "replace", "with", "values", "create", "alter",
        "drop", "truncate", "comment", "analyze",
    ];
    begins_with(statement, &PLAIN)
}

/// Whether it makes, alters or drops something.
fn defines(statement: &str) -> bool {
    begins_with(statement, &["create", "alter", "drop"])
}

fn begins_with(statement: &str, words: &[&str]) -> bool {
    let rest = without_comments(statement);
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    words.iter().any(|word| rest[..end].eq_ignore_ascii_case(word))
}

fn without_comments(mut rest: &str) -> &str {
    loop {
        rest = rest.trim_start();
        rest = if let Some(line) = rest.strip_prefix("--") {
            line.split_once('\n').map_or("", |(_, after)| after)
        } else if let Some(block) = rest.strip_prefix("/*") {
            block.split_once("*/").map_or("", |(_, after)| after)
        } else {
            return rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_cannot_end_the_hosts_transaction_or_leave_its_database() {
        for plain in
            ["select 1", "  INSERT into t", "-- x\n/* y */ With a as", "create table t(a)", "DELETE\nfrom t"]
        {
            assert!(is_plain(plain), "{plain}");
        }
        for not in [
            "commit",
            " /* */ COMMIT",
            "--\nrollback",
            ";commit",
            "attach 'x' as y",
            "pragma synchronous = off",
            "vacuum into 'x'",
            "savepoint a",
            "begin",
            "end",
            "set role postgres",
            "copy t to program 'x'",
            "selectx",
            "",
            "/* open",
        ] {
            assert!(!is_plain(not), "{not}");
        }
    }
}
