//! What the sink does to a real SQLite database, and what it says to the other dialects.

use db_sink::DbSink;
use flumen_sdk::Error;
use flumen_sdk::sql::{Column, Database, DbError, Dialect, Value};
use flumen_sdk::testing::{Harness, Record};
use rusqlite::{Connection, types};

struct Sqlite(Connection);

impl Sqlite {
    fn new() -> Sqlite {
        Sqlite(Connection::open_in_memory().expect("a database in memory"))
    }

    fn rows(&self, query: &str) -> Vec<String> {
        let mut statement = self.0.prepare(query).expect(query);
        let width = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| {
            let cells: Vec<String> = (0..width).map(|i| shown(row.get(i).expect("a value"))).collect();
            Ok(cells.join("|"))
        };
        statement.query_map([], row).expect(query).collect::<Result<_, _>>().expect(query)
    }
}

fn shown(value: types::Value) -> String {
    match value {
        types::Value::Null => "NULL".into(),
        types::Value::Integer(n) => n.to_string(),
        types::Value::Real(x) => format!("{x:?}"),
        types::Value::Text(text) => text,
        types::Value::Blob(bytes) => format!("{bytes:?}"),
    }
}

fn owned(value: &Value) -> types::Value {
    match value {
        Value::Null => types::Value::Null,
        Value::Boolean(b) => types::Value::Integer((*b).into()),
        Value::Int64(n) => types::Value::Integer(*n),
        Value::Float64(x) => types::Value::Real(*x),
        Value::Decimal(t) | Value::Text(t) | Value::Json(t) | Value::Uuid(t) => types::Value::Text(t.clone()),
        Value::Bytes(b) => types::Value::Blob(b.clone()),
        Value::TimestampUs(us) => types::Value::Integer(*us),
        Value::DateDays(days) => types::Value::Integer((*days).into()),
    }
}

fn db_error(error: &rusqlite::Error, row: Option<u32>) -> DbError {
    DbError { sqlstate: "HY000".into(), message: error.to_string(), retryable: false, row }
}

impl Database for Sqlite {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn describe(&mut self, table: &str) -> Result<Option<Vec<Column>>, DbError> {
        let mut statement =
            self.0.prepare("select name, type, pk from pragma_table_info(?1)").expect("a pragma");
        let column = |row: &rusqlite::Row<'_>| {
            Ok(Column {
                name: row.get(0)?,
                sql_type: row.get(1)?,
                nullable: true,
                primary_key: row.get::<_, i64>(2)? > 0,
            })
        };
        let columns: Vec<_> = statement.query_map([table], column).expect("rows").flatten().collect();
        Ok((!columns.is_empty()).then_some(columns))
    }

    fn query(&mut self, _: &str, _: &[Value]) -> Result<Vec<Vec<Value>>, DbError> {
        panic!("the sink asks nothing")
    }

    fn execute(&mut self, statement: &str, rows: &[Vec<Value>]) -> Result<u64, DbError> {
        let savepoint = self.0.savepoint().expect("a savepoint");
        let mut affected = 0;
        for (i, row) in rows.iter().enumerate() {
            let run = savepoint.execute(statement, rusqlite::params_from_iter(row.iter().map(owned)));
            affected += run.map_err(|e| db_error(&e, (rows.len() > 1).then_some(i as u32)))?;
        }
        savepoint.commit().expect("it commits");
        Ok(affected as u64)
    }
}

fn sink(config: &str) -> Harness<DbSink> {
    Harness::new(&format!("{{\"database\": \"d\", \"table\": \"t\", {config}}}"))
        .expect("a valid configuration")
}

fn values(json: &[&str]) -> Vec<Record> {
    json.iter().map(|text| Record::value(*text)).collect()
}

#[test]
fn the_table_comes_from_the_fields_and_rows_keep_their_order() {
    let (mut db, mut sink) = (Sqlite::new(), sink("\"mode\": \"insert\""));
    let records = values(&[
        r#"{"id": 2, "name": "Ada \"A\"", "paid": true, "sum": 1.5, "tags": ["x"], "none": null}"#,
        r#"{"id": 1, "name": null, "sum": 2}"#,
    ]);
    assert!(sink.write_to(&mut db, &records).unwrap().is_empty());
    assert_eq!(
        db.rows("select id, name, paid, sum, tags from t order by rowid"),
        [r#"2|Ada "A"|1|1.5|["x"]"#, "1|NULL|NULL|2.0|NULL"]
    );
    let types: Vec<String> =
        db.describe("t").unwrap().unwrap().into_iter().map(|c| c.name + " " + &c.sql_type).collect();
    assert_eq!(types, ["id INTEGER", "name TEXT", "paid BOOLEAN", "sum REAL", "tags TEXT"]);
}

#[test]
fn a_new_field_becomes_a_column_unless_the_table_is_to_stay() {
    let mut db = Sqlite::new();
    sink("\"mode\": \"insert\"").write_to(&mut db, &values(&[r#"{"a": 1}"#])).unwrap();
    sink("\"mode\": \"insert\"").write_to(&mut db, &values(&[r#"{"a": 2, "b": "new"}"#])).unwrap();
    assert_eq!(db.rows("select a, b from t"), ["1|NULL", "2|new"]);
    let mut fixed = sink("\"evolution\": \"none\"");
    let rejected = fixed.write_to(&mut db, &values(&[r#"{"a": 3}"#, r#"{"a": 4, "c": 1}"#])).unwrap();
    let told: Vec<_> = rejected.iter().collect();
    assert!(told.len() == 1 && told[0].0 == 1 && told[0].1.contains("\"c\""), "{told:?}");
    assert_eq!(db.rows("select a from t"), ["1", "2", "3"]);
    let missing = sink("\"evolution\": \"none\"").write_to(&mut Sqlite::new(), &values(&[r#"{"a": 3}"#]));
    assert!(matches!(missing, Err(Error::Fatal(reason)) if reason.contains("evolution")));
}

#[test]
fn upserts_write_the_last_of_each_key_and_tombstones_delete() {
    let config = r#""mode": "upsert", "key": ["id"], "delete_on_tombstone": true"#;
    let (mut db, mut sink) = (Sqlite::new(), sink(config));
    let mut records = values(&[r#"{"id": 1, "v": "a"}"#, r#"{"id": 2, "v": "a"}"#, r#"{"id": 1, "v": "b"}"#]);
    records.push(Record::tombstone("3"));
    sink.write_to(&mut db, &records).unwrap();
    assert_eq!(db.rows("select id, v from t order by id"), ["1|b", "2|a"]);
    let records = [
        Record::tombstone(r#"{"id": 1}"#),
        Record::tombstone("2"),
        Record::value(r#"{"id": 2, "v": "back"}"#),
        Record::value(r#"{"id": 4}"#),
    ];
    sink.write_to(&mut db, &records).unwrap();
    assert_eq!(db.rows("select id, v from t order by id"), ["2|back", "4|NULL"]);
    // A field that is not there is not overwritten.
    sink.write_to(&mut db, &values(&[r#"{"id": 2}"#])).unwrap();
    assert_eq!(db.rows("select v from t where id = 2"), ["back"]);
}

#[test]
fn updates_touch_rows_that_are_there() {
    let mut db = Sqlite::new();
    sink("\"key\": [\"id\"]").write_to(&mut db, &values(&[r#"{"id": 1, "v": 1}"#])).unwrap();
    let mut update = sink(r#""mode": "update", "key": ["id"]"#);
    update.write_to(&mut db, &values(&[r#"{"id": 1, "v": 5}"#, r#"{"id": 2, "v": 5}"#])).unwrap();
    assert_eq!(db.rows("select id, v from t"), ["1|5"]);
}

#[test]
fn rows_that_the_database_refuses_are_rejected_and_the_others_stay() {
    let (mut db, mut sink) = (Sqlite::new(), sink("\"key\": [\"id\"]"));
    let records = values(&[r#"{"id": 1}"#, r#"{"id": 2}"#, r#"{"id": 1}"#, "no JSON", "{}", r#"{"id": 3}"#]);
    let rejected = sink.write_to(&mut db, &records).unwrap();
    let mut positions: Vec<u32> = rejected.iter().map(|(position, _)| position).collect();
    positions.sort_unstable();
    assert_eq!(positions, [2, 3, 4]);
    assert_eq!(db.rows("select id from t"), ["1", "2", "3"]);
}

#[test]
fn hostile_names_are_quoted() {
    let (mut db, mut sink) = (Sqlite::new(), sink("\"mode\": \"insert\""));
    sink.write_to(&mut db, &values(&[r#"{"a\"; drop table t; --": 1}"#])).unwrap();
    assert_eq!(db.rows("select count(*) from t"), ["1"]);
}

#[test]
fn a_mode_without_its_key_is_told_at_once() {
    for config in [r#""mode": "upsert""#, r#""delete_on_tombstone": true"#] {
        let refused = Harness::<DbSink>::new(&format!("{{\"database\": \"d\", \"table\": \"t\", {config}}}"));
        assert!(matches!(refused.err(), Some(Error::Fatal(reason)) if reason.contains("key")), "{config}");
    }
}

/// Says yes to everything and remembers it.
struct Scribe {
    dialect: Dialect,
    columns: Option<Vec<Column>>,
    said: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Database for Scribe {
    fn dialect(&self) -> Dialect {
        self.dialect
    }

    fn describe(&mut self, _: &str) -> Result<Option<Vec<Column>>, DbError> {
        Ok(self.columns.clone())
    }

    fn query(&mut self, _: &str, _: &[Value]) -> Result<Vec<Vec<Value>>, DbError> {
        panic!("the sink asks nothing")
    }

    fn execute(&mut self, statement: &str, rows: &[Vec<Value>]) -> Result<u64, DbError> {
        self.said.push(statement.to_owned());
        self.rows.extend(rows.iter().filter(|row| !row.is_empty()).cloned());
        Ok(rows.len() as u64)
    }
}

fn column(name: &str, sql_type: &str) -> Column {
    Column { name: name.into(), sql_type: sql_type.into(), nullable: true, primary_key: false }
}

#[test]
fn postgres_is_spoken_to_in_its_own_words() {
    let mut db = Scribe { dialect: Dialect::Postgres, columns: None, said: vec![], rows: vec![] };
    let mut sink = sink(r#""mode": "upsert", "key": ["id"], "types": {"sum": "decimal"}"#);
    sink.write_to(&mut db, &values(&[r#"{"id": 1, "sum": "1.10", "doc": {"a": 1}}"#])).unwrap();
    assert_eq!(
        db.said,
        [
            r#"CREATE TABLE "t" ("id" bigint, "sum" numeric, "doc" jsonb, PRIMARY KEY ("id"))"#,
            r#"INSERT INTO "t" ("doc", "sum", "id") VALUES ($1, $2, $3) ON CONFLICT ("id") DO UPDATE SET "doc" = excluded."doc", "sum" = excluded."sum""#,
        ]
    );
    let expected = [Value::Json(r#"{"a": 1}"#.into()), Value::Decimal("1.10".into()), Value::Int64(1)];
    assert_eq!(format!("{:?}", db.rows[0]), format!("{expected:?}"));
}

#[test]
fn values_are_made_to_fit_the_columns_that_are_there() {
    let columns = vec![
        column("n", "integer"),
        column("at", "timestamp with time zone"),
        column("day", "date"),
        column("id", "uuid"),
        column("note", "text"),
    ];
    let mut db =
        Scribe { dialect: Dialect::Postgres, columns: Some(columns.clone()), said: vec![], rows: vec![] };
    let record = r#"{"n": "7", "at": "1970-01-01T00:00:01Z", "day": "1970-01-03", "id": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "note": 5}"#;
    let rejected =
        sink("\"mode\": \"insert\"").write_to(&mut db, &values(&[record, r#"{"n": "seven"}"#])).unwrap();
    assert_eq!(rejected.iter().map(|(p, _)| p).collect::<Vec<_>>(), [1]);
    let expected = [
        Value::Int64(7),
        Value::TimestampUs(1_000_000),
        Value::DateDays(2),
        Value::Uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11".into()),
        Value::Text("5".into()),
    ];
    assert_eq!(format!("{:?}", db.rows[0]), format!("{expected:?}"));

    // And with leave to widen, the column is made to fit the value.
    let mut db = Scribe { dialect: Dialect::Postgres, columns: Some(columns), said: vec![], rows: vec![] };
    sink("\"evolution\": \"widen\"").write_to(&mut db, &values(&[r#"{"n": 1.5}"#])).unwrap();
    assert_eq!(
        db.said[0],
        r#"ALTER TABLE "t" ALTER COLUMN "n" TYPE double precision USING "n"::double precision"#
    );
}
