//! A dead letter: what the headers `flumen.error.*` of a record say about it.

use bytes::Bytes;
use flumen_client::Record;
use serde_json::{Value, json};

const PREFIX: &[u8] = b"flumen.error.";

/// Why a record was refused, and where it came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) plugin: String,
    pub(crate) version: String,
    pub(crate) topic: String,
    pub(crate) partition: Option<i32>,
    pub(crate) offset: Option<i64>,
    /// For what a source could not read: the place in its input, instead of a topic's.
    pub(crate) origin: String,
    /// When it was refused, in milliseconds since 1970; -1 if it does not say.
    pub(crate) timestamp: i64,
    pub(crate) stage: String,
    pub(crate) reason: String,
    pub(crate) attempts: u64,
}

impl Letter {
    /// `None` for a record that no plugin has refused.
    pub(crate) fn of(record: &Record) -> Option<Letter> {
        let text = |name: &str| {
            // A record that was refused twice says so twice: the last one is about now.
            let full = [PREFIX, name.as_bytes()].concat();
            let found = record.headers.iter().rev().find(|(header, _)| *header == full);
            found.map(|(_, value)| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned())
        };
        Some(Letter {
            plugin: text("plugin")?,
            version: text("version").unwrap_or_default(),
            topic: text("topic").unwrap_or_default(),
            partition: text("partition").and_then(|text| text.parse().ok()),
            offset: text("offset").and_then(|text| text.parse().ok()),
            origin: text("origin").unwrap_or_default(),
            timestamp: text("timestamp").and_then(|text| text.parse().ok()).unwrap_or(-1),
            stage: text("stage").unwrap_or_default(),
            reason: text("reason").unwrap_or_default(),
            attempts: text("attempts").and_then(|text| text.parse().ok()).unwrap_or(0),
        })
    }

    /// `topic-partition@offset`, or a place in a source's input, as far as it is known.
    pub(crate) fn from(&self) -> String {
        let number = |number: Option<i64>| number.map_or_else(|| "?".into(), |number| number.to_string());
        if self.topic.is_empty() {
            return if self.origin.is_empty() { "-".into() } else { self.origin.clone() };
        }
        format!("{}-{}@{}", self.topic, number(self.partition.map(i64::from)), number(self.offset))
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "plugin": self.plugin, "version": self.version, "topic": self.topic, "partition": self.partition,
            "offset": self.offset, "origin": self.origin, "timestamp": self.timestamp, "stage": self.stage, "reason": self.reason,
            "attempts": self.attempts,
        })
    }
}

/// Whether the dead-letter topic did not take the record whole.
pub(crate) fn is_shortened(record: &Record) -> bool {
    record.headers.iter().any(|(name, _)| name.as_ref() == b"flumen.error.truncated")
}

/// The record as it was before it was refused.
pub(crate) fn original(record: &Record) -> Record {
    let is_ours = |name: &Bytes| name.starts_with(PREFIX);
    let headers = record.headers.iter().filter(|(name, _)| !is_ours(name)).cloned().collect();
    Record { headers, ..record.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: &[(&'static str, &'static str)]) -> Record {
        let headers = headers.iter().map(|(name, value)| (Bytes::from(*name), Some(Bytes::from(*value))));
        Record { headers: headers.collect(), ..Record::default() }
    }

    #[test]
    fn the_headers_tell_the_story() {
        let dead = record(&[
            ("trace", "7"),
            ("flumen.error.plugin", "big-orders"),
            ("flumen.error.topic", "orders"),
            ("flumen.error.partition", "2"),
            ("flumen.error.offset", "41"),
            ("flumen.error.reason", "not JSON"),
            ("flumen.error.attempts", "3"),
        ]);
        let letter = Letter::of(&dead).unwrap();
        assert_eq!((letter.from().as_str(), letter.attempts, letter.timestamp), ("orders-2@41", 3, -1));
        assert_eq!(original(&dead), record(&[("trace", "7")]));
    }

    #[test]
    fn refused_again_the_last_reason_counts() {
        let dead = record(&[("flumen.error.plugin", "old"), ("flumen.error.plugin", "new")]);
        assert_eq!(Letter::of(&dead).unwrap().plugin, "new");
    }

    #[test]
    fn what_a_source_could_not_read_came_from_its_input() {
        let dead = record(&[("flumen.error.plugin", "csv"), ("flumen.error.origin", "inbox/a.csv:7")]);
        assert_eq!(Letter::of(&dead).unwrap().from(), "inbox/a.csv:7");
    }

    #[test]
    fn another_record_is_no_letter() {
        assert_eq!(Letter::of(&record(&[("flumen.error.reason", "x")])), None);
    }
}
