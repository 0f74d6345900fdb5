//! A topic's settings, typed: what the topic says, else what the broker says, else Kafka's default.

use std::collections::BTreeMap;

use flumen_records::{Compression, TimestampType};
use flumen_types::{ByteSize, Millis};
use thiserror::Error;

use crate::keys::{self, KEYS, Key, Kind, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("unknown topic key \"{0}\"")]
    Unknown(String),
    #[error("{key} = \"{value}\" is not {expected}")]
    Value { key: String, value: String, expected: String },
}

/// What happens to old records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// Every setting that the log goes by.
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    pub cleanup_policy: CleanupPolicy,
    /// `None`: as the producer sent it.
    pub compression: Option<Compression>,
    pub delete_retention: Millis,
    pub file_delete_delay: Millis,
    pub index_interval_bytes: u64,
    pub max_compaction_lag: Millis,
    pub max_message_bytes: usize,
    pub timestamp_after_max: Millis,
    pub timestamp_before_max: Millis,
    pub timestamp_type: TimestampType,
    pub min_cleanable_dirty_ratio: f64,
    pub min_compaction_lag: Millis,
    /// -1: no limit.
    pub retention_bytes: i64,
    /// -1: no limit.
    pub retention: Millis,
    pub segment_bytes: u64,
    pub segment_index_bytes: u64,
    pub segment_jitter: Millis,
    pub segment: Millis,
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Topic,
    Broker,
    Default,
}

pub type Texts = BTreeMap<String, String>;

impl Default for TopicConfig {
    fn default() -> Self {
        TopicConfig::resolve(&Texts::new(), &Texts::new()).expect("Kafka's defaults are valid")
    }
}

impl TopicConfig {
    /// From the topic's own keys over the broker's (`log.retention.ms` and the like).
    pub fn resolve(topic: &Texts, broker: &Texts) -> Result<TopicConfig, ConfigError> {
        for name in topic.keys() {
            keys::find(name).ok_or_else(|| ConfigError::Unknown(name.clone()))?;
        }
        let text = |name: &str| -> Result<String, ConfigError> {
            let key = keys::find(name).ok_or_else(|| ConfigError::Unknown(name.into()))?;
            let (value, _) = effective(key, topic, broker);
            normalise(key, value)
        };
        // `normalise` has checked the form of each number.
        let long = |name: &str| text(name).map(|value| value.parse::<i64>().unwrap_or_default());
        let millis = |name: &str| long(name).map(Millis);
        let segment_bytes = match topic.get(keys::INTERNAL_SEGMENT_BYTES.name) {
            Some(_) => long(keys::INTERNAL_SEGMENT_BYTES.name)?,
            None => long("segment.bytes")?,
        };
        for key in KEYS {
            text(key.name)?;
        }
        Ok(TopicConfig {
            cleanup_policy: policy(&text("cleanup.policy")?),
            compression: text("compression.type")?.replace("uncompressed", "none").parse().ok(),
            delete_retention: millis("delete.retention.ms")?,
            file_delete_delay: millis("file.delete.delay.ms")?,
            index_interval_bytes: long("index.interval.bytes")? as u64,
            max_compaction_lag: millis("max.compaction.lag.ms")?,
            max_message_bytes: long("max.message.bytes")? as usize,
            timestamp_after_max: millis("message.timestamp.after.max.ms")?,
            timestamp_before_max: millis("message.timestamp.before.max.ms")?,
            timestamp_type: match text("message.timestamp.type")?.as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio")?.parse().unwrap_or(0.5),
            min_compaction_lag: millis("min.compaction.lag.ms")?,
            retention_bytes: long("retention.bytes")?,
            retention: millis("retention.ms")?,
            segment_bytes: segment_bytes as u64,
            segment_index_bytes: long("segment.index.bytes")? as u64,
            segment_jitter: millis("segment.jitter.ms")?,
            segment: millis("segment.ms")?,
        })
    }
}

/// A key's value as it is in force, as it was written, and where it comes from.
pub fn effective<'a>(key: &Key, topic: &'a Texts, broker: &'a Texts) -> (&'a str, Origin) {
    if let Some(value) = topic.get(key.name) {
        return (value, Origin::Topic);
    }
    match key.broker.and_then(|name| broker.get(name)) {
        Some(value) => (value, Origin::Broker),
        None => (key.default, Origin::Default),
    }
}

/// The value as Kafka's tools write it ("7d" becomes "604800000"), or what is wrong with it.
pub fn normalise(key: &Key, value: &str) -> Result<String, ConfigError> {
    let value = value.trim();
    let wrong = |expected: &str| ConfigError::Value {
        key: key.name.into(),
        value: value.into(),
        expected: expected.into(),
    };
    match (key.kind, key.name) {
        (Kind::Boolean, _) => match value.to_ascii_lowercase().as_str() {
            text @ ("true" | "false") => Ok(text.into()),
            _ => Err(wrong("true or false")),
        },
        (Kind::List, _) => {
            let parts: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
            if parts.is_empty() || parts.iter().any(|part| !["delete", "compact"].contains(part)) {
                return Err(wrong("delete, compact, or compact,delete"));
            }
            Ok(parts.join(","))
        }
        (Kind::Text, "compression.type") => {
            const TYPES: [&str; 6] = ["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
            one_of(value, &TYPES)
                .ok_or_else(|| wrong("one of uncompressed, zstd, lz4, snappy, gzip, producer"))
        }
        (Kind::Text, _) => one_of(value, &["CreateTime", "LogAppendTime"])
            .ok_or_else(|| wrong("CreateTime or LogAppendTime")),
        (Kind::Double, _) => match value.parse::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(value.into()),
            _ => Err(wrong("a number from 0 to 1")),
        },
        (Kind::Int | Kind::Long, _) => {
            whole(key, value).map(|number| number.to_string()).map_err(|e| wrong(&e))
        }
    }
}

fn one_of(value: &str, known: &[&str]) -> Option<String> {
    known.contains(&value).then(|| value.into())
}

fn whole(key: &Key, value: &str) -> Result<i64, String> {
    let number = match key.unit {
        Unit::None => value.parse().map_err(|_| "a whole number".to_string())?,
        Unit::Millis => {
            value.parse::<Millis>().map_err(|_| "milliseconds, or a time such as \"7d\"".to_string())?.0
        }
        Unit::Bytes => {
            value.parse::<ByteSize>().map_err(|_| "bytes, or a size such as \"64MiB\"".to_string())?.0
        }
    };
    if number < key.least || number > key.most {
        return Err(match key.most {
            i64::MAX => format!("{} or more", key.least),
            most => format!("from {} to {most}", key.least),
        });
    }
    Ok(number)
}

fn policy(text: &str) -> CleanupPolicy {
    let has = |word| text.split(',').any(|part| part == word);
    CleanupPolicy { delete: has("delete"), compact: has("compact") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(pairs: &[(&str, &str)]) -> Texts {
        pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
    }

    #[test]
    fn the_topic_wins_over_the_broker_and_the_broker_over_the_default() {
        let broker = texts(&[("log.retention.ms", "7d"), ("log.segment.bytes", "64MiB")]);
        let config = TopicConfig::resolve(
            &texts(&[("retention.ms", "1h"), ("cleanup.policy", "compact,delete")]),
            &broker,
        )
        .unwrap();
        assert_eq!(config.retention, Millis(3_600_000));
        assert_eq!(config.segment_bytes, 64 << 20);
        assert_eq!(config.cleanup_policy, CleanupPolicy { delete: true, compact: true });
        assert_eq!(TopicConfig::default().retention, Millis(604_800_000));
        let key = keys::find("retention.ms").unwrap();
        assert_eq!(effective(key, &Texts::new(), &broker), ("7d", Origin::Broker));
        assert_eq!(normalise(key, "7d").unwrap(), "604800000");
    }

    #[test]
    fn wrong_values_are_said_in_words() {
        for (key, value, words) in [
            ("retention.ms", "soon", "milliseconds"),
            ("retention.ms", "-2", "milliseconds"),
            ("segment.bytes", "100", "from 1048576"),
            ("cleanup.policy", "shred", "delete, compact"),
            ("min.cleanable.dirty.ratio", "2", "from 0 to 1"),
            ("message.timestamp.type", "Never", "CreateTime"),
            ("compression.type", "brotli", "zstd"),
            ("preallocate", "maybe", "true or false"),
        ] {
            let error = TopicConfig::resolve(&texts(&[(key, value)]), &Texts::new()).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(words), "{error}");
        }
        let error = TopicConfig::resolve(&texts(&[("retention", "1")]), &Texts::new()).unwrap_err();
        assert_eq!(error, ConfigError::Unknown("retention".into()));
    }

    #[test]
    fn keys_are_sorted_so_that_people_find_them() {
        assert!(KEYS.is_sorted_by_key(|key| key.name));
    }
}
