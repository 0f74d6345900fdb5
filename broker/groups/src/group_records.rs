//! A classic group as a record of `__consumer_offsets`, in Kafka's own bytes, and what any record of
//! that topic says ([`GroupEntry`]).
//!
//! ```text
//! key    version i16 (2) | group string
//! value  version i16 (0..4)
//!        protocol type string | generation i32 | protocol nullable string | leader nullable string
//!        | [2+] state timestamp i64 | members array
//! member member id string | [3+] instance id nullable string | client id string | client host string
//!        | [1+] rebalance timeout i32 | session timeout i32 | subscription bytes | assignment bytes
//! ```
//!
//! Written: value 3. Version 4 is 3 in compact form. Keys from 3 on are those of the newer group
//! protocols: those of KIP-848 are in `consumer_records`, those of share groups in `share_records`, those of
//! streams groups in `streams_records`. Others are read as [`GroupEntry::Other`].

use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{Millis, Timestamp, TopicPartition};

use crate::consumer_records::Change;
use crate::offset_records::{self, Committed};
use crate::share_records;
use crate::streams_records;
use crate::wire::{Reader, WireError, Writer};

const KEY_VERSION: i16 = 2;
const VALUE_VERSION: i16 = 3;

/// A record of an internal topic; without a value it is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

/// What a record of `__consumer_offsets` says; `None` for a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEntry {
    Offset { group: Arc<str>, partition: TopicPartition, committed: Option<Committed> },
    Group { group: Arc<str>, metadata: Option<GroupMetadata> },
    Consumer { group: Arc<str>, change: Change },
    Share { group: Arc<str>, change: share_records::Change },
    Streams { group: Arc<str>, change: streams_records::Change },
    Other { version: i16 },
}

/// The lasting part of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    pub protocol_type: String,
    pub generation: i32,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub state_since: Timestamp,
    pub members: Vec<MemberMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout: Millis,
    pub session_timeout: Millis,
    pub subscription: Bytes,
    pub assignment: Bytes,
}

impl Record {
    pub fn offset(group: &str, partition: &TopicPartition, committed: Option<&Committed>) -> Record {
        Record { key: offset_records::write_key(group, partition), value: committed.map(Committed::write) }
    }

    pub fn group(group: &str, metadata: Option<&GroupMetadata>) -> Record {
        let mut key = Writer::default();
        key.i16(KEY_VERSION);
        key.string(group);
        Record { key: key.finish(), value: metadata.map(GroupMetadata::write) }
    }
}

impl GroupEntry {
    /// The record that says this; `None` for what this room does not write.
    pub fn record(&self) -> Option<Record> {
        match self {
            GroupEntry::Offset { group, partition, committed } => {
                Some(Record::offset(group, partition, committed.as_ref()))
            }
            GroupEntry::Group { group, metadata } => Some(Record::group(group, metadata.as_ref())),
            GroupEntry::Consumer { group, change } => {
                Some(Record { key: change.write_key(group), value: change.write_value() })
            }
            GroupEntry::Share { group, change } => {
                Some(Record { key: change.write_key(group), value: change.write_value() })
            }
            GroupEntry::Streams { group, change } => {
                Some(Record { key: change.write_key(group), value: change.write_value() })
            }
            GroupEntry::Other { .. } => None,
        }
    }

    pub fn read(key: &Bytes, value: Option<&Bytes>) -> Result<GroupEntry, WireError> {
        let mut input = Reader::new(key);
        match input.i16("key version")? {
            0 | 1 => {
                let (group, partition) = offset_records::read_key(&mut input)?;
                let committed = value.map(Committed::read).transpose()?;
                Ok(GroupEntry::Offset { group: group.into(), partition, committed })
            }
            KEY_VERSION => {
                let group = input.string(false, "group")?;
                let metadata = value.map(GroupMetadata::read).transpose()?;
                Ok(GroupEntry::Group { group: group.into(), metadata })
            }
            version if Change::has_key(version) => {
                let (group, change) = Change::read(version, &mut input, value)?;
                Ok(GroupEntry::Consumer { group: group.into(), change })
            }
            version if share_records::Change::has_key(version) => {
                let (group, change) = share_records::Change::read(version, &mut input, value)?;
                Ok(GroupEntry::Share { group: group.into(), change })
            }
            version if streams_records::Change::has_key(version) => {
                let (group, change) = streams_records::Change::read(version, &mut input, value)?;
                Ok(GroupEntry::Streams { group: group.into(), change })
            }
            version => Ok(GroupEntry::Other { version }),
        }
    }
}

impl GroupMetadata {
    fn write(&self) -> Bytes {
        let mut out = Writer::default();
        out.i16(VALUE_VERSION);
        out.string(&self.protocol_type);
        out.i32(self.generation);
        out.nullable_string(self.protocol.as_deref());
        out.nullable_string(self.leader.as_deref());
        out.i64(self.state_since.0);
        out.count(self.members.len());
        for member in &self.members {
            member.write(&mut out);
        }
        out.finish()
    }

    fn read(value: &Bytes) -> Result<GroupMetadata, WireError> {
        let mut input = Reader::new(value);
        let version = input.i16("version")?;
        if !(0..=4).contains(&version) {
            return Err(WireError::Version { what: "group", version });
        }
        let flexible = version >= 4;
        let protocol_type = input.string(flexible, "protocol type")?;
        let generation = input.i32("generation")?;
        let protocol = input.nullable_string(flexible, "protocol")?;
        let leader = input.nullable_string(flexible, "leader")?;
        let state_since = if version >= 2 { Timestamp(input.i64("timestamp")?) } else { Timestamp::NONE };
        let count = input.count(flexible, "members")?.unwrap_or(0);
        let members =
            (0..count).map(|_| MemberMetadata::read(&mut input, version)).collect::<Result<_, _>>()?;
        Ok(GroupMetadata { protocol_type, generation, protocol, leader, state_since, members })
    }
}

impl MemberMetadata {
    fn write(&self, out: &mut Writer) {
        out.string(&self.member_id);
        out.nullable_string(self.instance_id.as_deref());
        out.string(&self.client_id);
        out.string(&self.client_host);
        out.i32(millis_i32(self.rebalance_timeout));
        out.i32(millis_i32(self.session_timeout));
        out.bytes(&self.subscription);
        out.bytes(&self.assignment);
    }

    fn read(input: &mut Reader, version: i16) -> Result<MemberMetadata, WireError> {
        let flexible = version >= 4;
        let member_id = input.string(flexible, "member id")?;
        let instance_id = if version >= 3 { input.nullable_string(flexible, "instance id")? } else { None };
        let client_id = input.string(flexible, "client id")?;
        let client_host = input.string(flexible, "client host")?;
        let rebalance = if version >= 1 { input.i32("rebalance timeout")? } else { -1 };
        let session = input.i32("session timeout")?;
        let rebalance = if rebalance < 0 { session } else { rebalance };
        let subscription = input.bytes(flexible, "subscription")?;
        let assignment = input.bytes(flexible, "assignment")?;
        if flexible {
            input.tagged("member's tagged fields")?;
        }
        Ok(MemberMetadata {
            member_id,
            instance_id,
            client_id,
            client_host,
            rebalance_timeout: Millis(rebalance.into()),
            session_timeout: Millis(session.into()),
            subscription,
            assignment,
        })
    }
}

fn millis_i32(span: Millis) -> i32 {
    i32::try_from(span.0).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use flumen_types::{LeaderEpoch, Offset};
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &Bytes) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn committed(expires_at: Option<Timestamp>) -> Committed {
        Committed {
            offset: Offset(258),
            leader_epoch: if expires_at.is_some() { LeaderEpoch::UNKNOWN } else { LeaderEpoch(7) },
            metadata: "m".into(),
            committed_at: Timestamp(1),
            expires_at,
        }
    }

    #[test]
    fn a_committed_offset_has_kafkas_bytes() {
        let partition = TopicPartition::new("t", 3);
        let record = Record::offset("g", &partition, Some(&committed(None)));
        expect!["000100016700017400000003"].assert_eq(&hex(&record.key));
        expect!["000300000000000001020000000700016d0000000000000001"].assert_eq(&hex(&record.value.unwrap()));
        let expiring = Record::offset("g", &partition, Some(&committed(Some(Timestamp(9)))));
        expect!["0001000000000000010200016d00000000000000010000000000000009"]
            .assert_eq(&hex(&expiring.value.unwrap()));
    }

    #[test]
    fn older_and_newer_offset_values_are_read() {
        let key = Record::offset("g", &TopicPartition::new("t", 3), None).key;
        let v0 = Bytes::from_static(b"\0\0\0\0\0\0\0\0\x01\x02\0\x01m\0\0\0\0\0\0\0\x01");
        let mut v4 = b"\0\x04\0\0\0\0\0\0\x01\x02\0\0\0\x07\x02m\0\0\0\0\0\0\0\x01\x01\0\x10".to_vec();
        v4.extend([9; 16]);
        for (value, epoch) in [(v0, -1), (Bytes::from(v4), 7)] {
            let entry = GroupEntry::read(&key, Some(&value)).unwrap();
            let GroupEntry::Offset { committed: Some(found), .. } = entry else { panic!("{entry:?}") };
            assert_eq!(found, Committed { leader_epoch: LeaderEpoch(epoch), ..committed(None) });
        }
    }

    #[test]
    fn an_unknown_key_is_left_alone_and_an_unknown_value_is_named() {
        let key = Bytes::from_static(&[0, 18, 0, 1, b'g']);
        assert_eq!(GroupEntry::read(&key, None), Ok(GroupEntry::Other { version: 18 }));
        let key = Record::group("g", None).key;
        let wrong = GroupEntry::read(&key, Some(&Bytes::from_static(&[0, 9]))).unwrap_err();
        expect!["version 9 of a group is not known; was it written by a newer broker?"]
            .assert_eq(&wrong.to_string());
    }

    fn member() -> impl Strategy<Value = MemberMetadata> {
        let names = ("[a-z]{0,9}", proptest::option::of("[a-z]{1,9}"), "[a-z]{0,9}", "[a-z/.]{0,9}");
        let spans = (0..i64::from(i32::MAX), 0..i64::from(i32::MAX));
        let blobs = (any::<Vec<u8>>(), any::<Vec<u8>>());
        (names, spans, blobs).prop_map(|(names, spans, blobs)| MemberMetadata {
            member_id: names.0,
            instance_id: names.1,
            client_id: names.2,
            client_host: names.3,
            rebalance_timeout: Millis(spans.0),
            session_timeout: Millis(spans.1),
            subscription: blobs.0.into(),
            assignment: blobs.1.into(),
        })
    }

    proptest! {
        #[test]
        fn groups_come_back(
            protocol in proptest::option::of("[a-z]{0,9}"),
            generation in any::<i32>(),
            members in proptest::collection::vec(member(), 0..5),
        ) {
            let metadata = GroupMetadata {
                protocol_type: "consumer".into(),
                generation,
                leader: members.first().map(|m| m.member_id.clone()),
                protocol,
                state_since: Timestamp(5),
                members,
            };
            let record = Record::group("g", Some(&metadata));
            let entry = GroupEntry::read(&record.key, record.value.as_ref()).unwrap();
            prop_assert_eq!(entry, GroupEntry::Group { group: "g".into(), metadata: Some(metadata) });
        }

        #[test]
        fn no_bytes_panic(key in any::<Vec<u8>>(), value in proptest::option::of(any::<Vec<u8>>()), version in 0..24i16) {
            let value = value.map(Bytes::from);
            let _ = GroupEntry::read(&Bytes::from(key.clone()), value.as_ref());
            let mut known = version.to_be_bytes().to_vec();
            known.extend(key);
            let _ = GroupEntry::read(&Bytes::from(known), value.as_ref());
            if let Some(value) = value {
                let mut known = version.to_be_bytes().to_vec();
                known.extend(value);
                let known = Bytes::from(known);
                let _ = GroupEntry::read(&Record::group("g", None).key, Some(&known));
                for version in [3, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 19, 20, 21, 22, 23] {
                    let key = Bytes::from(vec![0, version, 0, 1, b'g', 0, 1, b'm']);
                    let _ = GroupEntry::read(&key, Some(&known));
                }
            }
        }
    }
}
