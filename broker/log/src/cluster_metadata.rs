//! What the log of Kafka's own controller says of topics, so that a directory of Kafka's can be adopted
//! with its topics' settings; and the same written, so that Kafka can take a directory of ours.
//!
//! ```text
//! record value = frame version uvarint (1) | api key uvarint | version uvarint | message
//! 2  TopicRecord         name, topic id                            makes a topic
//! 3  PartitionRecord     partition i32, topic id, replicas, isr, removing, adding: i32s each,
//!                        leader i32, leader epoch i32, partition epoch i32, directories
//! 4  ConfigRecord        resource type i8, name, key, value        null: back to the default
//! 9  RemoveTopicRecord   topic id
//! 12 FeatureLevelRecord  name, level i16                           written only
//! 15 ProducerIdsRecord   broker i32, broker epoch i64, next i64    written only
//! ```
//! Strings and arrays are compact, ids 16 bytes; tagged fields follow and are passed over.
//!
//! Invariants: replayed in order, from a snapshot or the first record on. What does not read is told, for
//! the caller to say so, and changes nothing. It lacks all other records: brokers, ACLs, quotas.

use std::collections::BTreeMap;

use bytes::Bytes;
use flumen_records::{Batch, BatchBuilder, BatchError, Check, Compression, NewRecord};
use flumen_types::TopicId;
use thiserror::Error;
use uuid::Uuid;

const TOPIC: u64 = 2;
const PARTITION: u64 = 3;
const CONFIG: u64 = 4;
const REMOVE_TOPIC: u64 = 9;
/// Of a ConfigRecord.
const FEATURE_LEVEL: u8 = 12;
const PRODUCER_IDS: u8 = 15;
/// Kafka 4.0's own: what 4.0 and later read, and raise when they are told to.
const METADATA_VERSION: i16 = 25;
const FEATURES: [(&str, i16); 3] =
    [("metadata.version", METADATA_VERSION), ("group.version", 1), ("transaction.version", 2)];
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
        Check::ClusterMetadata.verify(batch)?;
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

/// What the controller of a new cluster of one node is to begin with.
#[derive(Clone, Debug)]
pub struct Bootstrap<'a> {
    pub node_id: i32,
    /// `directory.id` of its only log directory.
    pub directory: Uuid,
    /// No producer id from here on has been given.
    pub next_producer_id: i64,
    pub topics: Vec<BootstrapTopic<'a>>,
}

#[derive(Clone, Debug)]
pub struct BootstrapTopic<'a> {
    pub name: &'a str,
    pub id: TopicId,
    pub partitions: i32,
    pub configs: &'a BTreeMap<String, String>,
}

impl Bootstrap<'_> {
    /// One batch, as it stands in `bootstrap.checkpoint`.
    pub fn batch(&self) -> Result<Bytes, BatchError> {
        let mut builder = BatchBuilder::new(Compression::None);
        let mut push = |record: Writer| {
            let value = record.finish();
            builder.push(&NewRecord { value: Some(&value), ..NewRecord::default() });
        };
        for (name, level) in FEATURES {
            push(Writer::new(FEATURE_LEVEL, 0).string(name).bytes(&level.to_be_bytes()));
        }
        let ids = Writer::new(PRODUCER_IDS, 0).i32(self.node_id).bytes(&(-1_i64).to_be_bytes());
        push(ids.bytes(&self.next_producer_id.to_be_bytes()));
        for topic in &self.topics {
            push(Writer::new(TOPIC as u8, 0).string(topic.name).bytes(topic.id.0.as_bytes()));
            for partition in 0..topic.partitions {
                push(self.partition(topic, partition));
            }
            for (key, value) in topic.configs {
                let config = Writer::new(CONFIG as u8, 0).bytes(&RESOURCE_TOPIC.to_be_bytes());
                push(config.string(topic.name).string(key).string(value));
            }
        }
        builder.build()
    }

    /// On the only node, led by nobody until that has come up.
    fn partition(&self, topic: &BootstrapTopic<'_>, partition: i32) -> Writer {
        let here = |record: Writer| record.bytes(&[2]).i32(self.node_id);
        let record = Writer::new(PARTITION as u8, 1).i32(partition).bytes(topic.id.0.as_bytes());
        let record = here(here(record)).bytes(&[1]).bytes(&[1]);
        record.i32(-1).i32(0).i32(0).bytes(&[2]).bytes(self.directory.as_bytes())
    }
}

/// One record's value.
struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8, version: u8) -> Writer {
        Writer(vec![FRAME_VERSION as u8, kind, version])
    }

    fn bytes(mut self, bytes: &[u8]) -> Writer {
        self.0.extend_from_slice(bytes);
        self
    }

    fn i32(self, value: i32) -> Writer {
        self.bytes(&value.to_be_bytes())
    }

    fn string(mut self, value: &str) -> Writer {
        let mut length = value.len() + 1;
        while length >= 0x80 {
            self.0.push(length as u8 | 0x80);
            length >>= 7;
        }
        self.0.push(length as u8);
        self.bytes(value.as_bytes())
    }

    fn finish(self) -> Vec<u8> {
        // No tagged fields.
        self.bytes(&[0]).0
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
    fn a_damaged_batch_is_refused() {
        let mut bytes = batch(&orders()).bytes().to_vec();
        let at = bytes.windows(6).position(|six| six == b"orders").unwrap();
        bytes[at] ^= 1;
        let damaged = Batch::parse(bytes.into()).unwrap();
        assert!(ClusterMetadata::default().take(&damaged).is_err());
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
    fn what_is_written_reads_back() {
        let long = "x".repeat(200);
        let configs = [("cleanup.policy".to_string(), "compact".to_string()), (long.clone(), long)].into();
        let topic = BootstrapTopic {
            name: "orders",
            id: TopicId(Uuid::from_bytes(ID)),
            partitions: 3,
            configs: &configs,
        };
        let bootstrap = Bootstrap {
            node_id: 1,
            directory: Uuid::from_bytes([9; 16]),
            next_producer_id: 5000,
            topics: vec![topic],
        };
        let mut metadata = ClusterMetadata::default();
        metadata.take(&Batch::parse(bootstrap.batch().unwrap()).unwrap()).unwrap();
        let (id, read, set) = metadata.topics().next().unwrap();
        assert_eq!((id.0.as_bytes(), &*read.name, read.partitions), (&ID, "orders", 3));
        assert_eq!(set, configs);
    }

    #[test]
    fn a_newer_frame_is_told() {
        let newer = ClusterMetadata::default().take(&batch(&[vec![2, 2, 0]])).unwrap_err();
        assert!(newer.to_string().contains("frame version 2"));
    }
}
