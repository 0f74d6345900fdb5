//! PostgreSQL over tokio-postgres.
//!
//! Parameters go as text, which the server reads as whatever type the column has (numeric, uuid, enum,
//! array, timestamptz …), so that no table of types can fall behind it; only bytes go as bytes. Rows of
//! one `execute` are pipelined.
//!
//! Lacks TLS: `sslmode=require` is refused with that reason.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures::{StreamExt, TryStreamExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls, Row, Statement};

use super::result_set::ResultSet;
use super::{Column, Connection, Database, DbError, Dialect, Value, away, defines, error, sqlite};

const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Rows of a statement that are on their way at a time.
const PIPELINED: usize = 512;
const STATEMENTS_KEPT: usize = 64;

pub(super) struct Postgres {
    client: Client,
    /// Prepared, by their text, with the types that their columns had then.
    statements: HashMap<String, Statement>,
    in_transaction: bool,
}

impl Postgres {
    pub(super) async fn connect(database: &Database) -> Result<Postgres, DbError> {
        let Database::Postgres { url, password } = database else {
            return Err(error("HY000", "not a PostgreSQL database"));
        };
        let mut config: tokio_postgres::Config =
            url.parse().map_err(|e: tokio_postgres::Error| error("08001", e.to_string()))?;
        if let Some(password) = password {
            config.password(password);
        }
        if config.get_application_name().is_none() {
            config.application_name("flumen");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WAIT);
        }
        let (client, connection) = config.connect(NoTls).await.map_err(|e| map(&e, None))?;
        // Ends when the client is dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL has ended");
            }
        });
        Ok(Postgres { client, statements: HashMap::new(), in_transaction: false })
    }

    async fn prepare(&mut self, statement: &str) -> Result<Statement, DbError> {
        if let Some(known) = self.statements.get(statement) {
            return Ok(known.clone());
        }
        let prepared = self.client.prepare(statement).await.map_err(|e| map(&e, None))?;
        if self.statements.len() >= STATEMENTS_KEPT {
            self.statements.clear();
        }
        self.statements.insert(statement.to_owned(), prepared.clone());
        Ok(prepared)
    }

    async fn batch(&self, sql: &str) -> Result<(), DbError> {
        self.client.batch_execute(sql).await.map_err(|e| map(&e, None))
    }

    /// Opens what a failure is taken back to.
    async fn savepoint(&self) -> Result<(), DbError> {
        self.batch(if self.in_transaction { "savepoint flumen_statement" } else { "begin" }).await
    }

    async fn settle<R>(&mut self, done: Result<R, DbError>) -> Result<R, DbError> {
        let sql = match (self.in_transaction, done.is_ok()) {
            (true, true) => "release savepoint flumen_statement",
            (true, false) => "rollback to savepoint flumen_statement; release savepoint flumen_statement",
            (false, true) => "commit",
            (false, false) => "rollback",
        };
        if done.is_err() {
            // A statement that was prepared against a table as it was may be the reason.
            self.statements.clear();
        }
        match self.batch(sql).await {
            Ok(()) => done,
            // What failed first says more.
            Err(settling) => done.and(Err(settling)),
        }
    }

    async fn run(&mut self, statement: &str, rows: &[Vec<Value>]) -> Result<u64, DbError> {
        let prepared = self.prepare(statement).await?;
        let wanted = prepared.params().len();
        for (index, row) in rows.iter().enumerate() {
            if row.len() != wanted {
                let said = format!("the statement has {wanted} placeholders, the row {} values", row.len());
                return Err(DbError { row: Some(index as u32), ..error("07001", said) });
            }
        }
        let (client, prepared) = (&self.client, &prepared);
        let calls: Vec<_> =
            rows.iter().enumerate().map(|(index, row)| one(client, prepared, index, row)).collect();
        let mut done = futures::stream::iter(calls).buffered(PIPELINED);
        let mut affected = 0;
        while let Some(more) = done.try_next().await? {
            affected += more;
        }
        Ok(affected)
    }

    async fn rows(
        &mut self,
        statement: &str,
        params: &[Value],
        mut found: ResultSet,
    ) -> Result<Vec<Vec<Value>>, DbError> {
        let prepared = self.prepare(statement).await?;
        if prepared.params().len() != params.len() {
            let said = format!(
                "the statement has {} placeholders, and {} values were given",
                prepared.params().len(),
                params.len()
            );
            return Err(error("07001", said));
        }
        let rows = self.client.query_raw(&prepared, params.iter().map(Param)).await;
        let mut rows = std::pin::pin!(rows.map_err(|e| map(&e, None))?);
        while let Some(row) = rows.try_next().await.map_err(|e| map(&e, None))? {
            if let Err(failed) = read_row(&row).and_then(|row| found.push(row)) {
                // The next statement would wait for all that the server has yet to send.
                self.client.cancel_token().cancel_query(NoTls).await.ok();
                let landed = loop {
                    match rows.try_next().await {
                        Ok(Some(_)) => {}
                        Ok(None) => break false,
                        Err(error) => break error.code() == Some(&SqlState::QUERY_CANCELED),
                    }
                };
                if !landed {
                    // It is still on its way, and must not hit the next statement.
                    self.batch("select pg_sleep(1)").await.ok();
                }
                return Err(failed);
            }
        }
        Ok(found.into_rows())
    }

    async fn execute_once(&mut self, statement: &str, rows: &[Vec<Value>]) -> Result<u64, DbError> {
        self.savepoint().await?;
        let done = self.run(statement, rows).await;
        self.settle(done).await
    }
}

async fn one(client: &Client, statement: &Statement, index: usize, row: &[Value]) -> Result<u64, DbError> {
    let done = client.execute_raw(statement, row.iter().map(Param)).await;
    done.map_err(|e| map(&e, Some(index as u32)))
}

#[async_trait]
impl Connection for Postgres {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    async fn begin(&mut self) -> Result<(), DbError> {
        self.batch("begin").await?;
        self.in_transaction = true;
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), DbError> {
        self.in_transaction = false;
        self.batch("commit").await
    }

    async fn rollback(&mut self) -> Result<(), DbError> {
        self.in_transaction = false;
        // Tables that the transaction made are gone again.
        self.statements.clear();
        self.batch("rollback").await
    }

    async fn describe(&mut self, table: &str) -> Result<Option<Vec<Column>>, DbError> {
        let quoted: Vec<String> =
            table.splitn(2, '.').map(|part| format!("\"{}\"", part.replace('"', "\"\""))).collect();
        let sql = "select a.attname::text, format_type(a.atttypid, a.atttypmod), not a.attnotnull, \
             exists (select from pg_index i where i.indrelid = a.attrelid and i.indisprimary \
                     and a.attnum = any (i.indkey)) \
             from pg_attribute a where a.attrelid = to_regclass($1::text) and a.attnum > 0 and not a.attisdropped \
             order by a.attnum";
        let rows = self.query(sql, vec![Value::Text(quoted.join("."))], usize::MAX).await?;
        let columns: Vec<Column> = rows
            .into_iter()
            .filter_map(|row| match <[Value; 4]>::try_from(row) {
                Ok(
                    [
                        Value::Text(name),
                        Value::Text(sql_type),
                        Value::Boolean(nullable),
                        Value::Boolean(primary_key),
                    ],
                ) => Some(Column { name, sql_type, nullable, primary_key }),
                _ => None,
            })
            .collect();
        Ok((!columns.is_empty()).then_some(columns))
    }

    async fn query(
        &mut self,
        statement: &str,
        params: Vec<Value>,
        bytes_max: usize,
    ) -> Result<Vec<Vec<Value>>, DbError> {
        self.savepoint().await?;
        let rows = self.rows(statement, &params, ResultSet::new(bytes_max)).await;
        self.settle(rows).await
    }

    async fn execute(&mut self, statement: &str, rows: Vec<Vec<Value>>) -> Result<u64, DbError> {
        let known = self.statements.contains_key(statement);
        let done = match self.execute_once(statement, &rows).await {
            // Prepared against a table that somebody else has changed since, perhaps.
            Err(failed) if known && is_of_types(&failed) => self.execute_once(statement, &rows).await,
            done => done,
        };
        if done.is_ok() && defines(statement) {
            // A column of another type takes other parameters.
            self.statements.clear();
        }
        done
    }
}

/// Values or result do not go with the types that the statement was prepared with.
fn is_of_types(failed: &DbError) -> bool {
    ["22", "42", "0A"].iter().any(|class| failed.sqlstate.starts_with(class))
}

#[derive(Debug)]
struct Param<'a>(&'a Value);

impl Param<'_> {
    fn as_bytes(&self, ty: &Type) -> bool {
        matches!(self.0, Value::Bytes(_)) && *ty == Type::BYTEA
    }
}

impl ToSql for Param<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        let mut text = |text: &str| out.extend_from_slice(text.as_bytes());
        match self.0 {
            Value::Null => return Ok(IsNull::Yes),
            Value::Boolean(b) => text(if *b { "true" } else { "false" }),
            Value::Int64(n) => text(&n.to_string()),
            Value::Float64(x) => text(&x.to_string()),
            Value::Decimal(s) | Value::Text(s) | Value::Json(s) | Value::Uuid(s) => text(s),
            Value::TimestampUs(us) => {
                text(&sqlite::timestamp(*us));
                text("+00");
            }
            Value::DateDays(days) => text(&sqlite::date(*days)),
            Value::Bytes(bytes) if self.as_bytes(ty) => out.extend_from_slice(bytes),
            Value::Bytes(bytes) => text(std::str::from_utf8(bytes)?),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        if self.as_bytes(ty) { Format::Binary } else { Format::Text }
    }

    to_sql_checked!();
}

/// A field as it comes, before its type has been looked at.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Raw<'a>, Box<dyn StdError + Sync + Send>> {
        Ok(Raw(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn read_row(row: &Row) -> Result<Vec<Value>, DbError> {
    let field = |i: usize| {
        let ty = row.columns()[i].type_();
        let raw: Option<Raw<'_>> = row.try_get(i).map_err(|e| map(&e, None))?;
        let Some(Raw(raw)) = raw else { return Ok(Value::Null) };
        read(ty, raw).map_err(|e| {
            let name = row.columns()[i].name();
            error(
                "HY000",
                format!("column {name:?} has type {ty}, which is not read here ({e}); cast it to text"),
            )
        })
    };
    (0..row.len()).map(field).collect()
}

fn read(ty: &Type, raw: &[u8]) -> Result<Value, Box<dyn StdError + Sync + Send>> {
    Ok(match *ty {
        Type::BOOL => Value::Boolean(bool::from_sql(ty, raw)?),
        Type::INT2 => Value::Int64(i16::from_sql(ty, raw)?.into()),
        Type::INT4 => Value::Int64(i32::from_sql(ty, raw)?.into()),
        Type::INT8 => Value::Int64(i64::from_sql(ty, raw)?),
        Type::OID => Value::Int64(u32::from_sql(ty, raw)?.into()),
        Type::FLOAT4 => Value::Float64(f32::from_sql(ty, raw)?.into()),
        Type::FLOAT8 => Value::Float64(f64::from_sql(ty, raw)?),
        Type::NUMERIC => Value::Decimal(numeric(raw).ok_or("its bytes are malformed")?),
        Type::BYTEA => Value::Bytes(raw.to_vec()),
        Type::JSON => Value::Json(String::from_utf8(raw.to_vec())?),
        // One byte of version, then the text.
        Type::JSONB => Value::Json(String::from_utf8(raw.get(1..).unwrap_or_default().to_vec())?),
        Type::UUID => Value::Uuid(uuid::Uuid::from_slice(raw)?.to_string()),
        // Counted from 2000-01-01.
        Type::TIMESTAMP | Type::TIMESTAMPTZ => {
            Value::TimestampUs(i64::from_sql(&Type::INT8, raw)?.saturating_add(946_684_800_000_000))
        }
        Type::DATE => Value::DateDays(i32::from_sql(&Type::INT4, raw)?.saturating_add(10_957)),
        _ if <&str as FromSql<'_>>::accepts(ty)
            || matches!(ty.kind(), tokio_postgres::types::Kind::Enum(_)) =>
        {
            Value::Text(String::from_utf8(raw.to_vec())?)
        }
        _ => return Err("no text and no number".into()),
    })
}

/// `ndigits weight sign dscale (i16 each) digits…`, the digits to the base of 10,000.
fn numeric(raw: &[u8]) -> Option<String> {
    let word = |i: usize| raw.get(2 * i..2 * i + 2).map(|b| i16::from_be_bytes([b[0], b[1]]));
    let (count, weight, sign, scale) = (word(0)?, i32::from(word(1)?), word(2)? as u16, word(3)?);
    let digit = |i: i32| match usize::try_from(i) {
        Ok(i) if i < count as usize => word(4 + i),
        _ => Some(0),
    };
    let mut text = match sign {
        0x0000 => String::new(),
        0x4000 => "-".to_owned(),
        0xC000 => return Some("NaN".to_owned()),
        0xD000 => return Some("Infinity".to_owned()),
        0xF000 => return Some("-Infinity".to_owned()),
        _ => return None,
    };
    if weight < 0 {
        text.push('0');
    }
    for i in 0..=weight {
        let digit = digit(i)?;
        if i == 0 { text.push_str(&digit.to_string()) } else { text.push_str(&format!("{digit:04}")) }
    }
    if scale > 0 {
        text.push('.');
        let mut fraction = String::new();
        let mut i = weight + 1;
        while fraction.len() < scale as usize {
            fraction.push_str(&format!("{:04}", if i < 0 { 0 } else { digit(i)? }));
            i += 1;
        }
        text.push_str(&fraction[..scale as usize]);
    }
    Some(text)
}

fn map(failed: &tokio_postgres::Error, row: Option<u32>) -> DbError {
    let Some(said) = failed.as_db_error() else {
        if let Some(source) = failed.source().filter(|_| failed.to_string().contains("serializing")) {
            return DbError { row, ..error("22000", format!("a value does not fit: {source}")) };
        }
        let message = match failed.source() {
            Some(source) => format!("{failed}: {source}"),
            None => failed.to_string(),
        };
        let fatal = message.contains("TLS") || message.contains("password missing");
        return DbError { retryable: !fatal, row, ..away(message) };
    };
    let code = said.code().code();
    // Connection, resources, operator, system; serialization, deadlock, lock; a wrong password may be
    // mended where the database is, and is no record's fault.
    let retryable = matches!(&code[..2], "08" | "53" | "57" | "58" | "28")
        || matches!(code, "40001" | "40P01" | "55P03" | "25006" | "3D000" | "XX000");
    let mut message = said.message().to_owned();
    if let Some(detail) = said.detail() {
        message = format!("{message}: {detail}");
    }
    DbError { sqlstate: code.to_owned(), message, retryable, row }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_read_as_the_server_prints_them() {
        let raw = |words: &[i16]| words.iter().flat_map(|w| w.to_be_bytes()).collect::<Vec<u8>>();
        for (words, text) in [
            (&[2, 0, 0, 2, 12, 3400][..], "12.34"),
            (&[3, 1, 0x4000, 4, 1, 2, 30][..], "-10002.0030"),
            (&[0, 0, 0, 0][..], "0"),
            (&[1, -1, 0, 4, 5][..], "0.0005"),
            (&[1, -2, 0, 8, 5][..], "0.00000005"),
            (&[1, 1, 0, 0, 7][..], "70000"),
        ] {
            assert_eq!(numeric(&raw(words)).as_deref(), Some(text));
        }
        assert_eq!(numeric(&[0, 1]), None);
    }
}
