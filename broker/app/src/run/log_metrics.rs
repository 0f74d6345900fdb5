//! What Prometheus is told of the log (docs/reference/metrics.md).
//!
//! Invariants: what everybody has is told by topic, and by partition as long as there are few; what is the
//! matter with a partition is told of that partition, however many there are.

use flumen_http::Snapshot;
use flumen_server::{Counts, Opening, SYNC_SECONDS};
use flumen_types::TopicPartition;

use super::log_status::{Log, Logs, count, dirty_ratio};

/// With more partitions than this, each is no longer a series of its own.
pub(super) const PARTITIONS_MAX: usize = 1000;

type Reading = fn(&Log) -> Option<f64>;

/// Of a topic the sum over its partitions.
const SUMS: [(&str, &str, Reading); 4] = [
    ("bytes", "Bytes in segments", |log| Some(log.health.bytes as f64)),
    ("segments", "Segments", |log| Some(log.health.segments as f64)),
    ("cleanable_bytes", "Bytes that the cleaner may look at and has not, as it last saw them", |log| {
        log.health.dirt.map(|dirt| dirt.cleanable_bytes as f64)
    }),
    ("poisoned", "1 if the partition takes no writes until a restart, because a sync failed", |log| {
        Some(f64::from(u8::from(log.marks.failed)))
    }),
];

pub(super) fn add(snapshot: &mut Snapshot, logs: &Logs, counts: &Counts) {
    let each = logs.partitions().count() <= PARTITIONS_MAX;
    for (name, help, reading) in SUMS {
        let family = snapshot.gauge(&format!("flumen_log_{name}"), &format!("{help}, of a topic"));
        for (topic, logs) in logs.topics() {
            if let Some(sum) = logs.iter().filter_map(reading).reduce(|a, b| a + b) {
                family.sample(&[("topic", topic)], sum);
            }
        }
        let family = snapshot.gauge(&format!("flumen_log_partition_{name}"), help);
        for (tp, log) in logs.partitions().filter(|_| each) {
            if let Some(value) = reading(log) {
                family.sample(&[("topic", &tp.topic), ("partition", &tp.partition.to_string())], value);
            }
        }
    }
    dirt(snapshot, logs, each);
    lost(snapshot, logs);
    cleaner(snapshot, logs, counts);
    let syncs = snapshot.histogram("flumen_log_sync_seconds", "How long syncs of the log took");
    syncs.histogram(&SYNC_SECONDS, &counts.syncs.counts, counts.syncs.seconds);
    let full = snapshot.counter("flumen_log_refused_full_total", "Appends that found the disk full");
    full.sample(&[], counts.refused_full as f64);
}

fn dirt(snapshot: &mut Snapshot, logs: &Logs, each: bool) {
    let help = "Of what the cleaner may look at, the part that it has not";
    let family = snapshot.gauge("flumen_log_dirty_ratio", &format!("{help}, of a topic"));
    for (topic, logs) in logs.topics() {
        if let Some(ratio) = dirty_ratio(logs.iter()) {
            family.sample(&[("topic", topic)], ratio);
        }
    }
    let family = snapshot.gauge("flumen_log_partition_dirty_ratio", help);
    for (tp, log) in logs.partitions().filter(|_| each) {
        if let Some(dirt) = log.health.dirt {
            family.sample(&labels(&tp, &tp.partition.to_string()), dirt.ratio());
        }
    }
}

fn labels<'a>(tp: &'a TopicPartition, partition: &'a str) -> [(&'a str, &'a str); 2] {
    [("topic", &tp.topic), ("partition", partition)]
}

/// Of partitions that lost something; and a sum without labels, which is 0 where all is well.
fn lost(snapshot: &mut Snapshot, logs: &Logs) {
    type Count = fn(&Log) -> u64;
    let kinds: [(&str, &str, Count); 3] = [
        ("damaged_offsets", "Offsets in quarantined ranges", |log| {
            log.health.damaged.iter().map(count).sum()
        }),
        ("missing_offsets", "Offsets whose bytes are gone", |log| log.health.missing.iter().map(count).sum()),
        ("misfit_segments", "Segments whose batches do not fit their names", |log| {
            log.health.misfits.len() as u64
        }),
    ];
    for (name, help, reading) in kinds {
        let all: u64 = logs.partitions().map(|(_, log)| reading(log)).sum();
        let family = snapshot.gauge(&format!("flumen_log_{name}"), &format!("{help}, in all"));
        family.sample(&[], all as f64);
        let family = snapshot.gauge(&format!("flumen_log_partition_{name}"), help);
        for (tp, log) in logs.partitions().filter(|(_, log)| reading(log) > 0) {
            family.sample(&labels(&tp, &tp.partition.to_string()), reading(log) as f64);
        }
    }
}

fn cleaner(snapshot: &mut Snapshot, logs: &Logs, counts: &Counts) {
    let cleaned = counts.cleaned;
    let done = [
        ("passes", "Passes of the cleaner", cleaned.passes as f64),
        ("failures", "Passes that ended early, and are tried again", cleaned.failures as f64),
        ("read_bytes", "Bytes that the cleaner has read", cleaned.bytes_read as f64),
        ("seconds", "Seconds that the cleaner has worked", cleaned.seconds),
    ];
    for (name, help, value) in done {
        snapshot.counter(&format!("flumen_cleaner_{name}_total"), help).sample(&[], value);
    }
    let now = [
        ("flumen_cleaner_pass_bytes", "Bytes that the pass at work will read"),
        ("flumen_cleaner_pass_read_bytes", "Bytes that the pass at work has read"),
    ];
    for (at, (name, help)) in now.into_iter().enumerate() {
        let family = snapshot.gauge(name, help);
        for (tp, log) in logs.partitions() {
            if let Some((done, bytes)) = log.health.cleaning {
                let value = [bytes, done][at];
                family.sample(&labels(&tp, &tp.partition.to_string()), value as f64);
            }
        }
    }
}

/// How far a start is, or how it went.
pub(super) fn opening(snapshot: &mut Snapshot, now: &Opening) {
    let all = [
        ("partitions", "Partitions to load at the start", now.partitions as f64),
        ("partitions_loaded", "Partitions that are loaded", now.partitions_done as f64),
        ("bytes", "Bytes to read again after a crash", now.bytes as f64),
        ("read_bytes", "Bytes that were read again", now.bytes_done as f64),
    ];
    for (name, help, value) in all {
        snapshot.gauge(&format!("flumen_recovery_{name}"), help).sample(&[], value);
    }
    // Unknown until something is loaded.
    let done = now.partitions_done == now.partitions;
    if let Some(left) = now.left.or(done.then_some(std::time::Duration::ZERO)) {
        let family = snapshot.gauge("flumen_recovery_left_seconds", "Seconds left, by how fast it went");
        family.sample(&[], left.as_secs_f64());
    }
}
