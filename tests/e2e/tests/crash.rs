//! kill -9 over the whole path, again and again: no acknowledged record is lost, none is stored twice.
//!
//! Rounds: `FLUMEN_CRASH_ROUNDS`, 50 when not set. A file grows and is tailed into a topic, through a
//! filter, into a SQLite table in plain `insert` mode, where a repeated record is a second row, and to an
//! HTTP service, which cannot take part in a transaction: it gets each record at least once. An idempotent
//! producer of a real client writes to a second topic all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flumen_harness::clients::{kcat, python_command};
use flumen_harness::http::Service;
use flumen_harness::process::stdout;
use flumen_harness::{Flumen, rounds, sqlite, wait};
use rand::RngExt;

fn pipeline(service: &Service) -> String {
    format!(
        r#"{PIPELINE}
[sinks.post]
plugin = "http-sink"
from = ["kept"]
config = {{ url = "{}", format = "ndjson" }}
grant.http = ["http://{}"]
"#,
        service.url("/numbers"),
        service.address()
    )
}

const PIPELINE: &str = r#"
[topics.lines]
partitions = 1
[topics.kept]
partitions = 1
[topics.steady]
partitions = 1

[databases.out]
url = "sqlite:out.db"

[sources.tail]
plugin = "file-source"
topic = "lines"
config = { paths = ["inbox/*.jsonl"], format = "jsonl" }
grant.files = { "inbox" = "read" }

[transforms.keep]
plugin = "json-filter"
from = "lines"
to = "kept"
config = { where = "n >= 0" }

[sinks.store]
plugin = "db-sink"
from = ["kept"]
config = { database = "out", table = "numbers", mode = "insert" }
grant.databases = ["out"]
"#;

/// Appends `{"n":0}`, `{"n":1}`, … to a file until told to stop; counts what it wrote.
struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<()>,
}

impl Writer {
    fn start(path: PathBuf) -> Writer {
        let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), written.clone());
        let thread = std::thread::spawn(move || {
            let mut file = File::create(path).expect("the input file");
            let mut n = 0_u64;
            while !stopped.load(Ordering::Relaxed) {
                let lines: String = (n..n + 20).map(|n| format!("{{\"n\":{n}}}\n")).collect();
                // In two writes, so that a reader meets half lines.
                let (head, rest) = lines.as_bytes().split_at(lines.len() / 2 + 3);
                file.write_all(head).and_then(|()| file.write_all(rest)).expect("the input file takes it");
                n += 20;
                count.store(n, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(10));
            }
        });
        Writer { stop, written, thread }
    }

    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the writer");
        self.written.load(Ordering::Relaxed)
    }
}

fn stored(flumen: &Flumen) -> i64 {
    sqlite::number(&flumen.path("out.db"), "select count(*) from numbers").unwrap_or(0)
}

#[test]
fn no_acknowledged_record_is_lost_and_none_is_stored_twice() {
    let rounds = rounds(50);
    let mut rng = rand::rng();
    let service = Service::start();
    let mut flumen = Flumen::prepare(&pipeline(&service));
    std::fs::create_dir_all(flumen.path("inbox")).expect("the inbox");
    let mut reached = BTreeSet::new();
    let writer = Writer::start(flumen.path("inbox/numbers.jsonl"));
    flumen.up();
    wait::until("the pipeline to run", || match stored(&flumen) {
        0 => Err(format!("{:?}", flumen.status())),
        _ => Ok(()),
    });
    let acks = File::create(flumen.path("acks.log")).expect("the list of acknowledgements");
    let mut producer = python_command(include_str!("../scripts/steady.py"), &[&flumen.bootstrap(), "steady"]);
    let mut producer = producer.stdin(Stdio::piped()).stdout(acks).spawn().expect("the producer starts");

    for round in 0..rounds {
        // Killed somewhere in the work of a moment: after some progress, or one time in three soon after the start.
        let goal = stored(&flumen) + rng.random_range(1..400);
        let soon = Instant::now() + Duration::from_millis(rng.random_range(20..1500));
        wait::until("records to be stored", || match stored(&flumen) {
            count if count >= goal || (round % 3 == 2 && Instant::now() >= soon) => Ok(()),
            count => Err(format!("{count} of {goal}")),
        });
        flumen.kill();
        flumen.up();
        reached.insert(stored(&flumen));
        if round % 10 == 9 {
            println!("round {}: {} stored", round + 1, stored(&flumen));
        }
    }

    assert!(
        reached.len() > rounds as usize / 2,
        "the pipeline got on in {} of {rounds} rounds only",
        reached.len()
    );
    let written = writer.finish();
    drop(producer.stdin.take());
    wait::until_within(Duration::from_secs(120), "all that was written to be stored", || {
        let have = stored(&flumen);
        if have as u64 >= written {
            Ok(())
        } else {
            Err(format!("{have} of {written}; {:?}", flumen.status()))
        }
    });
    let ask = |query: &str| sqlite::number(&flumen.path("out.db"), query).expect("an answer");
    assert_eq!(ask("select count(*) from numbers") as u64, written, "rows stored against lines written");
    assert_eq!(ask("select count(distinct n) from numbers") as u64, written, "a number was stored twice");
    let disorder = "select count(*) from (select n, lag(n) over (order by rowid) as before from numbers) where n < before";
    assert_eq!(ask(disorder), 0, "rows out of order");
    let posted = || -> BTreeSet<u64> { service.accepted().iter().filter_map(|r| r["n"].as_u64()).collect() };
    wait::until_within(Duration::from_secs(120), "all that was written to be posted", || {
        match posted().len() as u64 {
            have if have == written => Ok(()),
            have => Err(format!("{have} of {written}; {:?}", flumen.plugin("post"))),
        }
    });

    let status = producer.wait().expect("the producer ends");
    assert!(status.success(), "the producer ended with {status}");
    check_producer(&flumen);
}

/// The broker alone, so that rounds are short: many kills while a client has batches in flight.
#[test]
fn an_idempotent_producer_loses_and_repeats_nothing_over_kills() {
    let rounds = rounds(50);
    let mut rng = rand::rng();
    let mut flumen = Flumen::prepare("");
    flumen.up();
    let acks = File::create(flumen.path("acks.log")).expect("the list of acknowledgements");
    let mut producer = python_command(include_str!("../scripts/steady.py"), &[&flumen.bootstrap(), "steady"]);
    let mut producer = producer.stdin(Stdio::piped()).stdout(acks).spawn().expect("the producer starts");
    let acked = |flumen: &Flumen| std::fs::metadata(flumen.path("acks.log")).map_or(0, |meta| meta.len());
    for _ in 0..rounds {
        let goal = acked(&flumen) + rng.random_range(1..30_000);
        let limit = Instant::now() + Duration::from_millis(1500);
        while acked(&flumen) < goal && Instant::now() < limit {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        flumen.kill();
        flumen.up();
    }
    drop(producer.stdin.take());
    let status = producer.wait().expect("the producer ends");
    assert!(status.success(), "the producer ended with {status}");
    check_producer(&flumen);
}

/// Every acknowledged number is in the topic, and no number twice.
fn check_producer(flumen: &Flumen) {
    let acks = std::fs::read_to_string(flumen.path("acks.log")).expect("the acknowledgements");
    let acked: Vec<u64> = acks.lines().filter_map(|l| l.strip_prefix("acked ")?.parse().ok()).collect();
    assert!(!acked.is_empty() && acks.contains("\nend "), "the producer did its work:\n{acks:.500}");
    let broker = flumen.bootstrap();
    let mut read: Command =
        kcat(&["-C", "-q", "-e", "-b", &broker, "-t", "steady", "-o", "beginning", "-f", "%s\n"]);
    let mut times: BTreeMap<u64, u32> = BTreeMap::new();
    for line in stdout("kcat", &mut read).lines() {
        *times.entry(line.parse().expect("a number")).or_default() += 1;
    }
    let lost: Vec<&u64> = acked.iter().filter(|n| !times.contains_key(n)).collect();
    assert!(
        lost.is_empty(),
        "{} acknowledged records are lost: {:?}",
        lost.len(),
        &lost[..lost.len().min(10)]
    );
    let twice: Vec<_> = times.iter().filter(|(_, count)| **count > 1).take(10).collect();
    assert!(twice.is_empty(), "records stored twice: {twice:?}");
    println!("{} acknowledged, {} in the topic", acked.len(), times.len());
}
