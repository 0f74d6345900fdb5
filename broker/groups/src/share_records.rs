//! A share group (KIP-932) as records of `__consumer_offsets`, in Kafka's own bytes.
//!
//! ```text
//! key    version i16 | group string | [10, 13, 14] member id string
//! value  version i16 (0); compact and with tagged fields from here on; a tombstone takes the fact back
//!   10   rack id nullable string | client id string | client host string | topics array of string
//!   11   group epoch i32 | hash of the topics i64
//!   12   assignment epoch i32 | tagged (0: assigned at i64)
//!   13   partitions
//!   14   member epoch i32 | previous epoch i32 | state i8 (0) | partitions
//!   15   initializing array of named | initialized array of named
//!        | deleting array of (topic id uuid | topic string | tagged)
//!
//! partitions  array of (topic id uuid | array of i32 | tagged)
//! named       topic id uuid | topic string | array of i32 | tagged
//! ```

use std::sync::Arc;

use bytes::Bytes;
use flumen_types::TopicId;

use crate::consumer::Assignment;
use crate::consumer_records::{
    GroupEpoch, TargetEpoch, group_key, read_assignment, read_i32s, read_names, read_value, write_assignment,
    write_names,
};
use crate::share::{Current, Named, Partitions, Profile, StatePartitions};
use crate::wire::{Reader, WireError, Writer};

/// One lasting fact about a group; `None` takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Member { id: Arc<str>, profile: Option<Profile> },
    Epoch(Option<GroupEpoch>),
    TargetEpoch(Option<TargetEpoch>),
    Target { id: Arc<str>, assignment: Option<Assignment> },
    Current { id: Arc<str>, current: Option<Current> },
    Partitions(Option<StatePartitions>),
}

const MEMBER: i16 = 10;
const EPOCH: i16 = 11;
const TARGET_EPOCH: i16 = 12;
const TARGET: i16 = 13;
const CURRENT: i16 = 14;
const PARTITIONS: i16 = 15;

const STABLE: i8 = 0;

impl Change {
    /// Whether a key of this version is one of these.
    pub(crate) fn has_key(version: i16) -> bool {
        (MEMBER..=PARTITIONS).contains(&version)
    }

    /// Whether it takes a fact back.
    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Change::Member { profile, .. } => profile.is_none(),
            Change::Epoch(epoch) => epoch.is_none(),
            Change::TargetEpoch(epoch) => epoch.is_none(),
            Change::Target { assignment, .. } => assignment.is_none(),
            Change::Current { current, .. } => current.is_none(),
            Change::Partitions(partitions) => partitions.is_none(),
        }
    }

    pub(crate) fn write_key(&self, group: &str) -> Bytes {
        let (version, member) = match self {
            Change::Member { id, .. } => (MEMBER, Some(id)),
            Change::Epoch(_) => (EPOCH, None),
            Change::TargetEpoch(_) => (TARGET_EPOCH, None),
            Change::Target { id, .. } => (TARGET, Some(id)),
            Change::Current { id, .. } => (CURRENT, Some(id)),
            Change::Partitions(_) => (PARTITIONS, None),
        };
        group_key(version, group, member)
    }

    /// `None` is a tombstone.
    pub(crate) fn write_value(&self) -> Option<Bytes> {
        let mut out = Writer::default();
        out.i16(0);
        match self {
            Change::Member { profile, .. } => write_profile(profile.as_ref()?, &mut out),
            Change::Epoch(epoch) => {
                let epoch = epoch.as_ref()?;
                out.i32(epoch.epoch);
                out.i64(epoch.topics_hash);
                out.tagged(&[]);
            }
            Change::TargetEpoch(epoch) => epoch.as_ref()?.write(&mut out),
            Change::Target { assignment, .. } => {
                write_assignment(assignment.as_ref()?, &mut out);
                out.tagged(&[]);
            }
            Change::Current { current, .. } => {
                let current = current.as_ref()?;
                out.i32(current.epoch);
                out.i32(current.previous_epoch);
                out.i8(STABLE);
                write_assignment(&current.assigned, &mut out);
                out.tagged(&[]);
            }
            Change::Partitions(partitions) => write_partitions(partitions.as_ref()?, &mut out),
        }
        Some(out.finish())
    }

    /// Of what stands behind the key's version: the group, and what is said of it.
    pub(crate) fn read(
        version: i16,
        key: &mut Reader,
        value: Option<&Bytes>,
    ) -> Result<(String, Change), WireError> {
        let group = key.string(false, "group")?;
        let mut id = || key.string(false, "member id").map(Arc::from);
        let change = match version {
            MEMBER => Change::Member { id: id()?, profile: read_value(value, read_profile)? },
            EPOCH => Change::Epoch(read_value(value, read_epoch)?),
            TARGET_EPOCH => Change::TargetEpoch(read_value(value, TargetEpoch::read)?),
            TARGET => Change::Target { id: id()?, assignment: read_value(value, read_assignment)? },
            CURRENT => Change::Current { id: id()?, current: read_value(value, read_current)? },
            PARTITIONS => Change::Partitions(read_value(value, read_partitions)?),
            version => return Err(WireError::Version { what: "group's key", version }),
        };
        Ok((group, change))
    }
}

fn write_profile(profile: &Profile, out: &mut Writer) {
    out.compact_nullable_string(profile.rack_id.as_deref());
    out.compact_string(&profile.client_id);
    out.compact_string(&profile.client_host);
    write_names(&profile.topics, out);
    out.tagged(&[]);
}

fn read_profile(input: &mut Reader) -> Result<Profile, WireError> {
    Ok(Profile {
        rack_id: input.nullable_string(true, "rack id")?,
        client_id: input.string(true, "client id")?,
        client_host: input.string(true, "client host")?,
        topics: read_names(input)?,
    })
}

fn read_epoch(input: &mut Reader) -> Result<GroupEpoch, WireError> {
    Ok(GroupEpoch { epoch: input.i32("group epoch")?, topics_hash: input.i64("hash of the topics")? })
}

fn read_current(input: &mut Reader) -> Result<Current, WireError> {
    let (epoch, previous_epoch) = (input.i32("member epoch")?, input.i32("previous epoch")?);
    input.i8("member's state")?;
    Ok(Current { epoch, previous_epoch, assigned: read_assignment(input)? })
}

fn write_partitions(partitions: &StatePartitions, out: &mut Writer) {
    for named in [&partitions.initializing, &partitions.initialized] {
        out.compact_count(named.len());
        for (topic, named) in named {
            write_topic(*topic, &named.name, out);
            out.compact_count(named.partitions.len());
            named.partitions.iter().for_each(|partition| out.i32(*partition));
            out.tagged(&[]);
        }
    }
    out.compact_count(partitions.deleting.len());
    for (topic, name) in &partitions.deleting {
        write_topic(*topic, name, out);
        out.tagged(&[]);
    }
    out.tagged(&[]);
}

fn write_topic(topic: TopicId, name: &str, out: &mut Writer) {
    out.topic_id(topic);
    out.compact_string(name);
}

fn read_partitions(input: &mut Reader) -> Result<StatePartitions, WireError> {
    let (initializing, initialized) = (read_named(input)?, read_named(input)?);
    let mut partitions = StatePartitions { initializing, initialized, ..StatePartitions::default() };
    for _ in 0..input.count(true, "topics")?.unwrap_or(0) {
        let topic = input.topic_id("topic id")?;
        partitions.deleting.insert(topic, input.string(true, "topic")?.into());
        input.tagged("topic's tagged fields")?;
    }
    Ok(partitions)
}

fn read_named(input: &mut Reader) -> Result<Partitions, WireError> {
    let mut all = Partitions::new();
    for _ in 0..input.count(true, "topics")?.unwrap_or(0) {
        let topic = input.topic_id("topic id")?;
        let name = input.string(true, "topic")?.into();
        let partitions = read_i32s(input)?.into_iter().collect();
        input.tagged("topic's tagged fields")?;
        all.insert(topic, Named { name, partitions });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use flumen_types::{PartitionId, Timestamp};

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn topic() -> TopicId {
        TopicId::from_bytes([7; 16])
    }

    fn named() -> Partitions {
        [(topic(), Named { name: "t".into(), partitions: [0, 1].into() })].into()
    }

    fn all() -> Vec<Change> {
        let profile = Profile { client_id: "c".into(), topics: ["t".into()].into(), ..Profile::default() };
        let assigned: Assignment = [(topic(), PartitionId(2))].into();
        let partitions = StatePartitions {
            initializing: named(),
            initialized: named(),
            deleting: [(topic(), "t".into())].into(),
        };
        vec![
            Change::Member { id: "m".into(), profile: Some(profile) },
            Change::Epoch(Some(GroupEpoch { epoch: 3, topics_hash: 4 })),
            Change::TargetEpoch(Some(TargetEpoch { epoch: 3, assigned_at: Timestamp(5) })),
            Change::Target { id: "m".into(), assignment: Some(assigned.clone()) },
            Change::Current {
                id: "m".into(),
                current: Some(Current { epoch: 3, previous_epoch: 2, assigned }),
            },
            Change::Partitions(Some(partitions)),
        ]
    }

    #[test]
    fn a_group_has_kafkas_bytes() {
        let lines: Vec<String> = all()
            .iter()
            .map(|change| format!("{} {}", hex(&change.write_key("g")), hex(&change.write_value().unwrap())))
            .collect();
        expect![[r#"
            000a00016700016d 00000002630102027400
            000b000167 000000000003000000000000000400
            000c000167 0000000000030100080000000000000005
            000d00016700016d 0000020707070707070707070707070707070702000000020000
            000e00016700016d 0000000000030000000200020707070707070707070707070707070702000000020000
            000f000167 000002070707070707070707070707070707070274030000000000000001000207070707070707070707070707070707027403000000000000000100020707070707070707070707070707070702740000"#]].assert_eq(&lines.join("\n"));
    }

    #[test]
    fn changes_come_back() {
        for change in all() {
            let (key, value) = (change.write_key("g"), change.write_value());
            let mut input = Reader::new(&key);
            let version = input.i16("version").unwrap();
            assert!(Change::has_key(version));
            assert_eq!(Change::read(version, &mut input, value.as_ref()), Ok(("g".into(), change)));
        }
    }
}
