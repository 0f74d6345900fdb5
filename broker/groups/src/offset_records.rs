//! A committed offset as a record of `__consumer_offsets`, in Kafka's own bytes.
//!
//! ```text
//! key    version i16 (0 or 1) | group string | topic string | partition i32
//! value  version i16 (0, 1, 3, 4)
//!        offset i64 | [3+] leader epoch i32 | metadata string | commit timestamp i64
//!        | [1] expire timestamp i64 | [4] tagged fields (0: topic id)
//! ```
//!
//! Written: key 1, value 3, or 1 for a commit with its own expiry. No value is a tombstone.

use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{LeaderEpoch, Offset, PartitionId, Timestamp, TopicPartition};

use crate::wire::{Reader, WireError, Writer};

pub(crate) const KEY_VERSION: i16 = 1;

/// What a consumer has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: Offset,
    pub leader_epoch: LeaderEpoch,
    pub metadata: Arc<str>,
    pub committed_at: Timestamp,
    /// Set only by clients that name a retention of their own.
    pub expires_at: Option<Timestamp>,
}

pub(crate) fn write_key(group: &str, partition: &TopicPartition) -> Bytes {
    let mut out = Writer::default();
    out.i16(KEY_VERSION);
    out.string(group);
    out.string(&partition.topic);
    out.i32(partition.partition.0);
    out.finish()
}

/// Of what stands behind the version.
pub(crate) fn read_key(input: &mut Reader) -> Result<(String, TopicPartition), WireError> {
    let group = input.string(false, "group")?;
    let topic = input.string(false, "topic")?;
    let partition = PartitionId(input.i32("partition")?);
    Ok((group, TopicPartition { topic: topic.into(), partition }))
}

impl Committed {
    pub(crate) fn write(&self) -> Bytes {
        let mut out = Writer::default();
        out.i16(if self.expires_at.is_some() { 1 } else { 3 });
        out.i64(self.offset.0);
        if self.expires_at.is_none() {
            out.i32(self.leader_epoch.0);
        }
        out.string(&self.metadata);
        out.i64(self.committed_at.0);
        if let Some(expires_at) = self.expires_at {
            out.i64(expires_at.0);
        }
        out.finish()
    }

    pub(crate) fn read(value: &Bytes) -> Result<Committed, WireError> {
        let mut input = Reader::new(value);
        let version = input.i16("version")?;
        if !(0..=4).contains(&version) {
            return Err(WireError::Version { what: "committed offset", version });
        }
        let offset = Offset(input.i64("offset")?);
        let leader_epoch =
            if version >= 3 { LeaderEpoch(input.i32("leader epoch")?) } else { LeaderEpoch::UNKNOWN };
        let metadata = input.string(version >= 4, "metadata")?.into();
        let committed_at = Timestamp(input.i64("commit timestamp")?);
        let expires_at = match version {
            1 => Some(Timestamp(input.i64("expire timestamp")?)).filter(|at| *at != Timestamp::NONE),
            _ => None,
        };
        Ok(Committed { offset, leader_epoch, metadata, committed_at, expires_at })
    }
}
