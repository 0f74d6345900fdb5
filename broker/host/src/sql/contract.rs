//! What every driver promises, shown of each of them.

use super::*;

const BYTES_MAX: usize = 1 << 20;

/// A statement with `?` where the dialect has its placeholders.
fn ask(connection: &dyn Connection, text: &str) -> String {
    let mut number = 0;
    text.chars().fold(String::new(), |mut out, c| {
        if c == '?' {
            number += 1;
            let sign = if connection.dialect() == Dialect::Postgres { '$' } else { '?' };
            out.push_str(&format!("{sign}{number}"));
        } else {
            out.push(c);
        }
        out
    })
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

async fn count(connection: &mut dyn Connection) -> i64 {
    let rows = connection.query("select count(*) from t", vec![], BYTES_MAX).await.expect("a count");
    match rows[..] {
        [ref row] => match row[..] {
            [Value::Int64(n)] => n,
            ref other => panic!("{other:?}"),
        },
        ref other => panic!("{other:?}"),
    }
}

pub(super) async fn suite(connection: &mut dyn Connection) {
    let create =
        "create table t (id bigint primary key, name text not null, score double precision)".to_owned();
    connection.execute(&create, vec![vec![]]).await.expect("a table");
    let insert = ask(connection, "insert into t (id, name, score) values (?, ?, ?)");
    let row = |id: i64, name: &str| vec![Value::Int64(id), text(name), Value::Null];

    // Alone, a statement is a transaction: all of its rows or none.
    let done = connection.execute(&insert, vec![row(1, "a"), row(2, "b")]).await;
    assert_eq!(done.expect("two rows"), 2);
    let failed = connection.execute(&insert, vec![row(3, "c"), row(4, "d"), row(1, "e"), row(5, "f")]).await;
    let failed = failed.expect_err("a key twice");
    assert_eq!(
        (failed.sqlstate.as_str(), failed.row, failed.retryable),
        ("23505", Some(2), false),
        "{failed:?}"
    );
    assert_eq!(count(connection).await, 2);

    // In a transaction a statement that fails takes back itself, and nothing else.
    connection.begin().await.expect("it begins");
    assert_eq!(connection.execute(&insert, vec![row(3, "c")]).await.expect("a row"), 1);
    let failed = connection.execute(&insert, vec![row(4, "d"), row(3, "again")]).await.expect_err("twice");
    assert_eq!(failed.row, Some(1));
    let failed = connection
        .execute(&insert, vec![vec![Value::Int64(9), Value::Null, Value::Null]])
        .await
        .expect_err("null");
    assert_eq!(failed.sqlstate, "23502");
    connection.query("select no_such from t", vec![], BYTES_MAX).await.expect_err("no such column");
    assert_eq!(connection.execute(&insert, vec![row(4, "d")]).await.expect("a row"), 1);
    connection.commit().await.expect("it commits");
    assert_eq!(count(connection).await, 4);

    connection.begin().await.expect("it begins");
    connection.execute("delete from t", vec![vec![]]).await.expect("all gone");
    connection.execute("create table u (a text)", vec![vec![]]).await.expect("a table");
    connection.rollback().await.expect("it rolls back");
    assert_eq!(count(connection).await, 4);
    assert_eq!(connection.describe("u").await.expect("an answer"), None);

    // Placeholders and values must agree.
    let failed =
        connection.execute(&insert, vec![row(7, "g"), vec![Value::Int64(8)]]).await.expect_err("too few");
    assert_eq!((failed.sqlstate.as_str(), failed.row), ("07001", Some(1)));
    let failed =
        connection.execute("insert into nowhere values (1)", vec![vec![]]).await.expect_err("no table");
    assert_eq!((failed.sqlstate.as_str(), failed.retryable), ("42P01", false));
    let failed = connection.execute("insert oops", vec![vec![]]).await.expect_err("no SQL");
    assert_eq!(failed.sqlstate, "42601");

    let columns = connection.describe("t").await.expect("an answer").expect("the table");
    let names: Vec<(&str, bool)> = columns.iter().map(|c| (c.name.as_str(), c.primary_key)).collect();
    assert_eq!(names, [("id", true), ("name", false), ("score", false)]);
    assert!(!columns[1].nullable && columns[2].nullable);
    assert_eq!(connection.describe("no \"such\" table").await.expect("an answer"), None);

    // A batch is one statement.
    let rows: Vec<_> = (1000..6000).map(|n| row(n, "bulk")).collect();
    assert_eq!(connection.execute(&insert, rows).await.expect("many rows"), 5000);
    let update = ask(connection, "update t set score = ? where id = ?");
    let rows = (1000..1100).map(|n| vec![Value::Float64(0.5), Value::Int64(n)]).collect();
    assert_eq!(connection.execute(&update, rows).await.expect("many rows"), 100);
    let sum = connection.query("select sum(score) from t", vec![], BYTES_MAX).await.expect("a sum");
    assert_eq!(sum, [[Value::Float64(50.0)]]);
    let one = ask(connection, "select name, score from t where id = ?");
    let found = connection.query(&one, vec![Value::Int64(2)], BYTES_MAX).await.expect("a row");
    assert_eq!(found, [[text("b"), Value::Null]]);

    bounds(connection).await;
    migration(connection).await;
    fencing(connection).await;
}

/// An answer is bounded, and what was cut off leaves nothing behind.
async fn bounds(connection: &mut dyn Connection) {
    let many = "select a.id from t a, t b, t c";
    connection.begin().await.expect("it begins");
    let failed = connection.query(many, vec![], BYTES_MAX).await.expect_err("it is too much");
    assert_eq!((failed.sqlstate.as_str(), failed.retryable), ("54000", false), "{failed:?}");
    let copies = "insert into t (id, name) select id + 100000 * n, name from t, (select 1 as n union all \
                  select 2 union all select 3 union all select 4) as m returning *";
    let failed = connection.query(copies, vec![], BYTES_MAX).await;
    assert_eq!(failed.expect_err("it is too much").sqlstate, "54000");
    let before = count(connection).await;
    connection.commit().await.expect("it commits");
    assert_eq!((before, count(connection).await), (5004, 5004));
}

/// Only the newest instance writes.
async fn fencing(connection: &mut dyn Connection) {
    let claim = |partition| Claim { topic: "in".into(), partition, topic_id: "first".into() };
    let partitions = [claim(0), claim(3)];
    let (old, taken) = Positions::take(connection, "flumen.x", &partitions).await.expect("it takes over");
    assert!(taken.iter().all(|t| t.next.is_none() && t.letters.is_empty()));
    let letter = Letter { offset: 4, reason: "it's bad".into(), attempts: 2 };
    let to = |next| Position {
        topic: "in".into(),
        partition: 3,
        next: flumen_types::Offset(next),
        published: Some(flumen_types::Offset(1)),
        letters: vec![letter.clone()],
    };
    connection.begin().await.expect("it begins");
    old.advance(connection, &to(5)).await.expect("it is the newest");
    connection.commit().await.expect("it commits");

    let (new, taken) = Positions::take(connection, "flumen.x", &partitions).await.expect("it takes over");
    assert_eq!(taken[1].next, Some(flumen_types::Offset(5)));
    assert_eq!(taken[1].letters, std::slice::from_ref(&letter));
    connection.begin().await.expect("it begins");
    let fenced = old.advance(connection, &to(9)).await;
    assert!(matches!(fenced, Err(AdvanceError::Fenced)), "{fenced:?}");
    connection.rollback().await.expect("it rolls back");
    connection.begin().await.expect("it begins");
    new.advance(connection, &to(6)).await.expect("it is the newest");
    connection.commit().await.expect("it commits");

    // A topic made again under that name has nothing to do with the row.
    let again = [Claim { topic_id: "second".into(), ..claim(3) }];
    for _ in 0..2 {
        let (_, taken) = Positions::take(connection, "flumen.x", &again).await.expect("it takes over");
        assert_eq!(taken, [Taken::default()]);
    }
}

/// The table as the version before `topic_id` made it.
async fn migration(connection: &mut dyn Connection) {
    let create = "create table flumen_offsets (consumer text not null, topic text not null, \
                  partition_id integer not null, next_offset bigint not null, published bigint not null, \
                  letters text not null, epoch bigint not null, primary key (consumer, topic, partition_id))";
    connection.execute(create, vec![vec![]]).await.expect("a table");
    let row = "insert into flumen_offsets values ('flumen.old', 'in', 0, 9, 4, '[]', 3)";
    connection.execute(row, vec![vec![]]).await.expect("a row");
    let claim = |id: &str| [Claim { topic: "in".into(), partition: 0, topic_id: id.into() }];
    let mut tied = [false, true].into_iter();
    for (id, next, untied) in
        [("a", Some(9), true), ("a", Some(9), true), ("a", Some(9), false), ("b", None, false)]
    {
        let (positions, taken) =
            Positions::take(connection, "flumen.old", &claim(id)).await.expect("it takes over");
        assert_eq!((taken[0].next.map(|next| next.0), taken[0].untied), (next, untied), "{id}");
        if tied.next() == Some(true) {
            let to = Position {
                topic: "in".into(),
                partition: 0,
                next: flumen_types::Offset(9),
                published: None,
                letters: vec![],
            };
            connection.begin().await.expect("it begins");
            positions.advance(connection, &to).await.expect("it is the newest");
            connection.commit().await.expect("it commits");
        }
    }
}

#[tokio::test]
async fn sqlite_keeps_the_contract() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::parse("sqlite:a/b.db", None, folder.path()).expect("a database");
    let mut connection = connect(&database, BYTES_MAX).await.expect("it opens");
    suite(&mut *connection).await;

    let types = vec![vec![
        Value::Boolean(true),
        Value::Decimal("1.50".into()),
        Value::Bytes(vec![0, 255]),
        Value::TimestampUs(1_000_000),
        Value::DateDays(1),
        Value::Json("{}".into()),
    ]];
    connection.execute("create table v (a, b, c, d, e, f)", vec![vec![]]).await.expect("a table");
    connection.execute("insert into v values (?, ?, ?, ?, ?, ?)", types).await.expect("a row");
    let found = connection.query("select * from v", vec![], BYTES_MAX).await.expect("the row");
    let expected = [
        Value::Int64(1),
        text("1.50"),
        Value::Bytes(vec![0, 255]),
        text("1970-01-01 00:00:01.000000"),
        text("1970-01-02"),
        text("{}"),
    ];
    assert_eq!(found, [expected]);

    // One value alone may be too much; it is not made.
    let failed = connection
        .query("select length(zeroblob(1000000000))", vec![], BYTES_MAX)
        .await
        .expect_err("too large");
    assert_eq!(failed.sqlstate, "54000", "{failed:?}");

    // Another writer's lock is waited for, and in the end it is the world's fault.
    let other = rusqlite::Connection::open(folder.path().join("a/b.db")).expect("it opens");
    other.execute_batch("begin immediate").expect("the lock");
    let busy = connection.begin().await.expect_err("it is locked");
    assert!(busy.retryable && busy.sqlstate == "55P03", "{busy:?}");
}

#[tokio::test]
async fn postgres_keeps_the_contract() {
    let mut server = flumen_harness::postgres::Postgres::start();
    let database = Database::parse(&server.url(), None, std::path::Path::new("")).expect("a database");
    let mut connection = connect(&database, BYTES_MAX).await.expect("it answers");
    suite(&mut *connection).await;

    let create = "create table v (a boolean, b numeric(10,2), c bytea, d timestamptz, e date, f jsonb, g uuid, \
                  h int, i text[], j text, k timestamp)";
    connection.execute(create, vec![vec![]]).await.expect("a table");
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let row = vec![
        Value::Boolean(true),
        Value::Decimal("-1234.50".into()),
        Value::Bytes(vec![0, 255]),
        Value::TimestampUs(1_600_000_000_000_001),
        Value::DateDays(-1),
        Value::Json("{\"x\": [1]}".into()),
        text(uuid),
        text("7"),
        text("{a,b}"),
        Value::Int64(5),
        text("2026-11-21T10:00:00Z"),
    ];
    connection
        .execute("insert into v values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)", vec![row])
        .await
        .expect("a row");
    let found = connection
        .query("select a,b,c,d,e,f,g,h,i::text,j,k from v", vec![], BYTES_MAX)
        .await
        .expect("the row");
    let expected = [
        Value::Boolean(true),
        Value::Decimal("-1234.50".into()),
        Value::Bytes(vec![0, 255]),
        Value::TimestampUs(1_600_000_000_000_001),
        Value::DateDays(-1),
        Value::Json("{\"x\": [1]}".into()),
        Value::Uuid(uuid.into()),
        Value::Int64(7),
        text("{a,b}"),
        text("5"),
        Value::TimestampUs(1_795_255_200_000_000),
    ];
    assert_eq!(found, [expected]);
    let bad =
        connection.execute("insert into v (h) values ($1)", vec![vec![text("7")], vec![text("seven")]]).await;
    let bad = bad.expect_err("no number");
    assert_eq!((bad.sqlstate.as_str(), bad.row, bad.retryable), ("22P02", Some(1), false), "{bad:?}");
    connection.query("select point(1,2)", vec![], BYTES_MAX).await.expect_err("a type that is not read");
    changed_tables(&mut *connection, &server).await;

    server.down();
    let away = connection.begin().await.expect_err("it is down");
    assert!(away.retryable, "{away:?}");
    let Err(refused) = connect(&database, BYTES_MAX).await else { panic!("it is down") };
    assert!(refused.retryable, "{refused:?}");
}

/// A statement goes by the table as it is now, whoever has changed it.
async fn changed_tables(connection: &mut dyn Connection, server: &flumen_harness::postgres::Postgres) {
    connection.execute("create table w (a bigint)", vec![vec![]]).await.expect("a table");
    let insert = "insert into w (a) values ($1)";
    connection.begin().await.expect("it begins");
    connection.execute(insert, vec![vec![Value::Int64(1)]]).await.expect("a row");
    let widen = "  Alter table w alter column a type double precision";
    connection.execute(widen, vec![vec![]]).await.expect("it is widened");
    connection.execute(insert, vec![vec![Value::Float64(1.5)]]).await.expect("it fits now");
    connection.commit().await.expect("it commits");

    server.query("alter table w alter column a type text").expect("it is widened by another");
    connection.begin().await.expect("it begins");
    connection.execute(insert, vec![vec![text("x")]]).await.expect("it fits now");
    connection.commit().await.expect("it commits");
    assert_eq!(server.query("select a from w").expect("the rows"), ["1", "1.5", "x"]);
}
