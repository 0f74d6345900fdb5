//! A transactional id as a record of `__transaction_state`, in Kafka's own bytes.
//!
//! ```text
//! key    version i16 (0) | transactional id string
//! value  version i16 (0, 1)
//!        producer id i64 | epoch i16 | timeout i32 | status i8 | partitions nullable array
//!        | last update i64 | start i64
//!        | [1] tagged: 0 previous producer id i64, 1 next producer id i64, 2 client version i16, 3 next epoch i16
//! topic  name string | partitions array of i32
//! ```
//!
//! Written: value 1, whose strings and arrays are compact. As Kafka does, the previous producer id is the one
//! before the last transition, most often the same; the partitions of an empty transaction are null.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{Millis, PartitionId, ProducerEpoch, ProducerId, Timestamp, TopicPartition};

use crate::group_records::Record;
use crate::wire::{Reader, WireError, Writer};

const PREVIOUS_PRODUCER_ID: u32 = 0;
const NEXT_PRODUCER_ID: u32 = 1;
const CLIENT_VERSION: u32 = 2;

/// Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnStatus {
    Empty = 0,
    Ongoing = 1,
    PrepareCommit = 2,
    PrepareAbort = 3,
    CompleteCommit = 4,
    CompleteAbort = 5,
    Dead = 6,
    PrepareEpochFence = 7,
}

impl TxnStatus {
    pub const ALL: [TxnStatus; 8] = [
        TxnStatus::Empty,
        TxnStatus::Ongoing,
        TxnStatus::PrepareCommit,
        TxnStatus::PrepareAbort,
        TxnStatus::CompleteCommit,
        TxnStatus::CompleteAbort,
        TxnStatus::Dead,
        TxnStatus::PrepareEpochFence,
    ];

    fn read(code: i8) -> Result<TxnStatus, WireError> {
        let at = usize::try_from(code).ok();
        let status = at.and_then(|at| TxnStatus::ALL.get(at)).copied();
        status.ok_or(WireError::Meaning { what: "transaction's status", found: code.into() })
    }

    /// As DescribeTransactions and ListTransactions name it.
    pub fn name(self) -> &'static str {
        match self {
            TxnStatus::Empty => "Empty",
            TxnStatus::Ongoing => "Ongoing",
            TxnStatus::PrepareCommit => "PrepareCommit",
            TxnStatus::PrepareAbort => "PrepareAbort",
            TxnStatus::CompleteCommit => "CompleteCommit",
            TxnStatus::CompleteAbort => "CompleteAbort",
            TxnStatus::Dead => "Dead",
            TxnStatus::PrepareEpochFence => "PrepareEpochFence",
        }
    }
}

/// Which of Kafka's protocols the producer spoke last (`transaction.version`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TxnVersion {
    /// Partitions are added by their own request, and the epoch changes when a producer begins.
    #[default]
    V1,
    /// KIP-890: a produce adds its partitions, and each end raises the epoch.
    V2,
}

impl TxnVersion {
    /// As the feature `transaction.version` counts; Kafka calls its first one 0 where it is written down.
    fn level(self) -> i16 {
        match self {
            TxnVersion::V1 => 0,
            TxnVersion::V2 => 2,
        }
    }

    fn of_level(level: i16) -> TxnVersion {
        if level >= 2 { TxnVersion::V2 } else { TxnVersion::V1 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnMetadata {
    pub producer_id: ProducerId,
    pub previous_producer_id: ProducerId,
    /// The one that the producer goes on with when what is prepared is complete, if its epochs have run out.
    pub next_producer_id: ProducerId,
    pub epoch: ProducerEpoch,
    pub timeout: Millis,
    pub status: TxnStatus,
    pub partitions: BTreeSet<TopicPartition>,
    pub updated_at: Timestamp,
    pub started_at: Timestamp,
    pub client: TxnVersion,
}

/// What a record of `__transaction_state` says; `None` for a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxnEntry {
    Transaction { id: Arc<str>, metadata: Option<TxnMetadata> },
    Other { version: i16 },
}

impl Record {
    pub fn transaction(id: &str, metadata: Option<&TxnMetadata>) -> Record {
        let mut key = Writer::default();
        key.i16(0);
        key.string(id);
        Record { key: key.finish(), value: metadata.map(TxnMetadata::write) }
    }
}

impl TxnEntry {
    pub fn read(key: &Bytes, value: Option<&Bytes>) -> Result<TxnEntry, WireError> {
        let mut input = Reader::new(key);
        match input.i16("key version")? {
            0 => {
                let id = input.string(false, "transactional id")?;
                let metadata = value.map(TxnMetadata::read).transpose()?;
                Ok(TxnEntry::Transaction { id: id.into(), metadata })
            }
            version => Ok(TxnEntry::Other { version }),
        }
    }
}

impl TxnMetadata {
    fn write(&self) -> Bytes {
        let mut out = Writer::default();
        out.i16(1);
        out.i64(self.producer_id.0);
        out.i16(self.epoch.0);
        out.i32(i32::try_from(self.timeout.0).unwrap_or(i32::MAX));
        out.i8(self.status as i8);
        self.write_partitions(&mut out);
        out.i64(self.updated_at.0);
        out.i64(self.started_at.0);
        let id = |id: ProducerId| Bytes::copy_from_slice(&id.0.to_be_bytes());
        let mut tagged = Vec::new();
        if self.previous_producer_id.is_some() {
            tagged.push((PREVIOUS_PRODUCER_ID, id(self.previous_producer_id)));
        }
        if self.next_producer_id.is_some() {
            tagged.push((NEXT_PRODUCER_ID, id(self.next_producer_id)));
        }
        if self.client != TxnVersion::V1 {
            tagged.push((CLIENT_VERSION, Bytes::copy_from_slice(&self.client.level().to_be_bytes())));
        }
        out.tagged(&tagged);
        out.finish()
    }

    /// Grouped by topic, each with its own tagged fields.
    fn write_partitions(&self, out: &mut Writer) {
        if self.status == TxnStatus::Empty && self.partitions.is_empty() {
            return out.uvarint(0);
        }
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in &self.partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition.0);
        }
        out.compact_count(topics.len());
        for (topic, partitions) in topics {
            out.compact_string(topic);
            out.compact_count(partitions.len());
            partitions.into_iter().for_each(|partition| out.i32(partition));
            out.tagged(&[]);
        }
    }

    fn read(value: &Bytes) -> Result<TxnMetadata, WireError> {
        let mut input = Reader::new(value);
        let version = input.i16("version")?;
        if !(0..=1).contains(&version) {
            return Err(WireError::Version { what: "transaction", version });
        }
        let flexible = version >= 1;
        let mut metadata = TxnMetadata {
            producer_id: ProducerId(input.i64("producer id")?),
            previous_producer_id: ProducerId::NONE,
            next_producer_id: ProducerId::NONE,
            epoch: ProducerEpoch(input.i16("producer epoch")?),
            timeout: Millis(input.i32("timeout")?.into()),
            status: TxnStatus::read(input.i8("status")?)?,
            partitions: read_partitions(&mut input, flexible)?,
            updated_at: Timestamp(input.i64("last update")?),
            started_at: Timestamp(input.i64("start")?),
            client: TxnVersion::V1,
        };
        if flexible {
            for (tag, mut field) in input.tagged("tagged fields")? {
                match tag {
                    PREVIOUS_PRODUCER_ID => {
                        metadata.previous_producer_id = ProducerId(field.i64("previous producer id")?);
                    }
                    NEXT_PRODUCER_ID => {
                        metadata.next_producer_id = ProducerId(field.i64("next producer id")?);
                    }
                    CLIENT_VERSION => {
                        metadata.client = TxnVersion::of_level(field.i16("client's version")?);
                    }
                    _ => {}
                }
            }
        }
        Ok(metadata)
    }
}

fn read_partitions(input: &mut Reader, flexible: bool) -> Result<BTreeSet<TopicPartition>, WireError> {
    let mut found = BTreeSet::new();
    for _ in 0..input.count(flexible, "topics")?.unwrap_or(0) {
        let topic: Arc<str> = input.string(flexible, "topic")?.into();
        for _ in 0..input.count(flexible, "partitions")?.unwrap_or(0) {
            let partition = PartitionId(input.i32("partition")?);
            found.insert(TopicPartition { topic: topic.clone(), partition });
        }
        if flexible {
            input.tagged("topic's tagged fields")?;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    fn metadata() -> TxnMetadata {
        TxnMetadata {
            producer_id: ProducerId(4),
            previous_producer_id: ProducerId::NONE,
            next_producer_id: ProducerId::NONE,
            epoch: ProducerEpoch(2),
            timeout: Millis(60_000),
            status: TxnStatus::Ongoing,
            partitions: [
                TopicPartition::new("a", 1),
                TopicPartition::new("b", 0),
                TopicPartition::new("a", 0),
            ]
            .into(),
            updated_at: Timestamp(20),
            started_at: Timestamp(10),
            client: TxnVersion::V1,
        }
    }

    #[test]
    fn a_transaction_has_kafkas_bytes() {
        let record = Record::transaction("tx", Some(&metadata()));
        let hex = |bytes: &Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        expect!["000000027478"].assert_eq(&hex(&record.key));
        expect!["0001000000000000000400020000ea60010302610300000000000000010002620200000000000000000000000014000000000000000a00"]
            .assert_eq(&hex(&record.value.unwrap()));
    }

    #[test]
    fn the_classic_form_is_read() {
        let mut v0 = b"\0\0\0\0\0\0\0\0\0\x04\0\x02\0\0\xea\x60\x01\0\0\0\x02".to_vec();
        v0.extend(b"\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x01\0\x01b\0\0\0\x01\0\0\0\0");
        v0.extend(b"\0\0\0\0\0\0\0\x14\0\0\0\0\0\0\0\x0a");
        let key = Record::transaction("tx", None).key;
        let entry = TxnEntry::read(&key, Some(&v0.into())).unwrap();
        assert_eq!(entry, TxnEntry::Transaction { id: "tx".into(), metadata: Some(metadata()) });
    }

    proptest! {
        #[test]
        fn transactions_come_back(
            ids in (any::<i64>(), any::<i64>(), any::<i16>(), any::<i64>()),
            status in 0..8i8,
            v2 in any::<bool>(),
            partitions in proptest::collection::btree_set(("[a-z]{1,4}", 0..9i32), 0..9),
        ) {
            let metadata = TxnMetadata {
                producer_id: ProducerId(ids.0),
                previous_producer_id: ProducerId(ids.1.max(-1)),
                next_producer_id: ProducerId(ids.3.max(-1)),
                client: if v2 { TxnVersion::V2 } else { TxnVersion::V1 },
                epoch: ProducerEpoch(ids.2),
                status: TxnStatus::read(status).unwrap(),
                partitions: partitions.into_iter().map(|(topic, p)| TopicPartition::new(topic, p)).collect(),
                ..metadata()
            };
            let record = Record::transaction("x", Some(&metadata));
            let entry = TxnEntry::read(&record.key, record.value.as_ref()).unwrap();
            prop_assert_eq!(entry, TxnEntry::Transaction { id: "x".into(), metadata: Some(metadata) });
        }

        #[test]
        fn no_bytes_panic(value in any::<Vec<u8>>(), version in 0..3i16) {
            let key = Record::transaction("x", None).key;
            let mut known = version.to_be_bytes().to_vec();
            known.extend(value);
            let _ = TxnEntry::read(&key, Some(&known.into()));
        }
    }
}
