//! A group of the consumer protocol (KIP-848) as records of `__consumer_offsets`, in Kafka's own bytes.
//!
//! ```text
//! key    version i16 | group string | [5, 7, 8] member id string, [16] regular expression string
//! value  version i16 (0); compact and with tagged fields from here on; a tombstone takes the fact back
//!    3   group epoch i32 | tagged (0: hash of the topics i64)
//!    4   the topics; up to Kafka 4.0, only taken back here
//!    5   instance id nullable string | rack id nullable string | client id string | client host string
//!        | topics array of string | regular expression nullable string | rebalance timeout i32
//!        | assignor nullable string | tagged (0: member of the classic protocol)
//!    6   assignment epoch i32 | tagged (0: assigned at i64)
//!    7   partitions
//!    8   member epoch i32 | previous epoch i32 | state i8 | assigned partitions | pending partitions
//!   16   topics array of string | version of the topics i64 | resolved at i64
//!
//! partitions      array of (topic id uuid | array of i32 | tagged ([8] 0: epochs, an array of i32))
//! classic member  i8 (1) | session timeout i32 | array of (protocol string | metadata bytes | tagged)
//!                 | tagged
//! ```
//!
//! The hash is of this broker's own making ([`crate::consumer::TopicImage`]); a group that another
//! broker hashed takes its topics for changed, once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{Millis, PartitionId, Timestamp, TopicId};

use crate::consumer::{Assignment, ClassicMember, Current, MemberState, Owned, Profile, Resolved};
use crate::wire::{Reader, WireError, Writer};

/// One lasting fact about a group; `None` takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Epoch(Option<GroupEpoch>),
    /// What older brokers kept of the topics; it is read as being there, and taken back.
    LegacyTopics {
        present: bool,
    },
    Member {
        id: Arc<str>,
        profile: Option<Profile>,
    },
    TargetEpoch(Option<TargetEpoch>),
    Target {
        id: Arc<str>,
        assignment: Option<Assignment>,
    },
    Current {
        id: Arc<str>,
        current: Option<Current>,
    },
    Pattern {
        regex: Arc<str>,
        resolved: Option<Resolved>,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupEpoch {
    pub epoch: i32,
    /// Of the topics subscribed to, as they were at this epoch.
    pub topics_hash: i64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetEpoch {
    pub epoch: i32,
    pub assigned_at: Timestamp,
}

const EPOCH: i16 = 3;
const LEGACY_TOPICS: i16 = 4;
const MEMBER: i16 = 5;
const TARGET_EPOCH: i16 = 6;
const TARGET: i16 = 7;
const CURRENT: i16 = 8;
const PATTERN: i16 = 16;

impl Change {
    /// Whether a key of this version is one of these.
    pub(crate) fn has_key(version: i16) -> bool {
        matches!(version, EPOCH..=CURRENT | PATTERN)
    }

    /// Whether it takes a fact back.
    pub(crate) fn is_tombstone(&self) -> bool {
        match self {
            Change::Epoch(epoch) => epoch.is_none(),
            Change::LegacyTopics { present } => !present,
            Change::Member { profile, .. } => profile.is_none(),
            Change::TargetEpoch(epoch) => epoch.is_none(),
            Change::Target { assignment, .. } => assignment.is_none(),
            Change::Current { current, .. } => current.is_none(),
            Change::Pattern { resolved, .. } => resolved.is_none(),
        }
    }

    fn key_version(&self) -> i16 {
        match self {
            Change::Epoch(_) => EPOCH,
            Change::LegacyTopics { .. } => LEGACY_TOPICS,
            Change::Member { .. } => MEMBER,
            Change::TargetEpoch(_) => TARGET_EPOCH,
            Change::Target { .. } => TARGET,
            Change::Current { .. } => CURRENT,
            Change::Pattern { .. } => PATTERN,
        }
    }

    pub(crate) fn write_key(&self, group: &str) -> Bytes {
        let part = match self {
            Change::Member { id, .. } | Change::Target { id, .. } | Change::Current { id, .. } => Some(id),
            Change::Pattern { regex, .. } => Some(regex),
            Change::Epoch(_) | Change::LegacyTopics { .. } | Change::TargetEpoch(_) => None,
        };
        group_key(self.key_version(), group, part)
    }

    /// `None` is a tombstone.
    pub(crate) fn write_value(&self) -> Option<Bytes> {
        let mut out = Writer::default();
        out.i16(0);
        match self {
            Change::Epoch(value) => value.as_ref()?.write(&mut out),
            Change::LegacyTopics { .. } => return None,
            Change::Member { profile, .. } => write_profile(profile.as_ref()?, &mut out),
            Change::TargetEpoch(value) => value.as_ref()?.write(&mut out),
            Change::Target { assignment, .. } => {
                write_assignment(assignment.as_ref()?, &mut out);
                out.tagged(&[]);
            }
            Change::Current { current, .. } => write_current(current.as_ref()?, &mut out),
            Change::Pattern { resolved, .. } => write_resolved(resolved.as_ref()?, &mut out),
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
        let change = match version {
            EPOCH => Change::Epoch(read_value(value, GroupEpoch::read)?),
            LEGACY_TOPICS => Change::LegacyTopics { present: value.is_some() },
            MEMBER => {
                let id = key.string(false, "member id")?.into();
                Change::Member { id, profile: read_value(value, read_profile)? }
            }
            TARGET_EPOCH => Change::TargetEpoch(read_value(value, TargetEpoch::read)?),
            TARGET => {
                let id = key.string(false, "member id")?.into();
                Change::Target { id, assignment: read_value(value, read_assignment)? }
            }
            CURRENT => {
                let id = key.string(false, "member id")?.into();
                Change::Current { id, current: read_value(value, read_current)? }
            }
            PATTERN => {
                let regex = key.string(false, "regular expression")?.into();
                Change::Pattern { regex, resolved: read_value(value, read_resolved)? }
            }
            version => return Err(WireError::Version { what: "group's key", version }),
        };
        Ok((group, change))
    }
}

/// The key of a group's record; of a member or another part of it, with that part's name.
pub(crate) fn group_key(version: i16, group: &str, part: Option<&Arc<str>>) -> Bytes {
    let mut out = Writer::default();
    out.i16(version);
    out.string(group);
    if let Some(part) = part {
        out.string(part);
    }
    out.finish()
}

pub(crate) fn read_value<T>(
    value: Option<&Bytes>,
    read: impl FnOnce(&mut Reader) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    let Some(value) = value else { return Ok(None) };
    let mut input = Reader::new(value);
    match input.i16("version")? {
        0 => read(&mut input).map(Some),
        version => Err(WireError::Version { what: "consumer group", version }),
    }
}

/// The field of this tag, if it is there.
pub(crate) fn tagged(input: &mut Reader, tag: u32) -> Result<Option<Reader>, WireError> {
    let fields = input.tagged("tagged fields")?;
    Ok(fields.into_iter().find(|(found, _)| *found == tag).map(|(_, value)| value))
}

/// A tagged field with one number; Kafka leaves out the default.
fn tagged_i64(out: &mut Writer, value: i64) {
    match value {
        0 => out.tagged(&[]),
        value => out.tagged(&[(0, Bytes::copy_from_slice(&value.to_be_bytes()))]),
    }
}

impl GroupEpoch {
    fn write(&self, out: &mut Writer) {
        out.i32(self.epoch);
        tagged_i64(out, self.topics_hash);
    }

    fn read(input: &mut Reader) -> Result<GroupEpoch, WireError> {
        let epoch = input.i32("group epoch")?;
        let hash = tagged(input, 0)?.map(|mut value| value.i64("hash of the topics")).transpose()?;
        Ok(GroupEpoch { epoch, topics_hash: hash.unwrap_or_default() })
    }
}

impl TargetEpoch {
    pub(crate) fn write(&self, out: &mut Writer) {
        out.i32(self.epoch);
        tagged_i64(out, self.assigned_at.0);
    }

    pub(crate) fn read(input: &mut Reader) -> Result<TargetEpoch, WireError> {
        let epoch = input.i32("assignment epoch")?;
        let at = tagged(input, 0)?.map(|mut value| value.i64("time of the assignment")).transpose()?;
        Ok(TargetEpoch { epoch, assigned_at: Timestamp(at.unwrap_or_default()) })
    }
}

fn write_profile(profile: &Profile, out: &mut Writer) {
    out.compact_nullable_string(profile.instance_id.as_deref());
    out.compact_nullable_string(profile.rack_id.as_deref());
    out.compact_string(&profile.client_id);
    out.compact_string(&profile.client_host);
    write_names(&profile.topics, out);
    out.compact_nullable_string(profile.regex.as_deref());
    out.i32(i32::try_from(profile.rebalance_timeout.0).unwrap_or(i32::MAX));
    out.compact_nullable_string(profile.assignor.as_deref());
    match &profile.classic {
        Some(classic) => out.tagged(&[(0, write_classic(classic))]),
        None => out.tagged(&[]),
    }
}

fn read_profile(input: &mut Reader) -> Result<Profile, WireError> {
    Ok(Profile {
        instance_id: input.nullable_string(true, "instance id")?.map(Arc::from),
        rack_id: input.nullable_string(true, "rack id")?,
        client_id: input.string(true, "client id")?,
        client_host: input.string(true, "client host")?,
        topics: read_names(input)?,
        regex: input.nullable_string(true, "regular expression")?.map(Arc::from),
        rebalance_timeout: Millis(input.i32("rebalance timeout")?.into()),
        assignor: input.nullable_string(true, "assignor")?,
        classic: match tagged(input, 0)? {
            Some(mut classic) => read_classic(&mut classic)?,
            None => None,
        },
    })
}

fn write_classic(classic: &ClassicMember) -> Bytes {
    let mut out = Writer::default();
    out.i8(1);
    out.i32(i32::try_from(classic.session_timeout.0).unwrap_or(i32::MAX));
    out.compact_count(classic.protocols.len());
    for (name, metadata) in &classic.protocols {
        out.compact_string(name);
        out.compact_bytes(metadata);
        out.tagged(&[]);
    }
    out.tagged(&[]);
    out.finish()
}

fn read_classic(input: &mut Reader) -> Result<Option<ClassicMember>, WireError> {
    if input.i8("mark of a classic member")? < 0 {
        return Ok(None);
    }
    let session_timeout = Millis(input.i32("session timeout")?.into());
    let count = input.count(true, "protocols")?.unwrap_or(0);
    let mut protocols = Vec::new();
    for _ in 0..count {
        let name = input.string(true, "protocol")?;
        protocols.push((name, input.bytes(true, "metadata")?));
        input.tagged("protocol's tagged fields")?;
    }
    Ok(Some(ClassicMember { session_timeout, protocols }))
}

pub(crate) fn write_names(names: &BTreeSet<Arc<str>>, out: &mut Writer) {
    out.compact_count(names.len());
    for name in names {
        out.compact_string(name);
    }
}

pub(crate) fn read_names(input: &mut Reader) -> Result<BTreeSet<Arc<str>>, WireError> {
    let count = input.count(true, "topics")?.unwrap_or(0);
    (0..count).map(|_| input.string(true, "topic").map(Arc::from)).collect()
}

pub(crate) fn write_assignment(assignment: &Assignment, out: &mut Writer) {
    let mut topics: BTreeMap<TopicId, Vec<PartitionId>> = BTreeMap::new();
    for (topic, partition) in assignment {
        topics.entry(*topic).or_default().push(*partition);
    }
    out.compact_count(topics.len());
    for (topic, partitions) in topics {
        out.topic_id(topic);
        out.compact_count(partitions.len());
        partitions.iter().for_each(|partition| out.i32(partition.0));
        out.tagged(&[]);
    }
}

pub(crate) fn read_assignment(input: &mut Reader) -> Result<Assignment, WireError> {
    Ok(read_owned(input)?.into_keys().collect())
}

fn write_owned(owned: &Owned, out: &mut Writer) {
    let mut topics: BTreeMap<TopicId, Vec<(PartitionId, i32)>> = BTreeMap::new();
    for ((topic, partition), epoch) in owned {
        topics.entry(*topic).or_default().push((*partition, *epoch));
    }
    out.compact_count(topics.len());
    for (topic, partitions) in topics {
        out.topic_id(topic);
        out.compact_count(partitions.len());
        partitions.iter().for_each(|(partition, _)| out.i32(partition.0));
        let mut epochs = Writer::default();
        epochs.compact_count(partitions.len());
        partitions.iter().for_each(|(_, epoch)| epochs.i32(*epoch));
        out.tagged(&[(0, epochs.finish())]);
    }
}

/// Brokers before 4.3 told no epochs; a partition of theirs counts as held since the beginning.
fn read_owned(input: &mut Reader) -> Result<Owned, WireError> {
    let count = input.count(true, "partitions")?.unwrap_or(0);
    let mut owned = Owned::new();
    for _ in 0..count {
        let topic = input.topic_id("topic id")?;
        let partitions = read_i32s(input)?;
        let epochs = match tagged(input, 0)? {
            Some(mut epochs) => read_i32s(&mut epochs)?,
            None => Vec::new(),
        };
        let epochs = epochs.into_iter().chain(std::iter::repeat(0));
        owned.extend(partitions.into_iter().map(|partition| (topic, PartitionId(partition))).zip(epochs));
    }
    Ok(owned)
}

pub(crate) fn read_i32s(input: &mut Reader) -> Result<Vec<i32>, WireError> {
    let count = input.count(true, "partitions")?.unwrap_or(0);
    (0..count).map(|_| input.i32("partition")).collect()
}

fn write_current(current: &Current, out: &mut Writer) {
    out.i32(current.epoch);
    out.i32(current.previous_epoch);
    out.i8(current.state as i8);
    write_owned(&current.assigned, out);
    write_owned(&current.revoking, out);
    out.tagged(&[]);
}

fn read_current(input: &mut Reader) -> Result<Current, WireError> {
    Ok(Current {
        epoch: input.i32("member epoch")?,
        previous_epoch: input.i32("previous epoch")?,
        state: {
            let found = input.i8("member's state")?;
            MemberState::read(found)
                .ok_or(WireError::Meaning { what: "member's state", found: found.into() })?
        },
        assigned: read_owned(input)?,
        revoking: read_owned(input)?,
    })
}

fn write_resolved(resolved: &Resolved, out: &mut Writer) {
    write_names(&resolved.topics, out);
    out.i64(resolved.version);
    out.i64(resolved.at.0);
    out.tagged(&[]);
}

fn read_resolved(input: &mut Reader) -> Result<Resolved, WireError> {
    Ok(Resolved {
        topics: read_names(input)?,
        version: input.i64("version of the topics")?,
        at: Timestamp(input.i64("time")?),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use flumen_types::TopicId;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn where_a_member_stands_has_kafkas_bytes() {
        let place = (TopicId::from_bytes([7; 16]), PartitionId(2));
        let current = Current {
            epoch: 5,
            previous_epoch: 4,
            state: MemberState::Unreleased,
            assigned: [(place, 3)].into(),
            revoking: Owned::new(),
        };
        let change = Change::Current { id: "m".into(), current: Some(current) };
        expect!["000800016700016d"].assert_eq(&hex(&change.write_key("g")));
        expect!["00000000000500000004020207070707070707070707070707070707020000000201000502000000030100"]
            .assert_eq(&hex(&change.write_value().unwrap()));
    }

    #[test]
    fn a_member_of_the_classic_protocol_comes_back() {
        let profile = Profile {
            instance_id: Some("i".into()),
            topics: ["t".into()].into(),
            classic: Some(ClassicMember {
                session_timeout: Millis(10_000),
                protocols: vec![("range".into(), Bytes::from_static(b"x"))],
            }),
            ..Profile::default()
        };
        let change = Change::Member { id: "m".into(), profile: Some(profile) };
        let (key, value) = (change.write_key("g"), change.write_value());
        let mut input = Reader::new(&key);
        let version = input.i16("version").unwrap();
        assert_eq!(Change::read(version, &mut input, value.as_ref()), Ok(("g".into(), change)));
    }
}
