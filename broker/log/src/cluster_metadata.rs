//! What the log of Kafka's own controller says of topics, so that a directory of Kafka's can be adopted
//! with its topics' settings.
//!
//! ```text
//! record value = frame version uvarint (1) | api key uvarint | version uvarint | message
//! 2 TopicRecord        name, topic id                             makes a topic
//! 3 PartitionRecord    partition i32, topic id, ...               gives it a partition
//! 4 ConfigRecord       resource type i8, name, key, value         null: back to the default
//! 9 RemoveTopicRecord  topic id
//! ```
//! Strings are compact, ids 16 bytes; tagged fields follow and are passed over.
//!
//! Invariants: replayed in order, from a snapshot or the first record on. What does not read is told, for
//! the caller to say so, and changes nothing. It lacks all other records: brokers, ACLs, quotas.

use std::collections::BTreeMap;

use flumen_records::{Batch, BatchError};
use flumen_types::TopicId;
use thiserror::Error;
use uuid::Uuid;

const TOPIC: u64 = 2;
const PARTITION: u64 = 3;
const CONFIG: u64 = 4;
const REMOVE_TOPIC: u64 = 9;
/// Of a ConfigRecord.
const RESOURCE_TOPIC: i8 = 2;
const FRAME_VERSION: u64 = 1;
/// The controller writes a few records at a time.
const BATCH_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, Error)]
pub enum Unreadable {
    #[error("a batch of the controller's log")]
    Batch(#[from] BatchError),
    #[error("a record of kind {kind} of the controller's log is cut short or of an unknown shape")]
    Record { kind: u64 },
    #[error("a record of the controller's log has frame version {0}, which is newer than this")]
    Frame(u64),
}

/// Topics and their settings as of the last record that was taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterMetadata {
    topics: BTreeMap<Uuid, TopicMetadata>,
    configs: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicMetadata {
    pub name: String,
    pub partitions: i32,
}

impl ClusterMetadata {
    /// Takes in a batch of the log or of a snapshot of it.
    pub fn take(&mut self, batch: &Batch) -> Result<(), Unreadable> {
        if batch.header().is_control() {
            return Ok(());
        }
        batch.verify_crc()?;
        for record in &batch.records(BATCH_BYTES_MAX)? {
            if let Some(value) = record?.value {
                self.take_record(value)?;
            }
        }
        Ok(())
    }

    /// The topics with their ids, and what is set on each.
    pub fn topics(&self) -> impl Iterator<Item = (TopicId, &TopicMetadata, BTreeMap<String, String>)> {
        self.topics.iter().map(|(id, topic)| {
            let configs = self.configs.get(&topic.name).cloned().unwrap_or_default();
            (TopicId(*id), topic, configs)
        })
    }

    fn take_record(&mut self, value: &[u8]) -> Result<(), Unreadable> {
        let mut reader = Reader { bytes: value, kind: 0 };
        let frame = reader.uvarint()?;
        if frame != FRAME_VERSION {
            return Err(Unreadable::Frame(frame));
        }
        reader.kind = reader.uvarint()?;
        let _version = reader.uvarint()?;
        match reader.kind {
            TOPIC => {
                let (name, id) = (reader.string()?.unwrap_or_default(), reader.id()?);
                self.topics.insert(id, TopicMetadata { name, partitions: 0 });
            }
            PARTITION => {
                let (partition, id) = (reader.i32()?, reader.id()?);
                if let Some(topic) = self.topics.get_mut(&id) {
                    topic.partitions = topic.partitions.max(partition.saturating_add(1));
                }
            }
            CONFIG => {
                let (resource, name) = (reader.i8()?, reader.string()?.unwrap_or_default());
                let (key, value) = (reader.string()?.unwrap_or_default(), reader.string()?);
                if resource == RESOURCE_TOPIC {
                    let configs = self.configs.entry(name).or_default();
                    match value {
                        Some(value) => drop(configs.insert(key, value)),
                        None => drop(configs.remove(&key)),
                    }
                }
            }
            REMOVE_TOPIC => {
                if let Some(topic) = self.topics.remove(&reader.id()?) {
                    self.configs.remove(&topic.name);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    kind: u64,
}

impl<'a> Reader<'a> {
    fn short(&self) -> Unreadable {
        Unreadable::Record { kind: self.kind }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or_else(|| self.short())?;
        self.bytes = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| self.short())
    }

    fn i8(&mut self) -> Result<i8, Unreadable> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    fn i32(&mut self) -> Result<i32, Unreadable> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    fn id(&mut self) -> Result<Uuid, Unreadable> {
        Ok(Uuid::from_bytes(self.fixed()?))
    }

    fn uvarint(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.fixed()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.short())
    }

    /// `None` is null.
    fn string(&mut self) -> Result<Option<String>, Unreadable> {
        let Some(length) = self.uvarint()?.checked_sub(1) else { return Ok(None) };
        let length = usize::try_from(length).map_err(|_| self.short())?;
        let text = std::str::from_utf8(self.take(length)?).map_err(|_| self.short())?;
        Ok(Some(text.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, Compression, NewRecord};

    use super::*;

    const ID: [u8; 16] = [7; 16];

    fn text(value: &str) -> Vec<u8> {
        [&[value.len() as u8 + 1], value.as_bytes()].concat()
    }

    fn record(kind: u8, fields: &[&[u8]]) -> Vec<u8> {
        [&[1, kind, 0], &fields.concat()[..], &[0]].concat()
    }

    fn batch(values: &[Vec<u8>]) -> Batch {
        let mut builder = BatchBuilder::new(Compression::None);
        for value in values {
            builder.push(&NewRecord { value: Some(value), ..NewRecord::default() });
        }
        Batch::parse(builder.build().unwrap()).unwrap()
    }

    fn orders() -> Vec<Vec<u8>> {
        vec![
            record(2, &[&text("orders"), &ID]),
            record(3, &[&[0, 0, 0, 0], &ID, &[9, 9, 9]]),
            record(3, &[&[0, 0, 0, 2], &ID]),
            record(4, &[&[2], &text("orders"), &text("cleanup.policy"), &text("compact")]),
            record(4, &[&[2], &text("orders"), &text("retention.ms"), &text("5")]),
            record(4, &[&[4], &text("1"), &text("log.retention.ms"), &text("6")]),
            record(12, &[&[1, 2, 3]]),
        ]
    }

    #[test]
    fn topics_have_their_partitions_and_settings() {
        let mut metadata = ClusterMetadata::default();
        metadata.take(&batch(&orders())).unwrap();
        metadata.take(&batch(&[record(4, &[&[2], &text("orders"), &text("retention.ms"), &[0]])])).unwrap();
        let (id, topic, configs) = metadata.topics().next().unwrap();
        assert_eq!((id.0.as_bytes(), &*topic.name, topic.partitions), (&ID, "orders", 3));
        assert_eq!(configs, [("cleanup.policy".to_string(), "compact".to_string())].into());
    }

    #[test]
    fn a_removed_topic_leaves_nothing() {
        let mut metadata = ClusterMetadata::default();
        metadata.take(&batch(&orders())).unwrap();
        metadata.take(&batch(&[record(9, &[&ID])])).unwrap();
        assert_eq!(metadata, ClusterMetadata::default());
    }

    #[test]
    fn records_that_are_cut_anywhere_are_told_and_do_no_harm() {
        for whole in orders().into_iter().take(6) {
            // The last byte is the tagged fields', which are passed over.
            for length in 0..whole.len() - 1 {
                let mut metadata = ClusterMetadata::default();
                let cut = metadata.take(&batch(&[whole[..length].to_vec()]));
                if let Err(error) = cut {
                    assert!(!error.to_string().is_empty());
                    assert_eq!(metadata, ClusterMetadata::default());
                }
            }
        }
    }

    #[test]
    fn a_newer_frame_is_told() {
        let newer = ClusterMetadata::default().take(&batch(&[vec![2, 2, 0]])).unwrap_err();
        assert!(newer.to_string().contains("frame version 2"));
    }
}
