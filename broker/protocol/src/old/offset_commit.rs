//! OffsetCommit 0 and 1.
//!
//! ```text
//! group | from 1: i32 generation, member | [ name, [ i32 partition, i64 offset, from 1: i64 time, metadata ] ]
//! ```
//!
//! The time is the client's for its commit. It is not believed: what a client's clock, or one that counts
//! in seconds, says would decide when the offset expires.

use kafka_wire_core::{DecodeError, Decoder};

use super::array;
use crate::message;
use crate::messages::OffsetCommitRequest;
use crate::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};

pub(super) fn decode(from: &mut Decoder, version: i16) -> Result<OffsetCommitRequest, DecodeError> {
    let partition = |from: &mut Decoder| {
        let mut partition = message!(OffsetCommitRequestPartition {
            partition_index: from.read_i32()?,
            committed_offset: from.read_i64()?,
        });
        if version >= 1 {
            from.read_i64()?;
        }
        partition.committed_metadata = from.read_nullable_string()?;
        Ok(partition)
    };
    let topic = |from: &mut Decoder| {
        Ok(message!(OffsetCommitRequestTopic {
            name: from.read_string()?,
            partitions: array(from, partition)?,
        }))
    };
    let mut request = message!(OffsetCommitRequest { group_id: from.read_string()? });
    if version >= 1 {
        request.generation_id_or_member_epoch = from.read_i32()?;
        request.member_id = from.read_string()?;
    }
    request.topics = array(from, topic)?;
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_read() {
        let member = b"\0\0\0\x04\0\x01m";
        let topic = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\0\0\0\0\0\0\0\x07";
        let bodies = [
            [&b"\0\x01g"[..], topic, b"\0\x02ok"].concat(),
            [&b"\0\x01g"[..], member, topic, &[0; 8], b"\xff\xff"].concat(),
        ];
        for (version, body) in (0..).zip(bodies) {
            let mut from = Decoder::new(body.into(), crate::limits::decode_limits()).unwrap();
            let request = decode(&mut from, version).unwrap();
            from.finish().unwrap();
            let member = if version == 0 { (-1, "") } else { (4, "m") };
            assert_eq!((request.generation_id_or_member_epoch, &*request.member_id), member);
            assert_eq!((&*request.group_id, request.retention_time_ms), ("g", -1));
            let partition = &request.topics[0].partitions[0];
            assert_eq!((partition.partition_index, partition.committed_offset), (5, 7));
            assert_eq!(partition.committed_metadata.as_deref(), (version == 0).then_some("ok"));
        }
    }
}
