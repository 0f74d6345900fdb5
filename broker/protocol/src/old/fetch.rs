//! Fetch 0 to 3.
//!
//! ```text
//! request: i32 replica | i32 most wait | i32 least bytes | from 3: i32 most bytes
//!          | [ name, [ i32 partition, i64 offset, i32 most bytes ] ]
//! answer:  from 1: i32 throttle
//!          | [ name, [ i32 partition, i16 error, i64 high watermark, i32 length, message set ] ]
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire_core::{DecodeError, Decoder, EncodeError};

use super::{array, put_string};
use crate::message;
use crate::messages::fetch_request::{FetchPartition, FetchTopic};
use crate::messages::{FetchRequest, FetchResponse};
use crate::response::{begin_frame, set_length};

pub(super) fn decode(from: &mut Decoder, version: i16) -> Result<FetchRequest, DecodeError> {
    let partition = |from: &mut Decoder| {
        Ok(message!(FetchPartition {
            partition: from.read_i32()?,
            fetch_offset: from.read_i64()?,
            partition_max_bytes: from.read_i32()?,
        }))
    };
    let topic = |from: &mut Decoder| {
        Ok(message!(FetchTopic { topic: from.read_string()?, partitions: array(from, partition)? }))
    };
    let mut request = message!(FetchRequest {
        replica_id: from.read_i32()?,
        max_wait_ms: from.read_i32()?,
        min_bytes: from.read_i32()?,
    });
    if version >= 3 {
        request.max_bytes = from.read_i32()?;
    }
    request.topics = array(from, topic)?;
    Ok(request)
}

/// A whole response frame in pieces, its length included; the records by reference.
pub(crate) fn encode(
    correlation: i32,
    response: FetchResponse,
    version: i16,
) -> Result<Vec<Bytes>, EncodeError> {
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut open = begin_frame::<FetchResponse>(correlation, version);
    if version >= 1 {
        open.put_i32(response.throttle_time_ms);
    }
    open.put_i32(response.responses.len() as i32);
    for topic in response.responses {
        put_string(&mut open, &topic.topic);
        open.put_i32(topic.partitions.len() as i32);
        for partition in topic.partitions {
            let records = partition.records.unwrap_or_default();
            open.put_i32(partition.partition_index);
            open.put_i16(partition.error_code);
            open.put_i64(partition.high_watermark);
            open.put_i32(records.len() as i32);
            if !records.is_empty() {
                pieces.extend([open.split().freeze(), records]);
            }
        }
    }
    pieces.push(open.freeze());
    let length = pieces.iter().map(Bytes::len).sum::<usize>() - 4;
    let mut head = BytesMut::from(std::mem::take(&mut pieces[0]));
    set_length(&mut head, length)?;
    pieces[0] = head.freeze();
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::fetch_response::{FetchableTopicResponse, PartitionData};

    fn partition(records: Option<Bytes>) -> PartitionData {
        message!(PartitionData { partition_index: 5, error_code: 2, high_watermark: 7, records })
    }

    #[test]
    fn each_version_asks_for_more() {
        let topics = b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\0\0\0\0\0\0\0\x07\0\0\0\x09";
        let head = b"\xff\xff\xff\xff\0\0\0\x64\0\0\0\x01";
        for (version, bytes_max) in [(0, &b""[..]), (1, b""), (2, b""), (3, b"\0\0\0\x0d")] {
            let body = [&head[..], bytes_max, topics].concat();
            let mut from = Decoder::new(body.into(), crate::limits::decode_limits()).unwrap();
            let request = decode(&mut from, version).unwrap();
            from.finish().unwrap();
            assert_eq!((request.replica_id, request.max_wait_ms, request.min_bytes), (-1, 100, 1));
            assert_eq!(request.max_bytes, if version < 3 { i32::MAX } else { 13 });
            assert_eq!((request.isolation_level, request.session_epoch), (0, -1));
            let partition = &request.topics[0].partitions[0];
            assert_eq!((partition.partition, partition.fetch_offset), (5, 7));
            assert_eq!((partition.partition_max_bytes, partition.current_leader_epoch), (9, -1));
        }
    }

    #[test]
    fn all_versions_but_the_first_tell_of_throttling() {
        let partitions = vec![partition(Some(Bytes::from_static(b"set"))), partition(None)];
        let topic = message!(FetchableTopicResponse { topic: "t".into(), partitions });
        let response = message!(FetchResponse { responses: vec![topic], throttle_time_ms: 11 });
        let partition = b"\0\0\0\x05\0\x02\0\0\0\0\0\0\0\x07";
        let topics = [b"\0\0\0\x01\0\x01t\0\0\0\x02", &partition[..], b"\0\0\0\x03set", partition, &[0; 4]];
        for version in 0..=3 {
            let throttle = if version == 0 { &b""[..] } else { b"\0\0\0\x0b" };
            let body = [b"\0\0\0\x03", throttle, &topics.concat()].concat();
            let length = (body.len() as u32).to_be_bytes();
            let frame = encode(3, response.clone(), version).unwrap().concat();
            assert_eq!(frame, [&length[..], &body].concat(), "{version}");
        }
    }

    #[test]
    fn an_answer_without_topics_is_whole() {
        let frame = encode(3, FetchResponse::default(), 0).unwrap().concat();
        assert_eq!(frame, b"\0\0\0\x08\0\0\0\x03\0\0\0\0");
    }
}
