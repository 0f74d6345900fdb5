//! SQLite, embedded: one connection on a thread of its own.
//!
//! Invariant: a transaction that SQLite has taken back by itself (a full disk, `on conflict rollback`, a
//! trigger's `raise(rollback)`) is known to be lost. From then on nothing is run until the rollback, for
//! each statement would commit by itself.
//!
//! WAL, so that readers (a person's `sqlite3`) are not in the way; `synchronous=full`, because the
//! broker's group offset must never be durable before the row that it follows.
//!
//! Types: decimals, JSON and UUIDs are text; a timestamp is `2026-11-21 10:00:00.000000` and a date
//! `2026-11-21`, which SQLite's own date functions read.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, Value as Stored, ValueRef};
use rusqlite::{ErrorCode, ToSql, ffi};
use tokio::sync::{mpsc, oneshot};

use super::result_set::ResultSet;
use super::{Column, Connection, DbError, Dialect, Value, away, error};

const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Room for a batch of which every record was rejected.
const LETTERS_BYTES: usize = 64 << 20;

type Job = Box<dyn FnOnce(&mut Session) + Send>;

pub(super) struct Sqlite {
    jobs: mpsc::Sender<Job>,
    interrupt: rusqlite::InterruptHandle,
}

/// What the thread holds.
struct Session {
    connection: rusqlite::Connection,
    /// Between a begin and its commit or rollback.
    in_transaction: bool,
    /// That transaction is no more, and has yet to be rolled back by whoever began it.
    lost: bool,
}

impl Sqlite {
    pub(super) async fn open(path: PathBuf, bytes_max: usize) -> Result<Sqlite, DbError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(1);
        let (opened, answer) = oneshot::channel();
        let work = move || {
            let connection = match open(&path, bytes_max) {
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
            let mut session = Session { connection, in_transaction: false, lost: false };
            while let Some(job) = queue.blocking_recv() {
                job(&mut session);
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
        job: impl FnOnce(&mut Session) -> Result<R, DbError> + Send + 'static,
    ) -> Result<R, DbError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |session| drop(reply.send(job(session))));
        self.jobs.send(job).await.map_err(|_| gone())?;
        // A call whose deadline passes drops this future: then the statement must not go on either.
        let mut guard = Interrupt { handle: &self.interrupt, armed: true };
        let answer = answer.await;
        guard.armed = false;
        answer.map_err(|_| gone())?
    }
}

impl Session {
    fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.connection.execute_batch(sql).map_err(|e| map(&e, None))
    }

    fn usable(&self) -> Result<(), DbError> {
        match self.lost {
            true => Err(lost("nothing can be done in it but a rollback")),
            false => Ok(()),
        }
    }

    fn begin(&mut self) -> Result<(), DbError> {
        self.usable()?;
        self.batch("begin immediate")?;
        self.in_transaction = true;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), DbError> {
        self.usable()?;
        match self.batch("commit") {
            Ok(()) => {
                self.in_transaction = false;
                Ok(())
            }
            Err(failed) => Err(self.failed(failed)),
        }
    }

    fn rollback(&mut self) -> Result<(), DbError> {
        if !self.connection.is_autocommit() {
            self.batch("rollback")?;
        }
        (self.in_transaction, self.lost) = (false, false);
        Ok(())
    }

    /// Runs work of which a failure leaves nothing behind.
    fn statement<R>(
        &mut self,
        work: impl FnOnce(&rusqlite::Connection) -> Result<R, DbError>,
    ) -> Result<R, DbError> {
        self.usable()?;
        // One savepoint a statement, not one a row; outside of a transaction it is one.
        self.batch("savepoint flumen_statement")?;
        let done = work(&self.connection);
        if let Err(failed) = done {
            if self.connection.is_autocommit() {
                // The savepoint is gone, with everything around it.
                return Err(self.failed(failed));
            }
            self.batch("rollback to flumen_statement; release flumen_statement")?;
            return Err(failed);
        }
        self.batch("release flumen_statement").map_err(|failed| self.failed(failed))?;
        done
    }

    /// The failure, or that it has cost the whole transaction.
    fn failed(&mut self, failed: DbError) -> DbError {
        if !(self.in_transaction && self.connection.is_autocommit()) {
            return failed;
        }
        self.lost = true;
        lost(&failed.message)
    }
}

/// The same transaction again, from its start, may do.
fn lost(why: &str) -> DbError {
    let said = format!("SQLite has rolled the whole transaction back: {why}");
    DbError { retryable: true, ..error("40000", said) }
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

fn open(path: &std::path::Path, bytes_max: usize) -> rusqlite::Result<rusqlite::Connection> {
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
    // Of one value, before anybody can count it. What the boundary lets a guest write must fit, which is
    // more than what it may be given (`State::store`), and the letters of flumen_offsets.
    let length = bytes_max.saturating_mul(2).saturating_add(LETTERS_BYTES);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, i32::try_from(length).unwrap_or(i32::MAX))?;
    Ok(connection)
}

#[async_trait]
impl Connection for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    async fn begin(&mut self) -> Result<(), DbError> {
        self.run(Session::begin).await
    }

    async fn commit(&mut self) -> Result<(), DbError> {
        self.run(Session::commit).await
    }

    async fn rollback(&mut self) -> Result<(), DbError> {
        self.run(Session::rollback).await
    }

    async fn describe(&mut self, table: &str) -> Result<Option<Vec<Column>>, DbError> {
        let (schema, table) = match table.split_once('.') {
            Some((schema, table)) => (schema.to_owned(), table.to_owned()),
            None => ("main".to_owned(), table.to_owned()),
        };
        self.run(move |session| {
            let connection = &session.connection;
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

    async fn query(
        &mut self,
        statement: &str,
        params: Vec<Value>,
        bytes_max: usize,
    ) -> Result<Vec<Vec<Value>>, DbError> {
        let statement = statement.to_owned();
        self.run(move |session| {
            let found = ResultSet::new(bytes_max);
            session.statement(|connection| query(connection, &statement, &params, found))
        })
        .await
    }

    async fn execute(&mut self, statement: &str, rows: Vec<Vec<Value>>) -> Result<u64, DbError> {
        let statement = statement.to_owned();
        self.run(move |session| session.statement(|connection| execute(connection, &statement, &rows))).await
    }
}

fn query(
    connection: &rusqlite::Connection,
    sql: &str,
    params: &[Value],
    mut found: ResultSet,
) -> Result<Vec<Vec<Value>>, DbError> {
    let mut prepared = connection.prepare_cached(sql).map_err(|e| map(&e, None))?;
    bind(&mut prepared, params, None)?;
    let columns = prepared.column_count();
    let mut rows = prepared.raw_query();
    while let Some(row) = rows.next().map_err(|e| map(&e, None))? {
        let values = (0..columns).map(|i| Ok(read(row.get_ref(i)?))).collect::<rusqlite::Result<_>>();
        found.push(values.map_err(|e| map(&e, None))?)?;
    }
    Ok(found.into_rows())
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn opened(folder: &std::path::Path) -> Sqlite {
        let mut sqlite = Sqlite::open(folder.join("a.db"), 1 << 20).await.expect("it opens");
        sqlite
            .execute("create table t (n integer primary key, pad blob)", vec![vec![]])
            .await
            .expect("a table");
        sqlite
    }

    fn row(n: i64, pad: usize) -> Vec<Value> {
        vec![Value::Int64(n), Value::Bytes(vec![7; pad])]
    }

    async fn numbers(sqlite: &mut Sqlite) -> Vec<Vec<Value>> {
        sqlite.query("select n from t order by n", vec![], 1 << 20).await.expect("the rows")
    }

    /// What a transaction that is lost does not let through.
    async fn is_lost(sqlite: &mut Sqlite, failed: &DbError, insert: &str) {
        assert!(failed.retryable && failed.sqlstate == "40000", "{failed:?}");
        for refused in [
            sqlite.execute(insert, vec![row(50, 1)]).await.map(drop),
            sqlite.query("select n from t", vec![], 1 << 20).await.map(drop),
            sqlite.begin().await,
            sqlite.commit().await,
        ] {
            let refused = refused.expect_err("it is lost");
            assert!(refused.retryable && refused.sqlstate == "40000", "{refused:?}");
        }
        sqlite.rollback().await.expect("it is over");
    }

    #[tokio::test]
    async fn a_transaction_that_a_full_disk_took_back_is_lost_as_a_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sqlite = opened(folder.path()).await;
        let insert = "insert into t values (?, ?)";
        sqlite.execute(insert, vec![row(1, 10)]).await.expect("a row");
        let bounded = |pages: u32| {
            move |session: &mut Session| session.batch(&format!("pragma max_page_count = {pages}"))
        };
        sqlite.run(bounded(64)).await.expect("a small disk");
        sqlite.begin().await.expect("it begins");
        sqlite.execute(insert, vec![row(2, 10)]).await.expect("a row");
        let failed = sqlite.execute(insert, vec![row(3, 1 << 20)]).await.expect_err("it is full");
        is_lost(&mut sqlite, &failed, insert).await;
        assert_eq!(numbers(&mut sqlite).await, [[Value::Int64(1)]]);

        // Alone, a statement that fails so has lost nothing but itself.
        let failed = sqlite.execute(insert, vec![row(2, 10), row(3, 1 << 20)]).await.expect_err("it is full");
        assert_eq!(failed.sqlstate, "53100", "{failed:?}");
        sqlite.run(bounded(1 << 20)).await.expect("a larger disk");
        sqlite.begin().await.expect("it begins");
        sqlite.execute(insert, vec![row(2, 10), row(3, 1 << 20)]).await.expect("there is room");
        sqlite.commit().await.expect("it commits");
        assert_eq!(numbers(&mut sqlite).await.len(), 3);
    }

    #[tokio::test]
    async fn a_transaction_that_a_statement_rolled_back_is_lost_as_a_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut sqlite = opened(folder.path()).await;
        let trigger = "create trigger no before insert on t when new.n = 13 begin select raise(rollback, 'unlucky'); end";
        sqlite.execute(trigger, vec![vec![]]).await.expect("a trigger");
        sqlite.execute("insert into t values (?, ?)", vec![row(1, 1)]).await.expect("a row");
        for (insert, n) in
            [("insert into t values (?, ?)", 13), ("insert or rollback into t values (?, ?)", 1)]
        {
            sqlite.begin().await.expect("it begins");
            sqlite.execute(insert, vec![row(2, 1)]).await.expect("a row");
            let failed = sqlite.execute(insert, vec![row(3, 1), row(n, 1)]).await.expect_err("it says no");
            is_lost(&mut sqlite, &failed, insert).await;
            assert_eq!(numbers(&mut sqlite).await, [[Value::Int64(1)]]);
        }
    }
}
