//! A delete waits for the sink that has not read it: past `delete.retention.ms`, for as long as the sink is away,
//! and no longer. And when nobody is waited for, it goes as in Kafka.

use std::process::{Command, Stdio};

use flumen_harness::clients::{feed, kcat};
use flumen_harness::process::stdout;
use flumen_harness::{Flumen, sqlite, wait};

const BROKER: &str = "log.cleaner.backoff.ms = 50\n";

fn pipeline(sink: &str) -> String {
    format!(
        r#"
[topics.rows]
partitions = 1
cleanup.policy = "compact"
min.cleanable.dirty.ratio = 0.0
delete.retention.ms = 0
segment.ms = 1

[databases.out]
url = "sqlite:out.db"

[sinks.store]
plugin = "db-sink"
from = "rows"
config = {{ database = "out", table = "rows", mode = "upsert", key = ["id"] }}
grant.databases = ["out"]
{sink}
"#
    )
}

/// `KEY:VALUE` lines; nothing behind the colon deletes.
fn produce(flumen: &Flumen, lines: &str) {
    let broker = flumen.bootstrap();
    let mut command: Command = kcat(&["-P", "-q", "-b", &broker, "-t", "rows", "-p", "0", "-K", ":", "-Z"]);
    feed("produce", command.stdout(Stdio::null()), lines.as_bytes());
}

/// Something to compact: another value of one key, in a segment of its own.
fn stir(flumen: &Flumen) {
    produce(flumen, "9:{\"id\":9}\n");
}

/// How many deletes of key 1 the topic has.
fn deletes(flumen: &Flumen) -> usize {
    let broker = flumen.bootstrap();
    let read = ["-C", "-q", "-e", "-b", &broker, "-t", "rows", "-o", "beginning", "-f", "%k %S\n"];
    stdout("kcat", &mut kcat(&read)).lines().filter(|line| *line == "1 -1").count()
}

fn held(flumen: &Flumen) -> Result<Option<serde_json::Value>, String> {
    let status = flumen.status()?;
    let topics = status["topics"].as_array().cloned().unwrap_or_default();
    let rows = topics.into_iter().find(|topic| topic["name"] == "rows").ok_or("no such topic")?;
    Ok(rows["held_tombstones"].as_array().and_then(|held| held.first().cloned()))
}

fn rows(flumen: &Flumen) -> i64 {
    sqlite::number(&flumen.path("out.db"), "SELECT count(*) FROM rows WHERE id = 1").unwrap_or(0)
}

/// The sink has written a row, and is switched off when it is deleted.
fn deleted_behind_its_back(away: &str) -> Flumen {
    let mut flumen = Flumen::prepare_with(BROKER, &pipeline(""));
    flumen.up();
    produce(&flumen, "1:{\"id\":1}\n");
    wait::until("the row", || if rows(&flumen) == 1 { Ok(()) } else { Err("no row".to_owned()) });
    flumen.write_config_with(BROKER, &pipeline(away));
    wait::until("the sink to be away", || match flumen.plugin("store") {
        Err(_) => Ok(()),
        Ok(plugin) if plugin["state"] == "stopped" => Ok(()),
        Ok(plugin) => Err(plugin.to_string()),
    });
    produce(&flumen, "1:\n");
    flumen
}

#[test]
fn a_delete_stays_until_the_sink_that_was_away_has_read_it() {
    let flumen = deleted_behind_its_back("enabled = false");
    let found = wait::until("the delete to be held", || {
        stir(&flumen);
        held(&flumen)?.ok_or_else(|| "nothing is held".into())
    });
    assert_eq!((&found["by"], &found["count"]), (&"store".into(), &1.into()), "{found}");
    assert_eq!((deletes(&flumen), rows(&flumen)), (1, 1));
    let told = flumen.command(&["status", "--http", &flumen.http_url("")]).output().expect("status");
    let told = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.contains("rows: tombstones held by store for"), "{told}");
    let metrics = flumen.metrics().expect("metrics");
    assert!(metrics.contains("flumen_tombstones_held{topic=\"rows\",sink=\"store\"} 1"), "{metrics}");

    flumen.write_config_with(BROKER, &pipeline(""));
    wait::until("the delete to arrive", || {
        if rows(&flumen) == 0 { Ok(()) } else { Err("it is there".to_owned()) }
    });
    wait::until("the delete to go", || {
        stir(&flumen);
        match (deletes(&flumen), held(&flumen)?) {
            (0, None) => Ok(()),
            there => Err(format!("{there:?}")),
        }
    });
}

#[test]
fn a_sink_that_is_not_waited_for_misses_it() {
    let flumen = deleted_behind_its_back("enabled = false\ntombstones.hold = 0");
    wait::until("the delete to go", || {
        stir(&flumen);
        if deletes(&flumen) == 0 { Ok(()) } else { Err("it is there".to_owned()) }
    });
    assert_eq!((held(&flumen), rows(&flumen)), (Ok(None), 1));
}
