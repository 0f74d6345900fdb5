//! SQL databases by name. Connections, passwords and transactions are the host's.
//!
//! [`Database`] is what a sink is written against: the host's connection in wasm, anything in a test.

pub use crate::bindings::sql::{Column, Connection, DbError, Dialect, Value};
use crate::{Error, Result};

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

/// A database that is away is tried again; one that says no to a statement will go on saying so.
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
