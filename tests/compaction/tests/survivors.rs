//! A thousand random histories: what Flumen's compaction leaves is what Apache Kafka's leaves, record by
//! record, batch by batch, segment by segment.
//!
//! Two differences are known, and looked for rather than passed over:
//! - A map that had no room ends a pass in the middle of a segment. Where the next begins there, Kafka forgets
//!   that a transaction aborted before that place is over: what its producer commits later does not count, and
//!   older records of those keys stay. Here they go. ([`kafka_forgot_an_end`])
//! - Codecs are not the same code, so rewritten batches may differ in size, and with them which neighbours
//!   fit into one segment. From then on segments are not compared; batches are.
//!
//! A third is kept out by the histories themselves (`History`): transactions cut by a trim before a crash.
//!
//! `FLUMEN_HISTORIES=10000` lives more of them, `FLUMEN_HISTORY=7` the one of that seed.

use std::path::Path;

use flumen_compaction::flumen::Flumen;
use flumen_compaction::history::{History, Step, What};
use flumen_compaction::kafka::{Kafka, Pass};
use flumen_compaction::survivors::Survivors;

const HISTORIES: u64 = 1000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What the histories had in them, lest they grow poor without a word.
#[derive(Debug, Default)]
struct Seen {
    passes: usize,
    idle: usize,
    /// That ended in the middle of a segment.
    partial: usize,
    horizons: usize,
    emptied: usize,
    resized: usize,
    forgotten: usize,
}

/// Lives a step on both sides; says what Kafka's cleaner did.
fn step(kafka: &mut Kafka, flumen: &mut Flumen, Step { now, what }: &Step) -> Option<Pass> {
    match what {
        What::Append(batch) => {
            if let Some(appended) = flumen.append(*now, batch) {
                kafka.append(*now, &appended);
            }
        }
        What::Marker(marker) => kafka.append(*now, &flumen.mark(*now, marker)),
        What::Clean => {
            flumen.clean(*now);
            return Some(kafka.clean(*now));
        }
        What::Trim(to) => {
            let to = flumen.trim(*to);
            kafka.trim(*now, to);
        }
        What::Restart => {
            flumen.restart();
            kafka.restart(*now);
        }
        What::Crash => {
            flumen.crash();
            kafka.crash(*now);
        }
    }
    None
}

/// All that Kafka has more are older records of keys that a transaction wrote behind where the pass began, in the
/// middle of a segment.
fn kafka_forgot_an_end(pass: Pass, ours: &Survivors, theirs: &Survivors) -> bool {
    let Pass::Cleaned { from, .. } = pass else { return false };
    let committed: Vec<_> = ours.batches.iter().filter(|batch| batch.transactional).collect();
    let hidden = |key: &Option<String>, offset: i64| {
        let mut later = committed.iter().flat_map(|batch| &batch.records);
        later.any(|record| record.key == *key && record.offset > offset && record.offset >= from)
    };
    let mut more = theirs.records().filter(|record| !ours.records().any(|own| own == *record));
    !theirs.bases().any(|base| base == from)
        && ours.records().all(|own| theirs.records().any(|record| record == own))
        && more.all(|record| hidden(&record.key, record.offset))
}

fn live(kafka: &mut Kafka, parent: &Path, seed: u64, seen: &mut Seen) -> Result<(), String> {
    let history = History::new(seed);
    let dir = tempfile::tempdir_in(parent).expect("a folder");
    let (ours, theirs) = (dir.path().join("flumen"), dir.path().join("kafka"));
    let mut flumen = Flumen::open(&ours, &history);
    kafka.open(&theirs, &history);
    let mut resized = false;
    for (n, at) in history.steps.iter().enumerate() {
        let Some(pass) = step(kafka, &mut flumen, at) else { continue };
        let (found, expected) = (Survivors::of(&flumen.folder()), Survivors::of(&theirs.join("t-0")));
        let together = resized || found.bases().eq(expected.bases());
        if found.batches != expected.batches || !together {
            if kafka_forgot_an_end(pass, &found, &expected) {
                seen.forgotten += 1;
                break;
            }
            let (more, less) = (expected.beside(&found), found.beside(&expected));
            return Err(format!(
                "seed {seed}, step {n} ({pass:?}), {:?}\n--- only Kafka has\n{more}\n--- only Flumen has\n{less}",
                history.settings
            ));
        }
        resized |= found.segments != expected.segments;
        seen.note(pass, &found);
    }
    seen.resized += usize::from(resized);
    kafka.close(history.steps.last().map_or(history.began, |step| step.now));
    Ok(())
}

impl Seen {
    fn note(&mut self, pass: Pass, found: &Survivors) {
        match pass {
            Pass::Idle => self.idle += 1,
            Pass::Cleaned { end, .. } => {
                self.passes += 1;
                self.partial += usize::from(!found.bases().any(|base| base == end));
                self.horizons += found.batches.iter().filter(|batch| batch.header.contains(" 0x4")).count();
                self.emptied += found.batches.iter().filter(|batch| batch.records.is_empty()).count();
            }
        }
    }
}

#[test]
fn survivors_are_those_of_apache_kafka() {
    let memory = Path::new("/dev/shm");
    let parent = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
    let mut kafka = Kafka::start();
    let mut seen = Seen::default();
    let seeds = match number("FLUMEN_HISTORY") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FLUMEN_HISTORIES").unwrap_or(HISTORIES),
    };
    let lived = seeds.clone().filter_map(|seed| live(&mut kafka, &parent, seed, &mut seen).err());
    let different: Vec<String> = lived.collect();
    println!("{seen:?}");
    let (count, of) = (different.len(), seeds.end - seeds.start);
    assert!(different.is_empty(), "{count} of {of} histories differ:\n{}", different.join("\n"));
    if of >= HISTORIES {
        let least = [seen.passes, seen.partial, seen.horizons, seen.emptied].into_iter().min();
        assert!(least >= Some(100), "a poor mixture: {seen:?}");
        assert!(seen.forgotten as u64 * 100 <= of && seen.resized as u64 * 2 <= of, "{seen:?}");
    }
}
