//! SQLite, embedded: one connection on a thread of its own.
//!
//! WAL, so that readers (a person's `sqlite3`) are not in the way; `synchronous=full`, because the
//! broker's group offset must never be durable before the row that it follows.
//!
//! Types: decimals, JSON and UUIDs are text; a timestamp is `2026-11-21 10:00:00.000000` and a date
//! `2026-11-21`, which SQLite's own date functions read.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::types::{ToSqlOutput, Value as Stored, ValueRef};
use rusqlite::{ErrorCode, ToSql, ffi};
use tokio::sync::{mpsc, oneshot};

use super::{Column, Connection, DbError, Dialect, Value, away, error};

const BUSY_WAIT: Duration = Duration::from_secs(5);

type Job = Box<dyn FnOnce(&mut rusqlite::Connection) + Send>;

pub(super) struct Sqlite {
    jobs: mpsc::Sender<Job>,
    interrupt: rusqlite::InterruptHandle,
}

impl Sqlite {
    pub(super) async fn open(path: PathBuf) -> Result<Sqlite, DbError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(1);
        let (opened, answer) = oneshot::channel();
        let work = move || {
            let mut connection = match open(&path) {
                Ok(connection) => connection,
                Err(error) => {
                    let said = format!("{}: {}", path.display(), map(&error, None).message);
                    drop(opened.send(Err(away(said))));
                    return;
                }
            };
            if opened.send(Ok(connection.get_interrupt_handle())).is_err() {
                return;
            }
            while let Some(job) = queue.blocking_recv() {
                job(&mut connection);
            }
        };
        std::thread::Builder::new()
            .name("flumen-sqlite".into())
            .spawn(work)
            .map_err(|e| away(e.to_string()))?;
        let interrupt = answer.await.map_err(|_| gone())??;
        Ok(Sqlite { jobs, interrupt })
    }

    async fn run<R: Send + 'static>(
        &self,
        job: impl FnOnce(&mut rusqlite::Connection) -> Result<R, DbError> + Send + 'static,
    ) -> Result<R, DbError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| drop(reply.send(job(connection))));
        self.jobs.send(job).await.map_err(|_| gone())?;
        // A call whose deadline passes drops this future: then the statement must not go on either.
        let mut guard = Interrupt { handle: &self.interrupt, armed: true };
        let answer = answer.await;
        guard.armed = false;
        answer.map_err(|_| gone())?
    }

    async fn batch(&self, sql: &'static str) -> Result<(), DbError> {
        self.run(move |connection| connection.execute_batch(sql).map_err(|e| map(&e, None))).await
    }
}

struct Interrupt<'a> {
    handle: &'a rusqlite::InterruptHandle,
    armed: bool,
}

impl Drop for Interrupt<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.handle.interrupt();
        }
    }
}

fn gone() -> DbError {
    away("the connection to the SQLite file is closed")
}

fn open(path: &std::path::Path) -> rusqlite::Result<rusqlite::Connection> {
    if let Some(folder) = path.parent() {
        // What goes wrong here goes wrong again, with a better message, one line below.
        std::fs::create_dir_all(folder).ok();
    }
    let connection = rusqlite::Connection::open(path)?;
    connection.busy_timeout(BUSY_WAIT)?;
    connection.query_row("pragma journal_mode = wal", [], |_| Ok(()))?;
    connection
        .execute_batch("pragma synchronous = full; pragma foreign_keys = on; pragma temp_store = memory")?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

#[async_trait]
impl Connection for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn begin(&mut self) -> Result<(), DbError> {
        self.batch("begin immediate").await
    }

    async fn commit(&mut self) -> Result<(), DbError> {
        self.batch("commit").await
    }

    async fn rollback(&mut self) -> Result<(), DbError> {
        self.run(|connection| {
            if connection.is_autocommit() {
                return Ok(());
            }
            connection.execute_batch("rollback").map_err(|e| map(&e, None))
        })
        .await
    }

    async fn describe(&mut self, table: &str) -> Result<Option<Vec<Column>>, DbError> {
        let (schema, table) = match table.split_once('.') {
            Some((schema, table)) => (schema.to_owned(), table.to_owned()),
            None => ("main".to_owned(), table.to_owned()),
        };
        self.run(move |connection| {
            let columns = || -> rusqlite::Result<Vec<Column>> {
                let sql = "select name, type, \"notnull\", pk from pragma_table_info(?1, ?2)";
                let mut statement = connection.prepare_cached(sql)?;
                let rows = statement.query_map([&table, &schema], |row| {
                    Ok(Column {
                        name: row.get(0)?,
                        sql_type: row.get(1)?,
                        nullable: !row.get::<_, bool>(2)?,
                        primary_key: row.get::<_, i64>(3)? > 0,
                    })
                })?;
                rows.collect()
            };
            let columns = columns().map_err(|e| map(&e, None))?;
            Ok((!columns.is_empty()).then_some(columns))
        })
        .await
    }

    async fn query(&mut self, statement: &str, params: Vec<Value>) -> Result<Vec<Vec<Value>>, DbError> {
        let statement = statement.to_owned();
        self.run(move |connection| {
            let mut prepared = connection.prepare_cached(&statement).map_err(|e| map(&e, None))?;
            bind(&mut prepared, &params, None)?;
            let columns = prepared.column_count();
            let mut rows = prepared.raw_query();
            let mut found = Vec::new();
            while let Some(row) = rows.next().map_err(|e| map(&e, None))? {
                let values = (0..columns).map(|i| Ok(read(row.get_ref(i)?))).collect::<rusqlite::Result<_>>();
                found.push(values.map_err(|e| map(&e, None))?);
            }
            Ok(found)
        })
        .await
    }

    async fn execute(&mut self, statement: &str, rows: Vec<Vec<Value>>) -> Result<u64, DbError> {
        let statement = statement.to_owned();
        self.run(move |connection| {
            let run = |connection: &rusqlite::Connection, sql: &str| {
                connection.execute_batch(sql).map_err(|e| map(&e, None))
            };
            // One savepoint a statement, not one a row; outside of a transaction it is one.
            run(connection, "savepoint flumen_statement")?;
            let done = execute(connection, &statement, &rows);
            if done.is_err() {
                run(connection, "rollback to flumen_statement")?;
            }
            run(connection, "release flumen_statement")?;
            done
        })
        .await
    }
}

fn execute(connection: &rusqlite::Connection, sql: &str, rows: &[Vec<Value>]) -> Result<u64, DbError> {
    let mut statement = connection.prepare_cached(sql).map_err(|e| map(&e, None))?;
    let mut affected = 0;
    for (index, row) in rows.iter().enumerate() {
        let index = Some(index as u32);
        bind(&mut statement, row, index)?;
        affected += statement.raw_execute().map_err(|e| map(&e, index))? as u64;
    }
    Ok(affected)
}

fn bind(statement: &mut rusqlite::Statement<'_>, row: &[Value], index: Option<u32>) -> Result<(), DbError> {
    let wanted = statement.parameter_count();
    if wanted != row.len() {
        let said = format!("the statement has {wanted} placeholders, the row {} values", row.len());
        return Err(DbError { row: index, ..error("07001", said) });
    }
    for (i, value) in row.iter().enumerate() {
        statement.raw_bind_parameter(i + 1, Bound(value)).map_err(|e| map(&e, index))?;
    }
    Ok(())
}

struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::Boolean(b) => ToSqlOutput::Owned(Stored::Integer(i64::from(*b))),
            Value::Int64(n) => ToSqlOutput::Owned(Stored::Integer(*n)),
            Value::Float64(x) => ToSqlOutput::Owned(Stored::Real(*x)),
            Value::Decimal(text) | Value::Text(text) | Value::Json(text) | Value::Uuid(text) => {
                ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
            }
            Value::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Value::TimestampUs(us) => ToSqlOutput::Owned(Stored::Text(timestamp(*us))),
            Value::DateDays(days) => ToSqlOutput::Owned(Stored::Text(date(*days))),
        })
    }
}

/// `2026-11-21 10:00:00.000000`; beyond the years that a calendar holds, the number.
pub(super) fn timestamp(us: i64) -> String {
    match jiff::Timestamp::from_microsecond(us) {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string(),
        Err(_) => us.to_string(),
    }
}

pub(super) fn date(days: i32) -> String {
    let epoch = jiff::civil::date(1970, 1, 1);
    match epoch.checked_add(jiff::Span::new().days(i64::from(days).clamp(-7_000_000, 7_000_000))) {
        Ok(date) => date.to_string(),
        Err(_) => days.to_string(),
    }
}

fn read(value: ValueRef<'_>) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Int64(n),
        ValueRef::Real(x) => Value::Float64(x),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

fn map(failed: &rusqlite::Error, row: Option<u32>) -> DbError {
    let rusqlite::Error::SqliteFailure(code, message) = failed else {
        return match failed {
            rusqlite::Error::SqlInputError { error: code, msg, .. } => named(code, msg, row),
            other => DbError { row, ..error("HY000", other.to_string()) },
        };
    };
    let message = message.clone().unwrap_or_else(|| failed.to_string());
    named(code, &message, row)
}

fn named(code: &ffi::Error, message: &str, row: Option<u32>) -> DbError {
    let retryable = matches!(
        code.code,
        ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OperationInterrupted
            | ErrorCode::OutOfMemory
    );
    let sqlstate = match (code.code, code.extended_code) {
        (
            _,
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID,
        ) => "23505",
        (_, ffi::SQLITE_CONSTRAINT_NOTNULL) => "23502",
        (_, ffi::SQLITE_CONSTRAINT_FOREIGNKEY) => "23503",
        (_, ffi::SQLITE_CONSTRAINT_CHECK) => "23514",
        (ErrorCode::ConstraintViolation, _) => "23000",
        (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked, _) => "55P03",
        (ErrorCode::DiskFull, _) => "53100",
        (ErrorCode::TooBig, _) => "54000",
        (ErrorCode::TypeMismatch, _) => "42804",
        _ if message.starts_with("no such table") => "42P01",
        _ if message.starts_with("no such column") || message.contains("has no column named") => "42703",
        _ if message.contains("already exists") => "42P07",
        _ if message.contains("duplicate column name") => "42701",
        _ if message.contains("syntax error") => "42601",
        _ => "HY000",
    };
    DbError { sqlstate: sqlstate.to_owned(), message: message.to_owned(), retryable, row }
}
