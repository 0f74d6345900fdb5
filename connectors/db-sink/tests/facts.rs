//! What db-sink leaves in a table, shown on SQLite, with the savepoints that the host would set.

use db_sink::DbSink;
use flumen_sdk::sql::{Column, Database, DbError, Dialect, Value};
use flumen_sdk::testing::{Harness, Record};
use flumen_sdk::{Error, Rejections};
use rusqlite::types::Value as Sqlite;
use rusqlite::{Connection, params_from_iter};
use serde_json::json;

/// SQLite in memory; counts what is run, and may be told to fail, or to pass for PostgreSQL.
struct Db {
    connection: Connection,
    dialect: Dialect,
    executed: Vec<String>,
    /// What every statement is answered.
    fails: Option<DbError>,
    names_rows: bool,
}

impl Db {
    fn new() -> Self {
        Db {
            connection: Connection::open_in_memory().unwrap(),
            dialect: Dialect::Sqlite,
            executed: vec![],
            fails: None,
            names_rows: true,
        }
    }

    fn with(sql: &str) -> Self {
        let db = Db::new();
        db.connection.execute_batch(sql).unwrap();
        db
    }

    /// SQLite takes PostgreSQL's placeholders too.
    fn postgres(sql: &str) -> Self {
        Db { dialect: Dialect::Postgres, ..Db::with(sql) }
    }

    fn fail(&mut self, sqlstate: &str, message: &str, retryable: bool) {
        let (sqlstate, message) = (sqlstate.to_owned(), message.to_owned());
        self.fails = Some(DbError { sqlstate, message, retryable, row: self.names_rows.then_some(0) });
    }

    /// Rows as text, columns by `|`.
    fn rows(&self, sql: &str) -> Vec<String> {
        let mut statement = self.connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let text = |row: &rusqlite::Row<'_>| {
            let cell = |at| match row.get::<_, Sqlite>(at).unwrap() {
                Sqlite::Null => "-".to_owned(),
                Sqlite::Integer(int) => int.to_string(),
                Sqlite::Real(real) => format!("{real:?}"),
                Sqlite::Text(text) => text,
                Sqlite::Blob(blob) => format!("{blob:?}"),
            };
            Ok((0..columns).map(cell).collect::<Vec<_>>().join("|"))
        };
        statement.query_map([], text).unwrap().map(Result::unwrap).collect()
    }
}

fn sqlite(value: &Value) -> Sqlite {
    match value {
        Value::Null => Sqlite::Null,
        Value::Boolean(bool) => Sqlite::Integer(i64::from(*bool)),
        Value::Int64(int) | Value::TimestampUs(int) => Sqlite::Integer(*int),
        Value::DateDays(days) => Sqlite::Integer(i64::from(*days)),
        Value::Float64(float) => Sqlite::Real(*float),
        Value::Bytes(bytes) => Sqlite::Blob(bytes.clone()),
        Value::Decimal(text) | Value::Text(text) | Value::Json(text) | Value::Uuid(text) => {
            Sqlite::Text(text.clone())
        }
    }
}

fn refused(error: &rusqlite::Error, row: Option<u32>) -> DbError {
    let message = error.to_string();
    let sqlstate = if message.contains("no such table") {
        "42P01"
    } else if message.contains("syntax error") {
        "42601"
    } else if message.contains("constraint") {
        "23000"
    } else {
        "HY000"
    };
    DbError { sqlstate: sqlstate.into(), message, retryable: false, row }
}

impl Database for Db {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn describe(&mut self, table: &str) -> Result<Option<Vec<Column>>, DbError> {
        let mut statement = self.connection.prepare("select name, type from pragma_table_info(?1)").unwrap();
        let column = |row: &rusqlite::Row<'_>| {
            Ok(Column { name: row.get(0)?, sql_type: row.get(1)?, nullable: true, primary_key: false })
        };
        let columns: Vec<Column> =
            statement.query_map([table], column).unwrap().map(Result::unwrap).collect();
        Ok((!columns.is_empty()).then_some(columns))
    }

    fn query(&mut self, _: &str, _: &[Value]) -> Result<Vec<Vec<Value>>, DbError> {
        unreachable!("a sink asks nothing")
    }

    fn execute(&mut self, statement: &str, rows: &[Vec<Value>]) -> Result<u64, DbError> {
        if let Some(error) = &self.fails {
            return Err(error.clone());
        }
        self.executed.push(statement.to_owned());
        self.connection.execute_batch("savepoint s").unwrap();
        for (at, row) in rows.iter().enumerate() {
            if let Err(error) = self.connection.execute(statement, params_from_iter(row.iter().map(sqlite))) {
                self.connection.execute_batch("rollback to s; release s").unwrap();
                return Err(refused(&error, self.names_rows.then_some(at as u32)));
            }
        }
        self.connection.execute_batch("release s").unwrap();
        Ok(rows.len() as u64)
    }
}

fn sink(more: serde_json::Value) -> Harness<DbSink> {
    let mut config = json!({"database": "db", "table": "t"});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Harness::new(&config.to_string()).unwrap()
}

fn upsert() -> Harness<DbSink> {
    sink(json!({"mode": "upsert", "key": ["id"]}))
}

fn values(values: &[&str]) -> Vec<Record> {
    values.iter().map(|value| Record::value(*value)).collect()
}

fn reasons(rejected: &Rejections) -> Vec<String> {
    rejected.iter().map(|(position, reason)| format!("{position} {reason}")).collect()
}

#[test]
fn a_table_is_made_from_the_first_batch() {
    let mut db = Db::new();
    let records = values(&[
        r#"{"id": 1, "amount": 2, "name": "Zoë", "ok": true, "tags": ["a"], "none": null}"#,
        r#"{"id": 2, "amount": 2.5, "name": null}"#,
    ]);
    assert!(sink(json!({})).write_to(&mut db, &records).unwrap().is_empty());
    let columns = db.rows("select name, type from pragma_table_info('t')");
    assert_eq!(columns, ["id|INTEGER", "amount|REAL", "name|TEXT", "ok|BOOLEAN", "tags|TEXT"]);
    let rows = db.rows("select id, amount, name, ok, tags from t");
    assert_eq!(rows, ["1|2.0|Zoë|1|[\"a\"]", "2|2.5|-|-|-"]);
}

#[test]
fn rows_of_the_same_fields_are_one_statement() {
    let mut db = Db::new();
    let records: Vec<Record> =
        (0..1000).map(|id| Record::value(format!(r#"{{"id": {id}, "n": "x"}}"#))).collect();
    assert!(sink(json!({})).write_to(&mut db, &records).unwrap().is_empty());
    assert_eq!(db.executed.len(), 2, "{:?}", db.executed);
    assert_eq!(db.rows("select count(*), count(distinct id) from t"), ["1000|1000"]);
}

#[test]
fn the_last_write_of_a_key_wins_and_deletes_are_deletes() {
    let mut db = Db::new();
    let mut sink = upsert();
    let first = [
        Record::value(r#"{"id": 1, "a": "x", "b": 1}"#).key("1"),
        Record::value(r#"{"id": 2, "a": "x", "b": 1}"#).key("2"),
        Record::value(r#"{"id": 1, "a": "y"}"#).key("1"),
        Record::tombstone("2"),
        Record::value(r#"{"id": 3, "a": "x"}"#).key("3"),
        Record::tombstone("3"),
        Record::value(r#"{"id": 3, "b": 7}"#).key("3"),
    ];
    assert!(sink.write_to(&mut db, &first).unwrap().is_empty());
    assert_eq!(db.rows("select id, a, b from t order by id"), ["1|y|1", "3|-|7"]);
    let second = [Record::tombstone("1"), Record::value(r#"{"id": 3, "a": "z"}"#), Record::tombstone("99")];
    assert!(sink.write_to(&mut db, &second).unwrap().is_empty());
    assert_eq!(db.rows("select id, a, b from t order by id"), ["3|z|7"], "what a record does not say stays");
}

#[test]
fn writing_a_batch_twice_changes_nothing() {
    let mut db = Db::new();
    let mut sink = upsert();
    let records = values(&[r#"{"id": 1, "a": 1}"#, r#"{"id": 2, "a": 2}"#, r#"{"id": 1, "a": 3}"#]);
    for _ in 0..2 {
        assert!(sink.write_to(&mut db, &records).unwrap().is_empty());
        assert_eq!(db.rows("select id, a from t order by id"), ["1|3", "2|2"]);
    }
}

#[test]
fn keys_may_come_from_the_record_and_have_several_columns() {
    let mut db = Db::new();
    let mut one = sink(json!({"mode": "upsert", "key": ["id"], "key_from": "record"}));
    let records = [Record::value(r#"{"n": 1}"#).key("abc"), Record::value(r#"{"n": 2}"#)];
    assert_eq!(reasons(&one.write_to(&mut db, &records).unwrap()), ["1 it has no key"]);
    assert_eq!(db.rows("select id, n from t"), ["abc|1"]);

    let mut db = Db::new();
    let mut two = sink(json!({"mode": "upsert", "key": ["a", "b"]}));
    let records = [
        Record::value(r#"{"a": 1, "b": "x", "n": 1}"#),
        Record::value(r#"{"a": 1, "b": "y", "n": 2}"#),
        Record::value(r#"{"a": 1, "b": null, "n": 2}"#),
        Record::tombstone(r#"{"b": "x", "a": 1}"#),
        Record::tombstone(r#"{"b": "x"}"#),
    ];
    let rejected = two.write_to(&mut db, &records).unwrap();
    let mut told = reasons(&rejected);
    told.sort();
    assert_eq!(told, ["2 no value for the key column \"b\"", "4 its key has no field \"a\""]);
    assert_eq!(db.rows("select a, b, n from t"), ["1|y|2"]);
}

#[test]
fn updates_leave_alone_what_is_not_there() {
    let mut db = Db::with("create table t (id integer primary key, a text); insert into t values (1, 'x')");
    let mut sink = sink(json!({"mode": "update", "key": ["id"]}));
    assert!(
        sink.write_to(&mut db, &values(&[r#"{"a": "y", "id": 1}"#, r#"{"id": 2, "a": "z"}"#]))
            .unwrap()
            .is_empty()
    );
    assert_eq!(db.rows("select id, a from t"), ["1|y"]);
}

#[test]
fn an_update_of_nothing_but_the_key_is_done() {
    let mut db = Db::with("create table t (id integer primary key, a text); insert into t values (1, 'x')");
    let mut sink = sink(json!({"mode": "update", "key": ["id"]}));
    let records = values(&[r#"{"id": 2}"#, r#"{"id": 3, "none": null}"#, r#"{"id": 1, "a": "y"}"#, r#"{}"#]);
    let rejected = sink.write_to(&mut db, &records).unwrap();
    assert_eq!(reasons(&rejected), ["3 it has no fields"]);
    assert_eq!(db.executed, [r#"UPDATE "t" SET "a" = ?1 WHERE "id" = ?2"#]);
    assert_eq!(db.rows("select id, a from t"), ["1|y"]);
}

#[test]
fn new_fields_become_columns_unless_forbidden() {
    let mut db = Db::with("create table t (id integer)");
    let mut open = sink(json!({}));
    assert!(open.write_to(&mut db, &values(&[r#"{"id": 1, "extra": 1.5}"#])).unwrap().is_empty());
    assert!(open.write_to(&mut db, &values(&[r#"{"ID": 2, "Extra": 2}"#])).unwrap().is_empty());
    assert_eq!(db.rows("select id, extra from t"), ["1|1.5", "2|2.0"]);
    let mut closed = sink(json!({"evolution": "none"}));
    let rejected = closed
        .write_to(
            &mut db,
            &values(&[r#"{"id": 3}"#, r#"{"id": 4, "more": 1}"#, r#"{"id": 5, "more": null}"#]),
        )
        .unwrap();
    assert_eq!(reasons(&rejected), ["1 the table t has no column \"more\""]);
    assert_eq!(db.rows("select id from t"), ["1", "2", "3", "5"]);
}

#[test]
fn a_value_of_another_type_is_a_dead_letter_and_the_column_stays_as_it_is() {
    let table = "create table t (amount numeric(12,2), ok boolean)";
    let records =
        values(&[r#"{"amount": "n/a", "ok": true}"#, r#"{"amount": 2.5, "ok": 1}"#, r#"{"amount": "1.5"}"#]);
    for mut db in [Db::postgres(table), Db::with(table)] {
        let rejected = sink(json!({})).write_to(&mut db, &records).unwrap();
        assert_eq!(reasons(&rejected), ["0 amount: \"n/a\" is not a number", "1 ok: 1 is not a boolean"]);
        assert_eq!(db.rows("select * from t"), ["1.5|-"]);
        assert!(db.executed.iter().all(|statement| statement.starts_with("INSERT")), "{:?}", db.executed);
    }
    let mut db = Db::with(table);
    let mut sink = sink(json!({"evolution": "widen-to-text"}));
    assert!(sink.write_to(&mut db, &records[1..]).unwrap().is_empty());
    assert_eq!(db.rows("select * from t"), ["2.5|1", "1.5|-"]);
}

#[test]
fn no_number_is_rounded() {
    const LONG: &str = "12345678901234567.89";
    let record = [Record::value(format!(r#"{{"n": {LONG}}}"#))];
    let mut db = Db::new();
    let mut fresh = sink(json!({}));
    assert!(fresh.write_to(&mut db, &record).unwrap().is_empty());
    assert!(fresh.write_to(&mut db, &values(&[r#"{"n": 1.50}"#])).unwrap().is_empty());
    assert_eq!(db.rows("select n, typeof(n) from t"), [format!("{LONG}|text"), "1.50|text".to_owned()]);
    for holds_texts in ["text", "varchar(30)", ""] {
        let mut db = Db::with(&format!("create table t (n {holds_texts})"));
        assert!(sink(json!({})).write_to(&mut db, &record).unwrap().is_empty());
        assert_eq!(db.rows("select n from t"), [LONG]);
    }
    for rounds in ["integer", "real", "numeric", "decimal(30,2)", "boolean", "json", "money"] {
        let mut db = Db::with(&format!("create table t (n {rounds})"));
        let rejected = sink(json!({"evolution": "widen-to-text"})).write_to(&mut db, &record).unwrap();
        assert_eq!(rejected.len(), 1, "{rounds}");
        assert!(reasons(&rejected)[0].contains(LONG), "{rejected:?}");
    }
    let mut db = Db::with("create table t (n real, i integer, d numeric)");
    let records = values(&[
        r#"{"n": 9007199254740993}"#,
        r#"{"n": 0.1, "i": 9007199254740993, "d": 0.30000000000000004}"#,
        r#"{"n": 2, "i": 0.5, "d": 9007199254740993}"#,
    ]);
    let rejected = sink(json!({})).write_to(&mut db, &records).unwrap();
    assert_eq!(reasons(&rejected), ["0 n: 9007199254740993 is not a number that a double keeps"]);
    assert_eq!(
        db.rows("select * from t"),
        ["0.1|9007199254740993|0.30000000000000004", "2.0|0.5|9007199254740993"]
    );
}

#[test]
fn records_that_are_no_rows_are_rejected_and_the_rest_is_written() {
    let mut db = Db::new();
    let records = values(&["nope", "[1]", "{}", r#"{"id": 1}"#, r#"{"": 1}"#, r#"{"a": 1, "A": 2}"#]);
    let rejected = sink(json!({})).write_to(&mut db, &records).unwrap();
    let mut positions: Vec<u32> = rejected.iter().map(|(position, _)| position).collect();
    positions.sort();
    assert_eq!(positions, [0, 1, 2, 4, 5]);
    assert_eq!(db.rows("select id from t"), ["1"]);
}

#[test]
fn a_record_of_too_many_fields_takes_no_room_from_the_others() {
    let mut db = Db::new();
    let fields: Vec<String> = (0..1001).map(|field| format!(r#""f{field}": 1"#)).collect();
    let records = values(&[r#"{"id": 1}"#, &format!("{{{}}}", fields.join(",")), r#"{"id": 2, "a": 1}"#]);
    let rejected = sink(json!({})).write_to(&mut db, &records).unwrap();
    assert_eq!(reasons(&rejected), [r#"1 "f999" would be one of more than 1000 fields"#]);
    assert_eq!(db.rows("select * from t"), ["1|-", "2|1"]);
}

#[test]
fn the_last_of_two_fields_of_one_name_counts_whatever_came_before() {
    let twice = [r#"{"b": 1, "b": 2}"#, r#"{"a": 3, "b": 1, "b": 2}"#, r#"{"b": 1, "a": 3, "b": 2}"#];
    for before in [r#"{"a": 1, "b": 1}"#, r#"{"b": 1, "a": 1}"#, r#"{"b": 1, "c": 1}"#] {
        for twice in twice {
            let mut db = Db::new();
            let rejected = sink(json!({})).write_to(&mut db, &values(&[before, twice])).unwrap();
            assert!(rejected.is_empty(), "{before} {twice} {rejected:?}");
            assert_eq!(db.rows("select b from t"), ["1", "2"], "{before} {twice}");
        }
    }
}

#[test]
fn rows_that_the_database_refuses_are_found_whether_it_names_them_or_not() {
    for names_rows in [true, false] {
        let mut db = Db::with("create table t (id integer primary key, n integer check (n < 100))");
        db.names_rows = names_rows;
        let records: Vec<Record> = (0..50)
            .map(|id| {
                Record::value(format!(r#"{{"id": {}, "n": {}}}"#, if id == 30 { 7 } else { id }, id * 3))
            })
            .collect();
        let rejected = sink(json!({})).write_to(&mut db, &records).unwrap();
        let positions: Vec<u32> = rejected.iter().map(|(position, _)| position).collect();
        assert_eq!(positions, [30].into_iter().chain(34..50).collect::<Vec<u32>>());
        assert!(reasons(&rejected)[0].contains("UNIQUE"));
        assert_eq!(db.rows("select count(*) from t"), ["33"]);
    }
}

#[test]
fn one_bad_write_of_a_key_does_not_take_the_good_ones_with_it() {
    let mut db = Db::with("create table t (id integer primary key, n integer check (n < 100))");
    let records = values(&[r#"{"id": 1, "n": 1}"#, r#"{"id": 1, "n": 200}"#, r#"{"id": 2, "n": 2}"#]);
    let rejected = upsert().write_to(&mut db, &records).unwrap();
    assert_eq!(rejected.iter().map(|(position, _)| position).collect::<Vec<_>>(), [1]);
    assert_eq!(db.rows("select id, n from t order by id"), ["1|1", "2|2"]);
}

#[test]
fn an_outage_and_a_missing_table_are_no_record_s_fault() {
    let mut db = Db::new();
    db.fail("08006", "gone", true);
    let mut open = sink(json!({}));
    let records = values(&[r#"{"id": 1}"#]);
    assert!(matches!(open.write_to(&mut db, &records), Err(Error::Retry { .. })));
    db.fails = None;
    assert!(open.write_to(&mut db, &records).unwrap().is_empty(), "the table is made");
    assert!(open.write_to(&mut db, &records).unwrap().is_empty(), "the table is known");
    db.connection.execute_batch("drop table t").unwrap();
    let error = open.write_to(&mut db, &records).unwrap_err();
    assert!(matches!(&error, Error::Retry { reason, .. } if reason.contains("no such table")), "{error}");
    assert!(open.write_to(&mut db, &records).unwrap().is_empty(), "it is looked up, and made again");
    assert_eq!(db.rows("select id from t"), ["1"]);
    let mut closed = sink(json!({"create": false, "table": "other"}));
    let error = closed.write_to(&mut db, &records).unwrap_err();
    assert!(
        matches!(&error, Error::Retry { reason, .. } if reason.contains("no table \"other\"")),
        "{error}"
    );
}

#[test]
fn only_what_is_in_a_row_is_blamed_on_it() {
    for (sqlstate, is_of_the_row) in [
        ("22003", true),
        ("23505", true),
        // A check option, and what a trigger raises.
        ("44000", true),
        ("P0001", true),
        // Text for SQLite's rowid, and a value that is too large for an index.
        ("42804", true),
        ("54000", true),
        // As SQLite has it for a database file that is damaged.
        ("HY000", false),
        ("XX001", false),
        ("07001", false),
        ("42501", false),
        ("42P10", false),
        ("42601", false),
        ("0A000", false),
    ] {
        let mut db = Db::with("create table t (id integer)");
        db.fail(sqlstate, "it says no", false);
        let written = sink(json!({})).write_to(&mut db, &values(&[r#"{"id": 1}"#, r#"{"id": 2}"#]));
        match written {
            Ok(rejected) => assert!(is_of_the_row && rejected.len() == 2, "{sqlstate} {rejected:?}"),
            Err(error) => assert!(
                !is_of_the_row && matches!(&error, Error::Retry { reason, .. } if reason.contains(sqlstate)),
                "{sqlstate} {error}"
            ),
        }
    }
}

#[test]
fn a_statement_that_fails_whatever_the_row_is_no_row_s_fault() {
    for sqlstate in ["42804", "54000", "P0001"] {
        let mut db = Db::with("create table t (id integer)");
        db.names_rows = false;
        db.fail(sqlstate, "it says no", false);
        let written = sink(json!({})).write_to(&mut db, &values(&[r#"{"id": 1}"#]));
        assert!(matches!(written, Err(Error::Retry { .. })), "{sqlstate} {written:?}");
    }
}

#[test]
fn a_trigger_that_says_no_to_everything_is_no_record_s_fault() {
    let mut db = Db::with("create table t (id integer)");
    db.fail("P0001", "closed for today", false);
    let records: Vec<Record> = (0..8).map(|id| Record::value(format!(r#"{{"id": {id}}}"#))).collect();
    let written = sink(json!({})).write_to(&mut db, &records);
    assert!(matches!(written, Err(Error::Retry { .. })), "{written:?}");
    assert_eq!(sink(json!({})).write_to(&mut db, &records[1..]).unwrap().len(), 7);
}

#[test]
fn a_type_that_is_no_sql_is_a_mistake_in_the_file() {
    let mut broken = sink(json!({"types": {"id": "numeric 12"}}));
    let error = broken.write_to(&mut Db::new(), &values(&[r#"{"id": 1}"#])).unwrap_err();
    assert!(matches!(&error, Error::Fatal(reason) if reason.contains("numeric 12")), "{error}");
}

#[test]
fn what_was_rolled_back_is_looked_up_again() {
    let mut db = Db::new();
    let mut sink = sink(json!({}));
    db.connection.execute_batch("begin").unwrap();
    assert!(sink.write_to(&mut db, &values(&[r#"{"id": 1}"#])).unwrap().is_empty());
    db.connection.execute_batch("rollback").unwrap();
    assert!(sink.write_to(&mut db, &values(&[r#"{"id": 1}"#])).unwrap().is_empty());
    assert_eq!(db.rows("select id from t"), ["1"]);
}

#[test]
fn tombstones_without_a_key_column_are_ignored_or_rejected() {
    let mut db = Db::new();
    let records = [Record::tombstone("1"), Record::value(r#"{"id": 1}"#)];
    assert!(sink(json!({})).write_to(&mut db, &records).unwrap().is_empty());
    let rejected = sink(json!({"tombstones": "reject"})).write_to(&mut db, &records).unwrap();
    assert_eq!(rejected.len(), 1);
    assert!(upsert().write_to(&mut Db::new(), &[Record::tombstone("1")]).unwrap().is_empty());
}

#[test]
fn a_table_a_topic() {
    let mut db = Db::new();
    let mut sink = sink(json!({"table": "raw_{topic}"}));
    assert!(sink.write_to(&mut db, &values(&[r#"{"id": 1}"#])).unwrap().is_empty());
    assert_eq!(db.rows("select id from raw_in"), ["1"]);
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    for config in [
        json!({"database": "d", "table": "t", "mode": "upsert"}),
        json!({"database": "d", "table": "t", "tombstones": "delete"}),
        json!({"database": "d", "table": "a..b"}),
        json!({"database": "d", "table": "t", "mode": "upsert", "key": ["a", "a"]}),
    ] {
        let made = Harness::<DbSink>::new(&config.to_string());
        assert!(matches!(made, Err(Error::Fatal(_))), "{config}");
    }
}
