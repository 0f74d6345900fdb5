//! Records that could not be done, as they go to the dead-letter topic.
//!
//! Key, value, timestamp and headers are the record's own; what happened stands in headers behind them:
//!
//! ```text
//! flumen.error.plugin     flumen.error.version    flumen.error.stage   source | transform | sink
//! flumen.error.topic      flumen.error.partition  flumen.error.offset  where the record lies
//! flumen.error.timestamp  when it was parked      flumen.error.reason  flumen.error.attempts
//! flumen.error.origin     of a source's input, in place of topic, partition and offset
//! flumen.error.truncated  the length of the record's value, where the letter holds the beginning of it
//! ```
//!
//! A letter that its topic does not take is shortened: the beginning of the value, without the record's
//! headers, at the time at which it was parked. Its place tells where the whole of it lies.
//!
//! A record whose own bytes are malformed is parked as they are, as a value.

use std::sync::Arc;

use flumen_records::{NewRecord, RecordIter, RecordRef, record_len, write_record};
use flumen_types::{Timestamp, partitioner};

use crate::io::Packed;
use crate::route::Routed;

/// What all letters of a plugin have in common.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub plugin: String,
    pub version: String,
    pub stage: &'static str,
    pub topic: Arc<str>,
    pub partitions: u32,
}

/// One record, and why.
#[derive(Clone, Debug)]
pub(crate) struct Letter<'a> {
    pub body: Body<'a>,
    pub place: Place<'a>,
    pub reason: &'a str,
    pub attempts: u32,
    /// The record's own.
    pub timestamp: i64,
}

#[derive(Clone, Debug)]
pub(crate) enum Body<'a> {
    /// A record with its length in front, as it lies in a section.
    Record(&'a [u8]),
    Bytes(&'a [u8]),
}

#[derive(Clone, Debug)]
pub(crate) enum Place<'a> {
    Log { topic: &'a str, partition: u32, offset: i64 },
    Input(&'a str),
}

impl Sender {
    /// Each letter by its key; they are few, so that each is sent by itself.
    pub(crate) fn pack(&self, letter: &Letter<'_>, now_ms: i64) -> Routed {
        self.write(letter, now_ms, None)
    }

    /// No more than so many bytes of its value, and of its key all or nothing.
    pub(crate) fn pack_shortened(&self, letter: &Letter<'_>, now_ms: i64, bytes_max: usize) -> Routed {
        self.write(letter, now_ms, Some(bytes_max))
    }

    fn write(&self, letter: &Letter<'_>, now_ms: i64, bytes_max: Option<usize>) -> Routed {
        let mut facts = vec![
            ("plugin", self.plugin.clone()),
            ("version", self.version.clone()),
            ("stage", self.stage.to_owned()),
            ("timestamp", now_ms.to_string()),
            ("reason", letter.reason.to_owned()),
            ("attempts", letter.attempts.to_string()),
        ];
        match letter.place {
            Place::Log { topic, partition, offset } => facts.extend([
                ("topic", topic.to_owned()),
                ("partition", partition.to_string()),
                ("offset", offset.to_string()),
            ]),
            Place::Input(origin) => facts.push(("origin", origin.to_owned())),
        }

        let record: Option<RecordRef<'_>> = match letter.body {
            Body::Record(raw) => RecordIter::new(raw, 1).next().and_then(Result::ok),
            Body::Bytes(_) => None,
        };
        let mut headers: Vec<(&[u8], Option<&[u8]>)> = Vec::new();
        let (mut key, mut value) = match (&record, &letter.body) {
            (Some(record), _) => (record.key, record.value),
            (None, Body::Record(bytes) | Body::Bytes(bytes)) => (None, Some(*bytes)),
        };
        let partition = key.map_or(0, |key| partitioner::for_key(key, self.partitions));
        let mut timestamp = if letter.timestamp >= 0 { letter.timestamp } else { now_ms };
        match (bytes_max, &record) {
            (Some(bytes_max), _) => {
                facts.push(("truncated", value.map_or(0, <[u8]>::len).to_string()));
                value = value.map(|value| &value[..value.len().min(bytes_max)]);
                key = key.filter(|key| key.len() <= bytes_max);
                timestamp = now_ms;
            }
            (None, Some(record)) => headers.extend(record.headers()),
            (None, None) => {}
        }
        let names: Vec<String> = facts.iter().map(|(name, _)| format!("flumen.error.{name}")).collect();
        let ours =
            names.iter().zip(&facts).map(|(name, (_, value))| (name.as_bytes(), Some(value.as_bytes())));
        headers.extend(ours);
        let new = NewRecord { timestamp: Timestamp(timestamp), key, value, headers: &headers };
        let mut section = Vec::with_capacity(record_len(0, 0, &new));
        write_record(&mut section, 0, 0, &new);
        Routed {
            topic: self.topic.clone(),
            partition,
            packed: Packed { base_timestamp: Timestamp(timestamp), count: 1, records: section.into() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender() -> Sender {
        let (plugin, version) = ("p".to_owned(), "1.0.0".to_owned());
        Sender { plugin, version, stage: "sink", topic: "dlq".into(), partitions: 4 }
    }

    #[test]
    fn a_letter_is_the_record_and_what_happened() {
        let mut raw = Vec::new();
        let headers: [(&[u8], Option<&[u8]>); 1] = [(b"h", Some(b"1"))];
        let record = NewRecord { timestamp: Timestamp(0), key: Some(b"k"), value: None, headers: &headers };
        write_record(&mut raw, 9, 3, &record);
        let place = Place::Log { topic: "in", partition: 2, offset: 77 };
        let letter = Letter { body: Body::Record(&raw), place, reason: "no", attempts: 3, timestamp: 55 };
        let routed = sender().pack(&letter, 1000);
        assert_eq!(routed.partition, partitioner::for_key(b"k", 4));
        assert_eq!(routed.packed.base_timestamp, Timestamp(55));
        let record = RecordIter::new(&routed.packed.records, 1).next().unwrap().unwrap();
        assert_eq!((record.key, record.value), (Some(&b"k"[..]), None));
        let headers: Vec<(String, String)> = record
            .headers()
            .map(|(k, v)| (String::from_utf8_lossy(k).into(), String::from_utf8_lossy(v.unwrap()).into()))
            .collect();
        assert_eq!(headers[0], ("h".into(), "1".into()));
        for (name, value) in [
            ("plugin", "p"),
            ("topic", "in"),
            ("partition", "2"),
            ("offset", "77"),
            ("reason", "no"),
            ("attempts", "3"),
        ] {
            assert!(headers.contains(&(format!("flumen.error.{name}"), value.into())), "{name}");
        }
    }

    #[test]
    fn a_shortened_letter_holds_the_beginning_and_the_place() {
        let mut raw = Vec::new();
        let headers: [(&[u8], Option<&[u8]>); 1] = [(b"h", Some(b"1"))];
        let value = [b'x'; 100];
        let record =
            NewRecord { timestamp: Timestamp(0), key: Some(b"key"), value: Some(&value), headers: &headers };
        write_record(&mut raw, 0, 0, &record);
        let place = Place::Log { topic: "in", partition: 2, offset: 77 };
        let letter = Letter { body: Body::Record(&raw), place, reason: "no", attempts: 3, timestamp: 55 };
        for (bytes_max, key) in [(10, Some(&b"key"[..])), (0, None)] {
            let routed = sender().pack_shortened(&letter, 1000, bytes_max);
            assert_eq!(routed.partition, partitioner::for_key(b"key", 4));
            assert_eq!(routed.packed.base_timestamp, Timestamp(1000));
            let record = RecordIter::new(&routed.packed.records, 1).next().unwrap().unwrap();
            assert_eq!((record.key, record.value), (key, Some(&value[..bytes_max])));
            let names: Vec<&[u8]> = record.headers().map(|(name, _)| name).collect();
            assert!(!names.contains(&&b"h"[..]) && names.contains(&&b"flumen.error.offset"[..]));
            let truncated = record.headers().find(|(name, _)| *name == b"flumen.error.truncated");
            assert_eq!(truncated.unwrap().1, Some(&b"100"[..]));
        }
    }

    #[test]
    fn malformed_bytes_are_parked_as_they_are() {
        let letter = Letter {
            body: Body::Record(b"\xff\xff"),
            place: Place::Input("a.csv:7"),
            reason: "",
            attempts: 1,
            timestamp: -1,
        };
        let routed = sender().pack(&letter, 1000);
        let record = RecordIter::new(&routed.packed.records, 1).next().unwrap().unwrap();
        assert_eq!(record.value, Some(&b"\xff\xff"[..]));
        assert_eq!(routed.packed.base_timestamp, Timestamp(1000));
    }
}
