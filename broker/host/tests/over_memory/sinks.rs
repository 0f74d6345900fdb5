//! Sinks: rows and offsets in one transaction of a database; requests and idempotency keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flumen_host::{Database, Databases, Done, Kind, PluginSpec, State};
use serde_json::json;

use flumen_harness::http::{Answer, Service};

use crate::memory::{Fault, Memory, guest, host_with, status};

const DRAIN: Duration = Duration::from_secs(10);

fn sink() -> PluginSpec {
    let mut spec = PluginSpec::new("store", Kind::Sink, guest("db-sink"));
    spec.config = json!({ "database": "warehouse", "table": "numbers" });
    spec.inputs = vec!["in".into()];
    spec.grants.databases = vec!["warehouse".into()];
    spec
}

fn databases(folder: &Path) -> Databases {
    let database = Database::parse("sqlite:out/warehouse.db", None, folder).expect("a database");
    Databases([("warehouse".to_owned(), Arc::new(database))].into())
}

fn numbers(folder: &Path, query: &str) -> Vec<i64> {
    let Ok(connection) = rusqlite::Connection::open(folder.join("out/warehouse.db")) else { return vec![] };
    connection.busy_timeout(Duration::from_secs(10)).expect("patience");
    let Ok(mut statement) = connection.prepare(query) else { return vec![] };
    let rows = statement.query_map([], |row| row.get(0)).expect("rows");
    rows.collect::<Result<_, _>>().expect("numbers")
}

fn values(range: std::ops::Range<u32>) -> impl Iterator<Item = String> {
    range.map(|n| format!("{{\"n\":{n},\"text\":\"t{n}\"}}"))
}

async fn until_rows(memory: &Memory, folder: &Path, count: i64) {
    memory
        .until("the rows", || match numbers(folder, "select count(*) from numbers")[..] {
            [n] if n >= count => Ok(()),
            _ => Err(numbers(folder, "select count(*) from numbers")),
        })
        .await;
}

#[tokio::test]
async fn rows_arrive_once_through_lost_commits_restarts_and_swaps() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = Memory::default();
    memory.model().faults.extend([Fault::None, Fault::LoseCommit, Fault::LoseAnswer, Fault::LoseCommit]);
    let mut host = host_with(&memory, databases(folder.path()));
    host.start(sink()).await.expect("it starts");
    for round in 0..8 {
        memory.values("in", 0, values(100 * round..100 * round + 100));
        until_rows(&memory, folder.path(), 100 * i64::from(round) + 100).await;
        match round {
            3 => host.replace(sink()).await.expect("it is swapped"),
            5 => {
                host.stop_all(DRAIN).await;
                host = host_with(&memory, databases(folder.path()));
                host.start(sink()).await.expect("it starts again");
            }
            _ => {}
        }
    }
    assert_eq!(host.done("store").await, Some(Done::Finished));
    assert_eq!(numbers(folder.path(), "select n from numbers order by rowid"), (0..800).collect::<Vec<_>>());
    assert_eq!(numbers(folder.path(), "select next_offset from flumen_offsets"), [800]);
    assert_eq!(memory.group("flumen.store", "in", 0), Some(800));
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn bad_records_are_parked_exactly_once_though_the_broker_loses_the_commit() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = Memory::default();
    // Row and letter are in the database; then the broker's part is lost, in both ways, twice.
    memory.model().faults.extend([Fault::LoseCommit, Fault::LoseCommit, Fault::LoseAnswer]);
    memory.produce(
        "in",
        0,
        &[(None, Some("{\"n\":1}")), (Some("k"), Some("no json")), (None, Some("{\"n\":2}"))],
    );
    let host = host_with(&memory, databases(folder.path()));
    host.start(sink()).await.expect("it starts");
    memory.until_count("store-dlq", 1).await;
    assert_eq!(host.done("store").await, Some(Done::Finished));
    let parked = memory.seen("store-dlq");
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].key.as_deref(), parked[0].value.as_deref()), (Some("k"), Some("no json")));
    assert_eq!(parked[0].headers["flumen.error.offset"], "1");
    assert_eq!(numbers(folder.path(), "select n from numbers order by n"), [1, 2]);
    assert!(memory.model().faults.is_empty());
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_transaction_that_the_database_takes_back_by_itself_loses_and_repeats_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("out")).expect("its folder");
    let database = rusqlite::Connection::open(folder.path().join("out/warehouse.db")).expect("a database");
    database
        .execute_batch(
            "pragma journal_mode = wal; create table numbers (n integer, text text);
             create trigger no before insert on numbers when new.n = 13 begin select raise(rollback, 'no'); end",
        )
        .expect("a table");
    let memory = Memory::default();
    memory.values("in", 0, values(0..20));
    let host = host_with(&memory, databases(folder.path()));
    host.start(sink()).await.expect("it starts");
    memory
        .until("the reason", || match status(&host, "store").reason {
            Some(reason) if reason.contains("rolled the whole transaction back") => Ok(()),
            other => Err(other),
        })
        .await;
    assert_eq!(numbers(folder.path(), "select count(*) from numbers"), [0]);
    database.execute_batch("drop trigger no").expect("it is mended");
    until_rows(&memory, folder.path(), 20).await;
    assert_eq!(host.done("store").await, Some(Done::Finished));
    assert_eq!(numbers(folder.path(), "select n from numbers order by rowid"), (0..20).collect::<Vec<_>>());
    assert_eq!(status(&host, "store").rejected, 0);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn what_the_database_refuses_is_found_whoever_notices() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("out")).expect("its folder");
    let database = rusqlite::Connection::open(folder.path().join("out/warehouse.db")).expect("a database");
    // `late` notices when the transaction commits, `once` with the row.
    let known = (0..200).filter(|n| n % 50 != 7).map(|n| format!("({n})")).collect::<Vec<_>>().join(", ");
    let tables = format!(
        "pragma journal_mode = wal; create table known (n integer primary key); insert into known values {known};
         create table late (n integer references known (n) deferrable initially deferred);
         create table once (n integer primary key check (n % 50 <> 7));
         create table each (n integer primary key check (n % 50 <> 7))"
    );
    database.execute_batch(&tables).expect("tables");
    let memory = Memory::default();
    memory.values("in", 0, (0..200).map(|n| n.to_string()));
    let host = host_with(&memory, databases(folder.path()));
    for table in ["late", "once", "each"] {
        let mut spec = PluginSpec { wasm: guest("trusting-sink"), ..sink() };
        spec.name = table.to_owned();
        let statement = format!("insert into \"{table}\" values (?)");
        spec.config = json!({ "database": "warehouse", "statement": statement, "each": table == "each" });
        spec.errors.topic = format!("{table}-dlq");
        host.start(spec).await.expect("it starts");
        assert_eq!(host.done(table).await, Some(Done::Finished), "{table}");
        assert_eq!(memory.seen_values(&format!("{table}-dlq")), ["7", "57", "107", "157"], "{table}");
        let stored = numbers(folder.path(), &format!("select n from \"{table}\" order by n"));
        assert_eq!(stored, (0..200).filter(|n| n % 50 != 7).collect::<Vec<_>>(), "{table}");
        let status = status(&host, table);
        assert_eq!((status.state, status.rejected, status.restarts), (State::Running, 4, 0), "{table}");
    }
    host.stop_all(DRAIN).await;

    // A statement that no table takes is no record's fault.
    let mut spec = PluginSpec { wasm: guest("trusting-sink"), ..sink() };
    spec.config = json!({ "database": "warehouse", "statement": "insert into nowhere values (?)" });
    host.start(spec).await.expect("it starts");
    assert!(matches!(host.done("store").await, Some(Done::Stopped(_))));
    assert_eq!(memory.seen("store-dlq"), []);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_reset_of_the_group_replays_and_a_new_database_is_filled_from_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = Memory::default();
    memory.values("in", 0, values(0..10));
    let host = host_with(&memory, databases(folder.path()));
    host.start(sink()).await.expect("it starts");
    until_rows(&memory, folder.path(), 10).await;
    host.done("store").await;
    host.stop_all(DRAIN).await;

    memory.set_group("flumen.store", "in", 0, 7);
    host.start(sink()).await.expect("it starts");
    until_rows(&memory, folder.path(), 13).await;
    assert_eq!(numbers(folder.path(), "select n from numbers where n >= 7 order by n"), [7, 7, 8, 8, 9, 9]);
    host.stop_all(DRAIN).await;

    for file in ["warehouse.db", "warehouse.db-wal", "warehouse.db-shm"] {
        std::fs::remove_file(folder.path().join("out").join(file)).ok();
    }
    host.start(sink()).await.expect("it starts");
    until_rows(&memory, folder.path(), 10).await;
    assert_eq!(numbers(folder.path(), "select count(*) from numbers"), [10]);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_reset_counts_wherever_it_lies_and_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = Memory::default();
    let host = host_with(&memory, databases(folder.path()));
    // Two steps, so that the row's `published` lies before its `next_offset`.
    for step in 0..2 {
        memory.values("in", 0, values(5 * step..5 * step + 5));
        host.start(sink()).await.expect("it starts");
        until_rows(&memory, folder.path(), 5 * i64::from(step) + 5).await;
        assert_eq!(host.done("store").await, Some(Done::Finished));
        host.stop_all(DRAIN).await;
    }
    assert_eq!(numbers(folder.path(), "select published from flumen_offsets"), [5]);

    memory.set_group("flumen.store", "in", 0, 5);
    // Where the row has been moved, and the group's offset has not become a pump's.
    memory.model().faults.push_back(Fault::LoseCommit);
    host.start(sink()).await.expect("it starts");
    until_rows(&memory, folder.path(), 15).await;
    assert_eq!(host.done("store").await, Some(Done::Finished));
    host.stop_all(DRAIN).await;

    // Forwards as well.
    memory.values("in", 0, values(10..20));
    memory.set_group("flumen.store", "in", 0, 18);
    host.start(sink()).await.expect("it starts");
    assert_eq!(host.done("store").await, Some(Done::Finished));
    let expected = (0..10).chain(5..10).chain(18..20).collect::<Vec<_>>();
    assert_eq!(numbers(folder.path(), "select n from numbers order by rowid"), expected);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_topic_that_was_made_again_is_read_from_its_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = Memory::default();
    memory.values("in", 0, values(0..10));
    let host = host_with(&memory, databases(folder.path()));
    host.start(sink()).await.expect("it starts");
    until_rows(&memory, folder.path(), 10).await;

    // Under the plugin.
    memory.delete("in");
    memory.values("in", 0, values(100..130));
    until_rows(&memory, folder.path(), 40).await;
    host.stop_all(DRAIN).await;

    memory.delete("in");
    memory.values("in", 0, values(200..240));
    host.start(sink()).await.expect("it starts");
    until_rows(&memory, folder.path(), 80).await;
    assert_eq!(host.done("store").await, Some(Done::Finished));
    let expected = (0..10).chain(100..130).chain(200..240).collect::<Vec<_>>();
    assert_eq!(numbers(folder.path(), "select n from numbers order by rowid"), expected);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_database_that_is_away_is_waited_for_and_nothing_is_parked() {
    let folder = tempfile::tempdir().expect("a folder");
    // A file where the database's folder should be.
    std::fs::write(folder.path().join("out"), "in the way").expect("a file");
    let memory = Memory::default();
    memory.values("in", 0, values(0..10));
    let host = host_with(&memory, databases(folder.path()));
    host.start(sink()).await.expect("it starts");
    memory
        .until("the reason", || match status(&host, "store") {
            // How far it is behind shows all the same.
            s if s.state == State::Retrying && s.reason.is_some() && s.lag == Some(10) => Ok(()),
            s => Err(Box::new(s)),
        })
        .await;
    memory.values("in", 0, values(10..15));
    assert_eq!(status(&host, "store").lag, Some(15));
    std::fs::remove_file(folder.path().join("out")).expect("out of the way");
    until_rows(&memory, folder.path(), 15).await;
    memory
        .until("it to run", || match status(&host, "store") {
            s if s.state == State::Running && s.reason.is_none() && s.rejected == 0 => Ok(()),
            s => Err(Box::new(s)),
        })
        .await;
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_quarantined_key_leaves_no_later_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = Memory::default();
    let records =
        [("a", "{\"n\":1}"), ("a", "no"), ("b", "{\"n\":2}"), ("a", "{\"n\":3}"), ("b", "{\"n\":4}")];
    memory.produce("in", 0, &records.map(|(k, v)| (Some(k), Some(v))));
    let host = host_with(&memory, databases(folder.path()));
    let mut spec = sink();
    spec.errors.policy = flumen_host::Policy::Quarantine;
    host.start(spec).await.expect("it starts");
    memory.until_count("store-dlq", 2).await;
    until_rows(&memory, folder.path(), 3).await;
    assert_eq!(host.done("store").await, Some(Done::Finished));
    assert_eq!(numbers(folder.path(), "select n from numbers order by n"), [1, 2, 4]);
    assert_eq!(memory.seen_values("store-dlq"), ["no", "{\"n\":3}"]);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn two_tasks_write_to_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let memory = Memory::with_topics(&[("in", 4)]);
    for partition in 0..4 {
        memory.values("in", partition, values(1000 * partition..1000 * partition + 500));
    }
    let host = host_with(&memory, databases(folder.path()));
    host.start(PluginSpec { tasks: 2, ..sink() }).await.expect("it starts");
    until_rows(&memory, folder.path(), 2000).await;
    assert_eq!(numbers(folder.path(), "select count(distinct n) from numbers"), [2000]);
    host.stop_all(DRAIN).await;
}

/// It has a runtime of its own, and starts it while blocking.
async fn service() -> Service {
    tokio::task::spawn_blocking(Service::start).await.expect("a service")
}

fn post(service: &Service) -> PluginSpec {
    let mut spec = PluginSpec::new("post", Kind::Sink, guest("http-sink"));
    spec.config = json!({ "url": service.url("/take"), "format": "ndjson", "batch": { "records": 100 } });
    spec.inputs = vec!["in".into()];
    spec.grants.http = vec![format!("http://{}", service.address())];
    spec
}

fn posted(service: &Service) -> Vec<i64> {
    service.accepted().iter().filter_map(|record| record["n"].as_i64()).collect()
}

#[tokio::test]
async fn requests_arrive_in_order_and_a_busy_service_is_asked_again() {
    let service = service().await;
    let busy = |status| Answer { status, headers: vec![("retry-after".into(), "0".into())] };
    service.plan([busy(503), busy(429), busy(500)]);
    let memory = Memory::default();
    memory.values("in", 0, values(0..1000));
    let host = host_with(&memory, Databases::default());
    host.start(post(&service)).await.expect("it starts");
    assert_eq!(host.done("post").await, Some(Done::Finished));
    assert_eq!(posted(&service), (0..1000).collect::<Vec<_>>());
    // Calls with 256, 512 and 232 records: nobody knows yet how quick it is.
    assert_eq!(service.received().len(), 3 + 3 + 6 + 3);
    assert_eq!(memory.group("flumen.post", "in", 0), Some(1000));

    // What was learnt is not forgotten over a swap.
    host.replace(post(&service)).await.expect("it is swapped");
    memory.values("in", 0, values(1000..2000));
    assert_eq!(host.done("post").await, Some(Done::Finished));
    assert_eq!(service.received().len(), 15 + 10);

    // What it says no to for good is parked.
    service.plan([Answer { status: 422, headers: vec![] }]);
    memory.values("in", 0, values(2000..2001));
    memory.until_count("post-dlq", 1).await;
    assert!(memory.seen("post-dlq")[0].headers["flumen.error.reason"].contains("422"));
    assert_eq!(status(&host, "post").rejected, 1);
    host.stop_all(DRAIN).await;
}

#[tokio::test]
async fn a_service_that_is_not_there_and_one_that_was_not_granted_are_no_records_fault() {
    let (service, other) = (service().await, service().await);
    let memory = Memory::default();
    memory.values("in", 0, values(0..10));
    let host = host_with(&memory, Databases::default());
    let mut spec = post(&service);
    spec.grants.http = vec![format!("http://{}", other.address())];
    host.start(spec).await.expect("it starts");
    memory
        .until("the reason", || match status(&host, "post") {
            s if s.reason.as_deref().unwrap_or_default().contains("is not granted") => Ok(()),
            s => Err(Box::new(s)),
        })
        .await;
    assert_eq!((service.received().len(), status(&host, "post").rejected), (0, 0));
    let gone = service.address();
    drop(service);
    let mut spec = post(&other);
    spec.config = json!({ "url": format!("http://{gone}/take"), "format": "ndjson" });
    spec.grants.http = vec![format!("http://{gone}")];
    host.replace(spec).await.expect("it is swapped");
    memory
        .until("the reason", || match status(&host, "post") {
            s if s.reason.as_deref().unwrap_or_default().contains("refused") => Ok(()),
            s => Err(Box::new(s)),
        })
        .await;
    let back = tokio::task::spawn_blocking(move || Service::start_on(gone)).await.expect("it listens again");
    assert_eq!(host.done("post").await, Some(Done::Finished));
    assert_eq!(posted(&back), (0..10).collect::<Vec<_>>());
    assert_eq!(status(&host, "post").rejected, 0);
    host.stop_all(DRAIN).await;
}
