//! The process dies, again and again: over a log and a database that outlive it.
//!
//! A host is given a runtime of its own, which is then shut down under it, wherever it is. Its guests'
//! threads may still finish what they are at, beside their successors: that is what the fences are for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_host::{Database, Databases, Kind, PluginSpec};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::memory::{Fault, Memory, guest, host_with};

const RECORDS: u32 = 3000;

fn filter() -> PluginSpec {
    let mut spec = PluginSpec::new("keep", Kind::Transform, guest("json-filter"));
    spec.config = json!({ "where": "n % 10 != 3" });
    spec.inputs = vec!["in".into()];
    spec.outputs = vec!["kept".into()];
    spec
}

fn sink() -> PluginSpec {
    let mut spec = PluginSpec::new("store", Kind::Sink, guest("db-sink"));
    spec.config = json!({ "database": "out", "table": "numbers", "types": { "n": "integer not null check (n % 100 <> 42)" } });
    spec.inputs = vec!["kept".into()];
    spec.grants.databases = vec!["out".into()];
    spec
}

fn column(path: &std::path::Path, query: &str) -> Vec<i64> {
    let Ok(connection) = rusqlite::Connection::open(path) else { return vec![] };
    connection.busy_timeout(Duration::from_secs(10)).expect("patience");
    let Ok(mut statement) = connection.prepare(query) else { return vec![] };
    let Ok(rows) = statement.query_map([], |row| row.get(0)) else { return vec![] };
    rows.flatten().collect()
}

#[test]
fn nothing_is_lost_or_repeated_in_topics_tables_or_dead_letters() {
    let seed = std::env::var("FLUMEN_SEED").map_or_else(|_| rand::random(), |s| s.parse().expect("a seed"));
    println!("FLUMEN_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("out.db");
    let database = Database::parse("sqlite:out.db", None, folder.path()).expect("a database");
    let databases = Databases([("out".to_owned(), Arc::new(database))].into());
    let memory = Memory::default();

    let expected: Vec<i64> = (0..i64::from(RECORDS)).filter(|n| n % 10 != 3 && n % 100 != 42).collect();
    let parked: Vec<i64> = (0..i64::from(RECORDS)).filter(|n| n % 100 == 42).collect();
    let (mut fed, mut rounds) = (0, 0);
    let started = Instant::now();
    while column(&path, "select count(*) from numbers").first() != Some(&(expected.len() as i64))
        || memory.seen("store-dlq").len() < parked.len()
    {
        assert!(started.elapsed() < Duration::from_secs(240), "it does not come to an end; seed {seed}");
        rounds += 1;
        for _ in 0..rng.random_range(0..3) {
            let fault =
                [Fault::None, Fault::None, Fault::LoseCommit, Fault::LoseAnswer][rng.random_range(0..4)];
            memory.model().faults.push_back(fault);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let host = runtime.block_on(async {
            let host = host_with(&memory, databases.clone());
            host.start(filter()).await.expect("it starts");
            host.start(sink()).await.expect("it starts");
            host
        });
        let more = (fed + rng.random_range(1..400)).min(RECORDS);
        memory.values("in", 0, (fed..more).map(|n| format!("{{\"n\":{n}}}")));
        fed = more;
        // Longer and longer, so that it gets on where everything is slow.
        std::thread::park_timeout(Duration::from_millis(rng.random_range(5..120 + 2 * rounds)));
        runtime.shutdown_background();
        drop(host);
    }
    assert_eq!(column(&path, "select n from numbers order by rowid"), expected, "seed {seed}");
    let letters: Vec<i64> = memory
        .seen_values("store-dlq")
        .iter()
        .map(|v| v.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("a number"))
        .collect();
    assert_eq!(letters, parked, "seed {seed}");
    println!("{rounds} deaths");
}
