//! Sinks: rows and offsets in one transaction of a database; requests and idempotency keys.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flumen_host::{Database, Databases, Done, Kind, PluginSpec, State};
use serde_json::json;

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
            s if s.state == State::Retrying && s.reason.is_some() => Ok(()),
            s => Err(Box::new(s)),
        })
        .await;
    std::fs::remove_file(folder.path().join("out")).expect("out of the way");
    until_rows(&memory, folder.path(), 10).await;
    memory
        .until("it to run", || match status(&host, "store") {
            s if s.state == State::Running && s.reason.is_none() && s.rejected == 0 => Ok(()),
            s => Err(Box::new(s)),
        })
        .await;
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
