//! SQL databases by name. Connections, passwords and transactions are the host's.
//!
//! [`Database`] is what a sink is written against: the host's connection in wasm, anything in a test.

pub use crate::bindings::sql::{Column, Connection, DbError, Dialect, Value};
use crate::{Error, Rejections, Result};

/// One database, inside the transaction that the host has opened.
pub trait Database {
    fn dialect(&self) -> Dialect;

    /// Columns in order; none: there is no such table.
    fn describe(&mut self, table: &str) -> Result<Option<Vec<Column>>, DbError>;

    fn query(&mut self, statement: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, DbError>;

    /// Once for each of `rows`, all or none; rows affected.
    fn execute(&mut self, statement: &str, rows: &[Vec<Value>]) -> Result<u64, DbError>;
}

impl Database for Connection {
    fn dialect(&self) -> Dialect {
        Connection::dialect(self)
    }

    fn describe(&mut self, table: &str) -> Result<Option<Vec<Column>>, DbError> {
        Connection::describe(self, table)
    }

    fn query(&mut self, statement: &str, params: &[Value]) -> Result<Vec<Vec<Value>>, DbError> {
        Connection::query(self, statement, params)
    }

    fn execute(&mut self, statement: &str, rows: &[Vec<Value>]) -> Result<u64, DbError> {
        Connection::execute(self, statement, rows)
    }
}

/// Runs the statement with a row for each of `records`, which are positions in the batch. A row that the
/// database refuses for what is in it rejects its record, and all others are done. Rows affected.
pub fn execute_each(
    database: &mut dyn Database,
    statement: &str,
    records: &[u32],
    rows: &[Vec<Value>],
    rejected: &mut Rejections,
) -> Result<u64> {
    let (mut affected, mut from) = (0, 0);
    while from < rows.len() {
        let error = match database.execute(statement, &rows[from..]) {
            Ok(more) => return Ok(affected + more),
            Err(error) => error,
        };
        let at = error.row.filter(|_| is_of_the_values(&error)).map(|row| from + row as usize);
        let Some((at, record)) = at.and_then(|at| Some((at, *records.get(at)?))) else {
            return Err(error.into());
        };
        // Those before it were fine, and were taken back with it.
        affected += match &rows[from..at] {
            [] => 0,
            fine => database.execute(statement, fine)?,
        };
        rejected.push(record, describe(&error));
        from = at + 1;
    }
    Ok(affected)
}

/// Whether it says no to what is in a row: data exceptions and violated constraints.
pub fn is_of_the_values(error: &DbError) -> bool {
    error.sqlstate.starts_with("22") || error.sqlstate.starts_with("23")
}

/// A database that is away is tried again; one that says no to a statement will go on saying so. Where it
/// says no to what is in a row, and `write` ends with that, the host finds the record by halves;
/// [`execute_each`] finds it at once.
impl From<DbError> for Error {
    fn from(error: DbError) -> Error {
        match error.retryable {
            true => Error::retry(describe(&error)),
            false => Error::fatal(describe(&error)),
        }
    }
}

/// `message (SQLSTATE 23505)`.
pub fn describe(error: &DbError) -> String {
    format!("{} (SQLSTATE {})", error.message, error.sqlstate)
}
