//! How the log on the disk is, in the words of the admin API.

use flumen_http::{Cleaning, Lost, Opening, Partition, Storage, Topic};
use flumen_server::{Counts, Health, SYNC_SECONDS};
use flumen_types::{Offset, TopicPartition};

/// A topic with more than so many lost ranges is told of by how much it lost.
const LOST_MAX: usize = 100;

/// Each partition and how it is, by topic.
pub(super) struct Logs(Vec<(String, Vec<Log>)>);

pub(super) struct Log {
    pub(super) marks: flumen_server::Marks,
    pub(super) health: Health,
}

impl Logs {
    pub(super) fn of(topics: &flumen_server::Topics) -> Logs {
        Logs(topics.all().iter().map(|topic| (topic.name.to_string(), logs(topic))).collect())
    }

    pub(super) fn topics(&self) -> impl Iterator<Item = (&str, &[Log])> {
        self.0.iter().map(|(name, logs)| (name.as_str(), logs.as_slice()))
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &Log)> {
        let of = |(topic, logs): &'_ (String, Vec<Log>)| {
            let topic: std::sync::Arc<str> = topic.as_str().into();
            (0..).zip(0..logs.len()).map(move |(n, at)| (TopicPartition::new(topic.clone(), n), at))
        };
        self.0.iter().flat_map(move |topic| of(topic).map(|(tp, at)| (tp, &topic.1[at])))
    }
}

/// Of one topic, by number.
pub(super) fn logs(topic: &flumen_server::Topic) -> Vec<Log> {
    topic.partitions.iter().map(|log| Log { marks: log.marks(), health: log.health() }).collect()
}

/// Offsets of a range.
pub(super) fn count(range: &std::ops::Range<Offset>) -> u64 {
    range.end.since(range.start).max(0) as u64
}

/// Of all of them together; `None` where nothing is compacted.
pub(super) fn dirty_ratio<'a>(logs: impl Iterator<Item = &'a Log>) -> Option<f64> {
    let dirt = logs.filter_map(|log| log.health.dirt);
    let sum = dirt.reduce(|mut sum, dirt| {
        sum.clean_bytes += dirt.clean_bytes;
        sum.cleanable_bytes += dirt.cleanable_bytes;
        sum
    });
    sum.map(|sum| sum.ratio())
}

pub(super) fn topic(name: &str, logs: &[Log]) -> Topic {
    let numbered = || (0..).zip(logs);
    let lost = || numbered().flat_map(|(n, log)| lost(n, &log.health));
    let those = |of: fn(&Log) -> bool| numbered().filter(|(_, log)| of(log)).map(|(n, _)| n).collect();
    Topic {
        name: name.to_string(),
        partitions: logs.len() as u32,
        offsets: logs.iter().map(|log| count(&(log.marks.start..log.marks.end))).sum(),
        bytes: logs.iter().map(|log| log.health.bytes).sum(),
        failed: those(|log| log.marks.failed),
        full: those(|log| log.health.full),
        segments: logs.iter().map(|log| log.health.segments).sum(),
        dirty_ratio: dirty_ratio(logs.iter()),
        lost: lost().take(LOST_MAX).collect(),
        lost_offsets: lost().map(|lost| (lost.upto - lost.from).max(0) as u64).sum(),
        misfits: those(|log| !log.health.misfits.is_empty()),
        held_tombstones: super::tombstones::shown(numbered().map(|(n, log)| (n, &log.health))),
    }
}

pub(super) fn partition(n: i32, log: &Log) -> Partition {
    let (marks, health) = (&log.marks, &log.health);
    Partition {
        partition: n,
        start: marks.start.0,
        high_watermark: marks.high_watermark.0,
        last_stable: marks.last_stable.0,
        end: marks.end.0,
        bytes: health.bytes,
        segments: health.segments,
        dirty_ratio: health.dirt.map(flumen_server::Dirty::ratio),
        poisoned: marks.failed,
        full: health.full,
        lost: lost(n, health).collect(),
        misfits: health.misfits.iter().map(|base| base.0).collect(),
    }
}

fn lost(partition: i32, health: &Health) -> impl Iterator<Item = Lost> {
    let of = move |why: &'static str| {
        move |range: &std::ops::Range<Offset>| Lost {
            partition,
            from: range.start.0,
            upto: range.end.0,
            why: why.into(),
        }
    };
    health.damaged.iter().map(of("damaged")).chain(health.missing.iter().map(of("missing")))
}

pub(super) fn storage(logs: &Logs, counts: &Counts) -> Storage {
    let all = || logs.topics().flat_map(|(_, logs)| logs);
    let syncs: u64 = counts.syncs.counts.iter().sum();
    let cleaned = counts.cleaned;
    Storage {
        bytes: all().map(|log| log.health.bytes).sum(),
        segments: all().map(|log| log.health.segments).sum(),
        syncs,
        sync_ms_mean: (syncs > 0).then(|| counts.syncs.seconds * 1000.0 / syncs as f64),
        sync_ms_p99: quantile(&counts.syncs.counts, 0.99).map(|seconds| seconds * 1000.0),
        refused_full: counts.refused_full,
        cleaner_passes: cleaned.passes,
        cleaner_failures: cleaned.failures,
        cleaner_bytes_per_second: (cleaned.seconds > 0.0)
            .then(|| cleaned.bytes_read as f64 / cleaned.seconds),
        cleaning: cleaning(logs),
    }
}

fn cleaning(logs: &Logs) -> Vec<Cleaning> {
    let of = |(tp, log): (TopicPartition, &Log)| {
        let (bytes_done, bytes) = log.health.cleaning?;
        Some(Cleaning { topic: tp.topic.to_string(), partition: tp.partition.0, bytes, bytes_done })
    };
    logs.partitions().filter_map(of).collect()
}

/// The upper end of the bucket in which it lies; `None` if nothing was measured, or it lies beyond them.
fn quantile(counts: &[u64], part: f64) -> Option<f64> {
    let all: u64 = counts.iter().sum();
    let mut so_far = 0;
    let bucket = counts.iter().position(|count| {
        so_far += count;
        so_far as f64 >= all as f64 * part
    });
    bucket.filter(|_| all > 0).and_then(|bucket| SYNC_SECONDS.get(bucket).copied())
}

/// How far a start is, in the words of the admin API.
pub(super) fn opening(now: flumen_server::Opening) -> Opening {
    let ms = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    Opening {
        partitions: now.partitions,
        partitions_done: now.partitions_done,
        bytes: now.bytes,
        bytes_done: now.bytes_done,
        elapsed_ms: ms(now.elapsed),
        left_ms: now.left.map(ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_end_of_its_bucket() {
        assert_eq!(quantile(&[0; 15], 0.99), None);
        assert_eq!(quantile(&[99, 1], 0.99), Some(SYNC_SECONDS[0]));
        assert_eq!(quantile(&[98, 2], 0.99), Some(SYNC_SECONDS[1]));
        let mut beyond = [0; 15];
        beyond[14] = 1;
        assert_eq!(quantile(&beyond, 0.99), None);
    }
}
