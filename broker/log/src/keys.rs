//! Kafka's topic keys: names, types, defaults, and the broker keys that stand in for them.

/// How a value is written, as DescribeConfigs tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Text,
    Int,
    Long,
    Double,
    List,
}

/// What the number of a key counts; where it counts something, units may be written ("7d", "64MiB").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    None,
    Millis,
    Bytes,
}

#[derive(Clone, Copy, Debug)]
pub struct Key {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub default: &'static str,
    pub least: i64,
    pub most: i64,
    /// The broker key whose value is the default where it is set.
    pub broker: Option<&'static str>,
    pub doc: &'static str,
}

const MAX: i64 = i64::MAX;
const INT: i64 = i32::MAX as i64;

const fn key(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    broker: &'static str,
    doc: &'static str,
) -> Key {
    let broker = if broker.is_empty() { None } else { Some(broker) };
    Key { name, kind, unit: Unit::None, default, least: i64::MIN, most: MAX, broker, doc }
}

const fn number(unit: Unit, range: (i64, i64), key: Key) -> Key {
    Key { unit, least: range.0, most: range.1, ..key }
}

use Kind::{Boolean, Double, Int, List, Long, Text};

/// In the order of their names.
pub const KEYS: &[Key] = &[
    key(
        "cleanup.policy",
        List,
        "delete",
        "log.cleanup.policy",
        "delete: old segments go; compact: the last value of each key stays; or both",
    ),
    number(
        Unit::None,
        (-1, 9),
        key(
            "compression.gzip.level",
            Int,
            "-1",
            "compression.gzip.level",
            "Kept for Kafka's tools: the broker compresses at the codec's usual level",
        ),
    ),
    number(
        Unit::None,
        (1, 17),
        key(
            "compression.lz4.level",
            Int,
            "9",
            "compression.lz4.level",
            "Kept for Kafka's tools: the broker compresses at the codec's usual level",
        ),
    ),
    key(
        "compression.type",
        Text,
        "producer",
        "compression.type",
        "The codec of the log; producer: as it was sent",
    ),
    number(
        Unit::None,
        (-131_072, 22),
        key(
            "compression.zstd.level",
            Int,
            "3",
            "compression.zstd.level",
            "Kept for Kafka's tools: the broker compresses at the codec's usual level",
        ),
    ),
    number(
        Unit::Millis,
        (0, MAX),
        key(
            "delete.retention.ms",
            Long,
            "86400000",
            "log.cleaner.delete.retention.ms",
            "How long a compacted topic keeps a tombstone",
        ),
    ),
    number(
        Unit::Millis,
        (0, MAX),
        key(
            "file.delete.delay.ms",
            Long,
            "60000",
            "log.segment.delete.delay.ms",
            "How long a segment that was dropped stays on the disk",
        ),
    ),
    number(
        Unit::None,
        (1, MAX),
        key(
            "flush.messages",
            Long,
            "9223372036854775807",
            "log.flush.interval.messages",
            "Acknowledge before the sync, which comes after so many records; unset: sync every append",
        ),
    ),
    number(
        Unit::Millis,
        (0, MAX),
        key(
            "flush.ms",
            Long,
            "9223372036854775807",
            "log.flush.interval.ms",
            "Acknowledge before the sync, which comes after so long; unset: sync every append",
        ),
    ),
    key(
        "follower.replication.throttled.replicas",
        List,
        "",
        "",
        "Kept for Kafka's tools: there is one replica",
    ),
    number(
        Unit::Bytes,
        (0, INT),
        key(
            "index.interval.bytes",
            Int,
            "4096",
            "log.index.interval.bytes",
            "An index entry each so many bytes",
        ),
    ),
    key(
        "leader.replication.throttled.replicas",
        List,
        "",
        "",
        "Kept for Kafka's tools: there is one replica",
    ),
    number(
        Unit::None,
        (-2, MAX),
        key(
            "local.retention.bytes",
            Long,
            "-2",
            "log.local.retention.bytes",
            "Kept for Kafka's tools: no record is kept elsewhere",
        ),
    ),
    number(
        Unit::None,
        (-2, MAX),
        key(
            "local.retention.ms",
            Long,
            "-2",
            "log.local.retention.ms",
            "Kept for Kafka's tools: no record is kept elsewhere",
        ),
    ),
    number(
        Unit::Millis,
        (1, MAX),
        key(
            "max.compaction.lag.ms",
            Long,
            "9223372036854775807",
            "log.cleaner.max.compaction.lag.ms",
            "A record is compacted after so long at the latest",
        ),
    ),
    number(
        Unit::Bytes,
        (0, INT),
        key("max.message.bytes", Int, "1048588", "message.max.bytes", "The largest batch that is taken"),
    ),
    number(
        Unit::Millis,
        (0, MAX),
        key(
            "message.timestamp.after.max.ms",
            Long,
            "3600000",
            "log.message.timestamp.after.max.ms",
            "How far a timestamp may lie in the future",
        ),
    ),
    number(
        Unit::Millis,
        (0, MAX),
        key(
            "message.timestamp.before.max.ms",
            Long,
            "9223372036854775807",
            "log.message.timestamp.before.max.ms",
            "How far a timestamp may lie in the past",
        ),
    ),
    key(
        "message.timestamp.type",
        Text,
        "CreateTime",
        "log.message.timestamp.type",
        "CreateTime: the producer's; LogAppendTime: the broker's",
    ),
    key(
        "min.cleanable.dirty.ratio",
        Double,
        "0.5",
        "log.cleaner.min.cleanable.ratio",
        "Compaction starts when so much of the log is not compacted",
    ),
    number(
        Unit::Millis,
        (0, MAX),
        key(
            "min.compaction.lag.ms",
            Long,
            "0",
            "log.cleaner.min.compaction.lag.ms",
            "A record is not compacted before",
        ),
    ),
    number(
        Unit::None,
        (1, INT),
        key(
            "min.insync.replicas",
            Int,
            "1",
            "min.insync.replicas",
            "Kept for Kafka's tools: there is one replica",
        ),
    ),
    key(
        "preallocate",
        Boolean,
        "false",
        "log.preallocate",
        "Kept for Kafka's tools: files grow as they are written",
    ),
    key(
        "remote.log.copy.disable",
        Boolean,
        "false",
        "",
        "Kept for Kafka's tools: no record is kept elsewhere",
    ),
    key(
        "remote.log.delete.on.disable",
        Boolean,
        "false",
        "",
        "Kept for Kafka's tools: no record is kept elsewhere",
    ),
    key("remote.storage.enable", Boolean, "false", "", "Only false: no record is kept elsewhere"),
    number(
        Unit::Bytes,
        (-1, MAX),
        key(
            "retention.bytes",
            Long,
            "-1",
            "log.retention.bytes",
            "A partition larger than this loses its oldest segments; -1: no limit",
        ),
    ),
    number(
        Unit::Millis,
        (-1, MAX),
        key(
            "retention.ms",
            Long,
            "604800000",
            "log.retention.ms",
            "A segment older than this goes; -1: no limit",
        ),
    ),
    number(
        Unit::Bytes,
        (1 << 20, INT),
        key("segment.bytes", Int, "1073741824", "log.segment.bytes", "A segment of this size is closed"),
    ),
    number(
        Unit::Bytes,
        (4, INT),
        key(
            "segment.index.bytes",
            Int,
            "10485760",
            "log.index.size.max.bytes",
            "The largest index of a segment",
        ),
    ),
    number(
        Unit::Millis,
        (0, MAX),
        key(
            "segment.jitter.ms",
            Long,
            "0",
            "log.roll.jitter.ms",
            "Up to so much off segment.ms, so that not all close at once",
        ),
    ),
    number(
        Unit::Millis,
        (1, MAX),
        key("segment.ms", Long, "604800000", "log.roll.ms", "A segment of this age is closed"),
    ),
    key(
        "unclean.leader.election.enable",
        Boolean,
        "false",
        "unclean.leader.election.enable",
        "Kept for Kafka's tools: there is one replica",
    ),
];

/// Segments smaller than Kafka allows, for tests; not shown and not documented by Kafka either.
pub const INTERNAL_SEGMENT_BYTES: Key = number(
    Unit::Bytes,
    (14, INT),
    key("internal.segment.bytes", Int, "", "", "segment.bytes without its least value"),
);

pub fn find(name: &str) -> Option<&'static Key> {
    const HIDDEN: &Key = &INTERNAL_SEGMENT_BYTES;
    if name == HIDDEN.name {
        return Some(HIDDEN);
    }
    KEYS.iter().find(|key| key.name == name)
}

/// `; did you mean "retention.ms"?`, or nothing if no key is near.
pub(crate) fn hint(name: &str) -> String {
    let near = KEYS.iter().map(|key| (strsim::jaro_winkler(name, key.name), key.name));
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((likeness, near)) if likeness > 0.85 => format!("; did you mean \"{near}\"?"),
        _ => String::new(),
    }
}
