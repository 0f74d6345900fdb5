//! A thousand random histories: what Flumen's compaction leaves is what Apache Kafka's leaves, record by
//! record, batch by batch, segment by segment.
//!
//! Codecs are not the same code, so rewritten batches may differ in size, and with that which neighbours fit into
//! one segment, and what share of a log is dirty. From then on segments' places are not compared, and a history
//! ends where one side finds a pass due and the other does not. Batches and records always are.
//!
//! Two differences in what Kafka itself does are kept out by the histories (`history.rs` tells them): a transaction
//! whose beginning was trimmed before a crash, and one that was aborted before the middle of a segment where a pass
//! begins.
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
    borderline: usize,
    appended: usize,
    /// Batches of producers that were forgotten and came back with a crash.
    refused: usize,
}

/// Lives a step on both sides; says what Kafka's cleaner did.
fn step(kafka: &mut Kafka, flumen: &mut Flumen, seen: &mut Seen, step: &Step) -> Option<Pass> {
    let Step { now, what } = step;
    match what {
        What::Append(batch) => match flumen.append(*now, batch) {
            Some(appended) => {
                seen.appended += 1;
                kafka.append(*now, &appended);
            }
            None => seen.refused += 1,
        },
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

/// As the checkpoint says, which may be behind the start.
fn cleaned_upto(dir: &Path, start: i64) -> i64 {
    let text = std::fs::read_to_string(dir.join("cleaner-offset-checkpoint")).unwrap_or_default();
    let offset = text.lines().find_map(|line| line.strip_prefix("t 0 ")?.parse().ok());
    offset.unwrap_or(0).max(start)
}

fn live(kafka: &mut Kafka, parent: &Path, seed: u64, seen: &mut Seen) -> Result<(), String> {
    let history = History::new(seed);
    let dir = tempfile::tempdir_in(parent).expect("a folder");
    let (ours, theirs) = (dir.path().join("flumen"), dir.path().join("kafka"));
    let mut flumen = Flumen::open(&ours, &history);
    kafka.open(&theirs, &history);
    let mut resized = false;
    for (n, at) in history.steps.iter().enumerate() {
        let Some(pass) = step(kafka, &mut flumen, seen, at) else { continue };
        let (found, expected) = (Survivors::of(&flumen.folder()), Survivors::of(&theirs.join("t-0")));
        let together = resized || found.bases().eq(expected.bases());
        let start = flumen.partition().marks().start.0;
        let (clean, clean_there) = (cleaned_upto(&ours, start), cleaned_upto(&theirs, start));
        if clean != clean_there && resized && !history.settings.is_always_due() {
            seen.borderline += 1;
            break;
        }
        if found.compared(start) != expected.compared(start) || !together || clean != clean_there {
            let marks = flumen.partition().marks();
            let (more, less) = (expected.beside(&found), found.beside(&expected));
            return Err(format!(
                "seed {seed}, step {n} ({pass:?}, clean to {clean_there} and {clean}, {marks:?}), {:?}\n--- only Kafka has\n{more}\n--- only Flumen has\n{less}",
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
        assert!(seen.refused * 100 <= seen.appended, "{seen:?}");
        assert!(seen.borderline as u64 * 100 <= of && seen.resized as u64 * 2 <= of, "{seen:?}");
    }
}
