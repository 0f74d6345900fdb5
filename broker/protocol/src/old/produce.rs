//! Produce 0 to 2.
//!
//! ```text
//! request: i16 acks | i32 timeout | [ name, [ i32 partition, i32 length, message set ] ]
//! answer:  [ name, [ i32 partition, i16 error, i64 base offset, from 2: i64 append time ] ] | from 1: i32 throttle
//! ```

use bytes::{BufMut, Bytes};
use kafka_wire_core::{DecodeError, Decoder, EncodeError};

use super::{array, put_string};
use crate::message;
use crate::messages::produce_request::{PartitionProduceData, TopicProduceData};
use crate::messages::{ProduceRequest, ProduceResponse};
use crate::response::{begin_frame, set_length};

pub(super) fn decode(from: &mut Decoder) -> Result<ProduceRequest, DecodeError> {
    let partition = |from: &mut Decoder| {
        Ok(message!(PartitionProduceData { index: from.read_i32()?, records: from.read_nullable_bytes()? }))
    };
    let topic = |from: &mut Decoder| {
        Ok(message!(TopicProduceData { name: from.read_string()?, partition_data: array(from, partition)? }))
    };
    Ok(message!(ProduceRequest {
        acks: from.read_i16()?,
        timeout_ms: from.read_i32()?,
        topic_data: array(from, topic)?,
    }))
}

/// A whole response frame, its length included.
pub fn encode(correlation: i32, response: &ProduceResponse, version: i16) -> Result<Bytes, EncodeError> {
    let mut frame = begin_frame::<ProduceResponse>(correlation, version);
    frame.put_i32(response.responses.len() as i32);
    for topic in &response.responses {
        put_string(&mut frame, &topic.name);
        frame.put_i32(topic.partition_responses.len() as i32);
        for partition in &topic.partition_responses {
            frame.put_i32(partition.index);
            frame.put_i16(partition.error_code);
            frame.put_i64(partition.base_offset);
            if version >= 2 {
                frame.put_i64(partition.log_append_time_ms);
            }
        }
    }
    if version >= 1 {
        frame.put_i32(response.throttle_time_ms);
    }
    let length = frame.len() - 4;
    set_length(&mut frame, length)?;
    Ok(frame.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};

    #[test]
    fn a_request_is_read() {
        let body = b"\xff\xff\0\0\x27\x10\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x05\0\0\0\x03set\0\0\0\x06\xff\xff\xff\xff";
        let mut from = Decoder::new(Bytes::from_static(body), crate::limits::decode_limits()).unwrap();
        let request = decode(&mut from).unwrap();
        from.finish().unwrap();
        assert_eq!((request.acks, request.timeout_ms, request.transactional_id), (-1, 10_000, None));
        let topic = &request.topic_data[0];
        assert_eq!(topic.name.as_str(), "t");
        let partitions: Vec<_> =
            topic.partition_data.iter().map(|p| (p.index, p.records.as_deref())).collect();
        assert_eq!(partitions, [(5, Some(&b"set"[..])), (6, None)]);
    }

    #[test]
    fn each_version_says_more() {
        let partition = message!(PartitionProduceResponse {
            index: 5,
            error_code: 2,
            base_offset: 7,
            log_append_time_ms: 9
        });
        let topic = message!(TopicProduceResponse { name: "t".into(), partition_responses: vec![partition] });
        let response = message!(ProduceResponse { responses: vec![topic], throttle_time_ms: 11 });
        let head = b"\0\0\0\x03\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\0\x02\0\0\0\0\0\0\0\x07";
        for (version, tail) in [(0, &b""[..]), (1, b"\0\0\0\x0b"), (2, b"\0\0\0\0\0\0\0\x09\0\0\0\x0b")] {
            let frame = encode(3, &response, version).unwrap();
            let length = (frame.len() as u32 - 4).to_be_bytes();
            assert_eq!(frame, [&length[..], head, tail].concat(), "{version}");
        }
    }
}
