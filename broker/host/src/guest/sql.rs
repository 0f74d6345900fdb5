//! Interface `sql`, for the guest; and the host's own use of the same connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::component::Resource;

use super::state::State;
use crate::bindings::flumen::plugin::sql::{Host, HostConnection};
use crate::sql::{
    self, Claim, Column, Connection, Database, DbError, Dialect, Opened, Position, Positions, Value, away,
    connect, error, is_of_the_values, is_plain,
};

/// So much of the database's words at least a guest repeats.
const SAID_MIN: usize = 100;

/// A task's one connection.
#[derive(Default)]
pub(crate) struct Session {
    granted: BTreeMap<String, Arc<Database>>,
    absent: Vec<String>,
    /// Of a query's answer.
    bytes_max: usize,
    open: Option<Open>,
    /// The last failure in this transaction that was for what is in the rows.
    refused: Option<DbError>,
}

struct Open {
    name: String,
    connection: Box<dyn Connection>,
    positions: Positions,
}

impl Session {
    pub(crate) fn new(
        granted: BTreeMap<String, Arc<Database>>,
        absent: Vec<String>,
        bytes_max: usize,
    ) -> Session {
        Session { granted, absent, bytes_max, open: None, refused: None }
    }

    async fn open(&mut self, name: &str) -> Result<(), DbError> {
        if let Some(open) = &self.open {
            if open.name == name {
                return Ok(());
            }
            let said = format!(
                "database {:?} is open already; a sink's rows and offsets are one transaction of one database",
                open.name
            );
            return Err(error("42501", said));
        }
        if self.absent.iter().any(|absent| absent == name) {
            return Err(away("no database is connected to in a check"));
        }
        let Some(database) = self.granted.get(name) else {
            return Err(error(
                "42501",
                format!("database {name:?} is not granted: add it to grant.databases"),
            ));
        };
        let connection = connect(database, self.bytes_max).await?;
        self.open = Some(Open { name: name.to_owned(), connection, positions: Positions::default() });
        Ok(())
    }

    fn connection(&mut self) -> Result<&mut Box<dyn Connection>, DbError> {
        match &mut self.open {
            Some(open) => Ok(&mut open.connection),
            None => Err(error("08003", "no database is open")),
        }
    }

    /// Takes over the partitions. A guest that opened none in `init` is given the one it was granted.
    pub(crate) async fn take(
        &mut self,
        consumer: &str,
        claims: &[Claim],
    ) -> Result<Vec<sql::Taken>, DbError> {
        if self.open.is_none() {
            let only = match self.granted.keys().collect::<Vec<_>>()[..] {
                [only] => only.clone(),
                _ => {
                    return Err(error("08003", "the plugin opened none of its databases when it was set up"));
                }
            };
            self.open(&only).await?;
        }
        let Some(open) = &mut self.open else { return Err(error("08003", "no database is open")) };
        let (positions, taken) = Positions::take(&mut *open.connection, consumer, claims).await?;
        open.positions = positions;
        Ok(taken)
    }

    pub(crate) async fn begin(&mut self) -> Result<(), DbError> {
        self.refused = None;
        self.connection()?.begin().await
    }

    /// Whether a guest gives up because rows were refused: it says so in the database's words.
    pub(crate) fn is_refusal(&self, reason: &str) -> bool {
        self.refused.as_ref().is_some_and(|failed| {
            // The end of a long one may have been cut off on its way.
            let words = &failed.message[..failed.message.floor_char_boundary(SAID_MIN)];
            reason.contains(words)
        })
    }

    fn note<R>(&mut self, done: Result<R, DbError>) -> Result<R, DbError> {
        if let Some(failed) = done.as_ref().err().filter(|failed| is_of_the_values(failed)) {
            self.refused = Some(failed.clone());
        }
        done
    }

    pub(crate) async fn rollback(&mut self) -> Result<(), DbError> {
        self.connection()?.rollback().await
    }

    /// The offset, and then everything.
    pub(crate) async fn commit(&mut self, to: &Position) -> Result<(), sql::AdvanceError> {
        let Some(open) = &mut self.open else { return Err(error("08003", "no database is open").into()) };
        open.positions.advance(&mut *open.connection, to).await?;
        open.connection.commit().await.map_err(Into::into)
    }
}

impl State {
    /// What a guest's statement may be.
    fn check(statement: &str) -> Result<(), DbError> {
        if is_plain(statement) {
            return Ok(());
        }
        let word: String = statement.trim_start().chars().take(20).collect();
        Err(error("42501", format!("\"{word}…\": transactions, sessions and files are the host's")))
    }
}

impl Host for State {}

impl HostConnection for State {
    async fn open(&mut self, name: String) -> wasmtime::Result<Result<Resource<Opened>, DbError>> {
        Ok(match self.sql.open(&name).await {
            Ok(()) => Ok(self.table.push(Opened)?),
            Err(error) => Err(error),
        })
    }

    async fn dialect(&mut self, handle: Resource<Opened>) -> wasmtime::Result<Dialect> {
        self.table.get(&handle)?;
        Ok(match self.sql.connection() {
            Ok(connection) => connection.dialect(),
            // A handle is given only with a connection.
            Err(_) => Dialect::Sqlite,
        })
    }

    async fn describe(
        &mut self,
        handle: Resource<Opened>,
        table: String,
    ) -> wasmtime::Result<Result<Option<Vec<Column>>, DbError>> {
        self.table.get(&handle)?;
        let connection = match self.sql.connection() {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error)),
        };
        Ok(connection.describe(&table).await)
    }

    async fn query(
        &mut self,
        handle: Resource<Opened>,
        statement: String,
        params: Vec<Value>,
    ) -> wasmtime::Result<Result<Vec<Vec<Value>>, DbError>> {
        self.table.get(&handle)?;
        let bytes_max = self.sql.bytes_max;
        let done = match (State::check(&statement), self.sql.connection()) {
            (Ok(()), Ok(connection)) => connection.query(&statement, params, bytes_max).await,
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        Ok(self.sql.note(done))
    }

    async fn execute(
        &mut self,
        handle: Resource<Opened>,
        statement: String,
        rows: Vec<Vec<Value>>,
    ) -> wasmtime::Result<Result<u64, DbError>> {
        self.table.get(&handle)?;
        let done = match (State::check(&statement), self.sql.connection()) {
            (Ok(()), Ok(connection)) => connection.execute(&statement, rows).await,
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        Ok(self.sql.note(done))
    }

    async fn drop(&mut self, handle: Resource<Opened>) -> wasmtime::Result<()> {
        self.table.delete(handle)?;
        Ok(())
    }
}
