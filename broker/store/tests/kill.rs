//! A process that appends is killed with SIGKILL, again and again: nothing that it saw durable is lost,
//! nothing is there twice, and what is there is a prefix of what it appended.
//!
//! `FLUMEN_KILL_ROUNDS=500 cargo test -p flumen-store --test kill` for more rounds.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a test waits and looks at real files"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use flumen_records::{BatchBuilder, Compression, NewRecord, batches};
use flumen_store::{Bound, Options, Origin, Partition, Store};
use flumen_types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicPartition};

const DIR: &str = "FLUMEN_KILL_DIR";
const PARTITIONS: i32 = 3;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn open(dir: &Path) -> (Store, Vec<Arc<Partition>>) {
    let store = Store::open(Options::new(dir), Arc::new(())).unwrap();
    if store.topics().is_empty() {
        let configs =
            [("internal.segment.bytes", "20000"), ("index.interval.bytes", "500"), ("retention.ms", "-1")];
        let configs = configs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        store.create_topic("t", TopicId(uuid::Uuid::new_v4()), PARTITIONS, configs).unwrap();
    }
    let partitions = (0..PARTITIONS).map(|n| store.partition(&TopicPartition::new("t", n)).unwrap());
    let partitions = partitions.collect();
    (store, partitions)
}

/// Not a test of its own: the process that is killed. Says each offset that has become durable.
#[test]
fn victim() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let (_store, partitions) = open(Path::new(&dir));
    let mut out = std::io::stdout().lock();
    let mut pending: Vec<(usize, Offset)> = Vec::new();
    loop {
        for (n, t) in partitions.iter().enumerate() {
            let number = t.marks().end.0;
            let value = format!("{number} {}", "x".repeat(number as usize % 700));
            let mut builder = BatchBuilder::new(Compression::None).producer(
                ProducerId(n as i64),
                ProducerEpoch(0),
                Sequence(number as i32),
            );
            builder.push(&NewRecord {
                timestamp: NOW,
                key: None,
                value: Some(value.as_bytes()),
                headers: &[],
            });
            let appended = t.append(builder.build().unwrap(), Origin::Client, NOW).unwrap();
            assert!(!appended.duplicate);
            pending.push((n, appended.last));
        }
        if pending.len() > 20 {
            for (n, last) in pending.drain(..) {
                assert!(partitions[n].wait_durable(last.next(), Duration::from_secs(30)));
                writeln!(out, "durable {n} {last}").unwrap();
            }
            out.flush().unwrap();
        }
    }
}

#[test]
fn what_was_durable_survives_a_kill() {
    let rounds: u64 = std::env::var("FLUMEN_KILL_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(8);
    let dir = tempfile::tempdir().unwrap();
    let mut durable = [-1_i64; PARTITIONS as usize];
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["victim", "--exact", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let note = |line: String, durable: &mut [i64]| -> bool {
            let mut fields = line.split(' ').skip_while(|field| *field != "durable").skip(1);
            let numbers = (fields.next().and_then(|n| n.parse::<usize>().ok()), fields.next());
            let (Some(n), Some(last)) = numbers else { return false };
            durable[n] = durable[n].max(last.parse().unwrap());
            true
        };
        // Killed after so many lines, somewhere in the midst of what follows them.
        let mut seen = 0;
        while seen < 40 + round * 37 % 400 {
            let line = lines.next().expect("it goes on until it is killed").unwrap();
            seen += u64::from(note(line, &mut durable));
        }
        child.kill().unwrap();
        lines.map_while(Result::ok).for_each(|line| {
            note(line, &mut durable);
        });
        child.wait().unwrap();
        check(dir.path(), &durable);
    }
}

fn check(dir: &Path, durable: &[i64]) {
    let (_store, partitions) = open(dir);
    for (t, durable) in partitions.iter().zip(durable) {
        let end = t.marks().end;
        assert!(end.0 > *durable, "{end} is not behind {durable}");
        let mut from = Offset::ZERO;
        while from < end {
            let read = t.read(from, 1 << 20, Bound::HighWatermark, true).unwrap();
            for batch in batches(read.bytes).map(Result::unwrap) {
                batch.verify_crc().unwrap();
                assert_eq!(batch.header().base_offset, from);
                let records = batch.records(1 << 20).unwrap();
                let value = records.iter().next().unwrap().unwrap().value.unwrap();
                assert!(value.starts_with(format!("{from} ").as_bytes()));
                from = from.next();
            }
        }
        assert_eq!(from, end);
    }
}
