//! `[topics.NAME]`: partitions, and Kafka's topic keys under Kafka's names.
//!
//! A key that is not set takes the broker's default, and follows it when that changes.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use flumen_types::{ByteSize, Millis};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::field::{At, Ctx, Field, choice};
use crate::section::{Habits, Section, section};
use crate::tree::Value;

section! {
    /// A topic that is created, and kept to these settings.
    pub struct Topic {
        /// How many partitions it has; `num.partitions` of the broker if unset. Can grow, never shrink.
        pub partitions: Option<NonZeroU32> = ["partitions", null],
        /// `delete` drops old segments, `compact` keeps the last record of each key; `compact,delete` both.
        pub cleanup_policy: Option<CleanupPolicy> = ["cleanup.policy", null],
        /// Records older than this go; -1 keeps everything.
        pub retention: Option<Millis> = ["retention.ms", null],
        /// Segments go while a partition is larger than this; -1 keeps everything.
        pub retention_bytes: Option<ByteSize> = ["retention.bytes", null],
        /// The size at which a new segment file starts.
        pub segment_bytes: Option<ByteSize> = ["segment.bytes", null; min 1_048_576],
        /// The age at which a new segment file starts.
        pub segment_age: Option<Millis> = ["segment.ms", null; min 1],
        /// Spreads the start of new segments over so long.
        pub segment_jitter: Option<Millis> = ["segment.jitter.ms", null; min 0],
        /// The size of a segment's index.
        pub segment_index_bytes: Option<ByteSize> = ["segment.index.bytes", null; min 12],
        /// Bytes between two entries of an index.
        pub index_interval_bytes: Option<ByteSize> = ["index.interval.bytes", null; min 0],
        /// How long a deleted segment's file stays, for readers that have it open.
        pub file_delete_delay: Option<Millis> = ["file.delete.delay.ms", null; min 0],
        /// Set, an acknowledgement does not wait for the disk, which is told after so many records. Unset: before each acknowledgement.
        pub flush_messages: Option<u64> = ["flush.messages", null; min 1],
        /// Set, an acknowledgement does not wait for the disk, which is told after so long. Unset: before each acknowledgement.
        pub flush_interval: Option<Millis> = ["flush.ms", null; min 0],
        /// The largest record batch.
        pub max_message_bytes: Option<ByteSize> = ["max.message.bytes", null; min 0],
        /// What batches are stored with; `producer` keeps them as they were sent.
        pub compression_type: Option<CompressionType> = ["compression.type", null],
        /// Whose clock a record's timestamp is: the producer's, or the broker's at append.
        pub message_timestamp_type: Option<TimestampType> = ["message.timestamp.type", null],
        /// How far in the past a producer's timestamp may lie.
        pub message_timestamp_before_max: Option<Millis> = ["message.timestamp.before.max.ms", null; min 0],
        /// How far in the future a producer's timestamp may lie.
        pub message_timestamp_after_max: Option<Millis> = ["message.timestamp.after.max.ms", null; min 0],
        /// How long a tombstone stays after compaction, so that readers see the deletion.
        pub delete_retention: Option<Millis> = ["delete.retention.ms", null; min 0],
        /// A record younger than this is not compacted away.
        pub min_compaction_lag: Option<Millis> = ["min.compaction.lag.ms", null; min 0],
        /// A record older than this is compacted even if little else is to do.
        pub max_compaction_lag: Option<Millis> = ["max.compaction.lag.ms", null; min 1],
        /// The part of a log that is not compacted yet at which compaction starts.
        pub min_cleanable_dirty_ratio: Option<f64> = ["min.cleanable.dirty.ratio", null],
    }
}

impl Topic {
    /// What the file sets, under Kafka's keys and in Kafka's notation.
    pub fn configs(&self) -> BTreeMap<String, String> {
        let entries = self.entries().into_iter().filter(|entry| entry.key != "partitions");
        entries.filter_map(|entry| Some((entry.key.to_string(), entry.kafka?))).collect()
    }
}

pub(crate) const HABITS: Habits = Habits { short: &[], elsewhere, judge };

/// The log's own judgement of a topic's key: ranges that it cannot work outside of.
pub(crate) fn judge(key: &str, kafka: &str) -> Option<String> {
    match flumen_log::config::normalise(flumen_log::keys::find(key)?, kafka) {
        Err(flumen_log::config::ConfigError::Value { expected, .. }) => Some(expected),
        _ => None,
    }
}

/// Keys of Kafka's topics that mean nothing here, and names that TOML reads otherwise than meant.
fn elsewhere(key: &str) -> Option<String> {
    let hint = match key {
        "replication.factor" | "min.insync.replicas" | "unclean.leader.election.enable" => {
            "one broker keeps one copy; leave it out"
        }
        "num.partitions" => "the key is \"partitions\"",
        key if key.ends_with(".partitions") => "a topic whose name has a dot is quoted: [topics.\"a.b\"]",
        _ => return None,
    };
    Some(hint.to_string())
}

choice! {
    /// What a topic's batches are compressed with.
    CompressionType {
        /// As the producer sent them
        Producer = "producer",
        /// Not at all
        Uncompressed = "uncompressed",
        /// zstd
        Zstd = "zstd",
        /// LZ4
        Lz4 = "lz4",
        /// Snappy
        Snappy = "snappy",
        /// gzip
        Gzip = "gzip",
    }
    expected "\"producer\", \"uncompressed\", \"zstd\", \"lz4\", \"snappy\" or \"gzip\""
}

choice! {
    /// Whose clock a record's timestamp is.
    TimestampType {
        /// The producer's
        CreateTime = "CreateTime",
        /// The broker's, at append
        LogAppendTime = "LogAppendTime",
    }
    expected "\"CreateTime\" or \"LogAppendTime\""
}

/// What happens to old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub compact: bool,
    pub delete: bool,
}

impl CleanupPolicy {
    fn as_str(self) -> &'static str {
        match (self.compact, self.delete) {
            (true, true) => "compact,delete",
            (true, false) => "compact",
            (false, _) => "delete",
        }
    }
}

impl Serialize for CleanupPolicy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl JsonSchema for CleanupPolicy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "CleanupPolicy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "What happens to old records",
            "enum": ["delete", "compact", "compact,delete", "delete,compact"]
        })
    }
}

impl Field for CleanupPolicy {
    const TYPE: &'static str = "one of \"delete\", \"compact\", \"compact,delete\"";
    const EXPECTED: &'static str = "expected \"delete\", \"compact\" or \"compact,delete\"";
    const PLAIN_TEXT: bool = true;

    fn read(at: At<'_>, ctx: &mut Ctx<'_>) -> Option<CleanupPolicy> {
        let mut policy = CleanupPolicy { compact: false, delete: false };
        let words = match &at.node.value {
            Value::Text(text) => text.split(',').map(str::trim).collect(),
            _ => Vec::new(),
        };
        let known = words.iter().all(|word| match *word {
            "compact" => !std::mem::replace(&mut policy.compact, true),
            "delete" => !std::mem::replace(&mut policy.delete, true),
            _ => false,
        });
        if words.is_empty() || !known {
            ctx.wrong::<Self>(at);
            return None;
        }
        Some(policy)
    }

    fn kafka(&self) -> Option<String> {
        Some(self.as_str().to_string())
    }
}
