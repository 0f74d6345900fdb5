//! A topic's settings, typed: what the topic says, else what the broker says, else Kafka's default.

use std::collections::BTreeMap;

use flumen_records::{Compression, TimestampType};
use flumen_types::{ByteSize, Millis};
use thiserror::Error;

use crate::flush::Flush;
use crate::keys::{self, KEYS, Key, Kind, Unit};

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    #[error("Unknown topic config name: {0}{hint}", hint = keys::hint(.0))]
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
    pub flush: Flush,
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
            let in_force = &synonyms(key, topic, broker)[0];
            normalise(key, in_force.value).map_err(|error| error.said_of(in_force.name))
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
        TopicConfig {
            cleanup_policy: policy(&text("cleanup.policy")?),
            compression: text("compression.type")?.replace("uncompressed", "none").parse().ok(),
            delete_retention: millis("delete.retention.ms")?,
            file_delete_delay: millis("file.delete.delay.ms")?,
            flush: Flush::new(long("flush.messages")?, millis("flush.ms")?),
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
        }
        .consistent()
    }

    fn consistent(self) -> Result<TopicConfig, ConfigError> {
        if self.min_compaction_lag > self.max_compaction_lag {
            return Err(ConfigError::Value {
                key: "min.compaction.lag.ms".into(),
                value: self.min_compaction_lag.0.to_string(),
                expected: format!("{} or less, which max.compaction.lag.ms is", self.max_compaction_lag.0),
            });
        }
        Ok(self)
    }
}

impl ConfigError {
    /// A value that a broker's key gave is to be mended there.
    pub fn said_of(self, name: &str) -> ConfigError {
        match self {
            ConfigError::Value { value, expected, .. } => {
                ConfigError::Value { key: name.into(), value, expected }
            }
            unknown => unknown,
        }
    }
}

/// One of the places that can say a key's value, under the name that the key has there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym<'a> {
    pub name: &'a str,
    /// As it was written.
    pub value: &'a str,
    pub origin: Origin,
}

/// All places that say the key's value, as DescribeConfigs lists them; the first is in force.
pub fn synonyms<'a>(key: &'a Key, topic: &'a Texts, broker: &'a Texts) -> Vec<Synonym<'a>> {
    let broker_name = key.broker.unwrap_or(key.name);
    let of_topic = topic.get(key.name).map(|value| (key.name, value.as_str(), Origin::Topic));
    let of_broker = key.broker.and_then(|name| broker.get(name));
    let of_broker = of_broker.map(|value| (broker_name, value.as_str(), Origin::Broker));
    let default = (broker_name, key.default, Origin::Default);
    let all = of_topic.into_iter().chain(of_broker).chain([default]);
    all.map(|(name, value, origin)| Synonym { name, value, origin }).collect()
}

/// A key's value as it is in force, as it was written, and where it comes from.
pub fn effective<'a>(key: &'a Key, topic: &'a Texts, broker: &'a Texts) -> (&'a str, Origin) {
    let in_force = synonyms(key, topic, broker)[0];
    (in_force.value, in_force.origin)
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
        (Kind::Boolean, "remote.storage.enable") if value.eq_ignore_ascii_case("true") => {
            Err(wrong("false; there is no second storage to move records to"))
        }
        (Kind::Boolean, _) => match value.to_ascii_lowercase().as_str() {
            text @ ("true" | "false") => Ok(text.into()),
            _ => Err(wrong("true or false")),
        },
        (Kind::List, "cleanup.policy") => {
            let parts: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
            if parts.is_empty() || parts.iter().any(|part| !["delete", "compact"].contains(part)) {
                return Err(wrong("delete, compact, or compact,delete"));
            }
            Ok(parts.join(","))
        }
        (Kind::List, _) if value == "*" || value.split(',').all(is_replica) => Ok(value.into()),
        (Kind::List, _) => Err(wrong("* or partitions and brokers such as 0:1,1:1")),
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

/// `partition:broker`, or nothing, as Kafka has it.
fn is_replica(part: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let part = part.trim();
    part.is_empty()
        || part.split_once(':').is_some_and(|(partition, broker)| digits(partition) && digits(broker))
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
            ("remote.storage.enable", "true", "no second storage"),
        ] {
            let error = TopicConfig::resolve(&texts(&[(key, value)]), &Texts::new()).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(words), "{error}");
        }
        let error = TopicConfig::resolve(&texts(&[("retention", "1")]), &Texts::new()).unwrap_err();
        assert_eq!(error, ConfigError::Unknown("retention".into()));
        let near = ConfigError::Unknown("retentoin.ms".into()).to_string();
        assert_eq!(near, "Unknown topic config name: retentoin.ms; did you mean \"retention.ms\"?");
    }

    #[test]
    fn a_wrong_value_is_said_of_the_place_that_gave_it() {
        let broker = texts(&[("log.retention.ms", "soon")]);
        let error = TopicConfig::resolve(&Texts::new(), &broker).unwrap_err().to_string();
        assert!(error.starts_with("log.retention.ms = \"soon\""), "{error}");
    }

    #[test]
    fn a_record_cannot_have_to_wait_longer_than_it_may() {
        let lags = texts(&[("min.compaction.lag.ms", "2h"), ("max.compaction.lag.ms", "1h")]);
        let error = TopicConfig::resolve(&lags, &Texts::new()).unwrap_err().to_string();
        assert!(error.contains("max.compaction.lag.ms"), "{error}");
    }

    #[test]
    fn all_places_that_say_a_value_are_listed_the_one_in_force_first() {
        let (topic, broker) = (texts(&[("retention.ms", "1h")]), texts(&[("log.retention.ms", "7d")]));
        let key = keys::find("retention.ms").unwrap();
        let all: Vec<_> =
            synonyms(key, &topic, &broker).iter().map(|s| (s.name, s.value, s.origin)).collect();
        assert_eq!(
            all,
            [
                ("retention.ms", "1h", Origin::Topic),
                ("log.retention.ms", "7d", Origin::Broker),
                ("log.retention.ms", "604800000", Origin::Default),
            ]
        );
    }

    #[test]
    fn every_default_is_a_value_that_is_taken() {
        for key in KEYS {
            assert_eq!(normalise(key, key.default).as_deref(), Ok(key.default), "{}", key.name);
        }
    }

    #[test]
    fn keys_are_sorted_so_that_people_find_them() {
        assert!(KEYS.is_sorted_by_key(|key| key.name));
    }
}
