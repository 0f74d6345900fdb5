//! ListOffsets 0: up to so many offsets before a time, the latest first.
//!
//! ```text
//! request: i32 replica | [ name, [ i32 partition, i64 time, i32 most offsets ] ]
//! answer:  [ name, [ i32 partition, i16 error, [ i64 offset ] ] ]
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire_core::{DecodeError, Decoder, EncodeError, StrBytes};

use super::{array, put_string};
use crate::messages::ListOffsetsResponse;
use crate::response::{begin_frame, set_length};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsBeforeRequest {
    pub topics: Vec<OffsetsBeforeTopic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsBeforeTopic {
    pub name: StrBytes,
    pub partitions: Vec<OffsetsBeforePartition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsBeforePartition {
    pub partition: i32,
    /// Or one of the places that have a name.
    pub timestamp: i64,
    pub offsets_max: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsFoundTopic {
    pub name: StrBytes,
    pub partitions: Vec<OffsetsFound>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetsFound {
    pub partition: i32,
    pub error_code: i16,
    pub offsets: Vec<i64>,
}

pub(super) fn decode(from: &mut Decoder) -> Result<OffsetsBeforeRequest, DecodeError> {
    let partition = |from: &mut Decoder| {
        Ok(OffsetsBeforePartition {
            partition: from.read_i32()?,
            timestamp: from.read_i64()?,
            offsets_max: from.read_i32()?,
        })
    };
    let topic = |from: &mut Decoder| {
        Ok(OffsetsBeforeTopic { name: from.read_string()?, partitions: array(from, partition)? })
    };
    from.read_i32()?;
    Ok(OffsetsBeforeRequest { topics: array(from, topic)? })
}

/// A whole response frame, its length included.
pub fn encode(correlation: i32, topics: &[OffsetsFoundTopic]) -> Result<Bytes, EncodeError> {
    let mut frame = begin_frame::<ListOffsetsResponse>(correlation, 0);
    frame.put_i32(topics.len() as i32);
    for topic in topics {
        put_string(&mut frame, &topic.name);
        frame.put_i32(topic.partitions.len() as i32);
        topic.partitions.iter().for_each(|found| put_found(&mut frame, found));
    }
    let length = frame.len() - 4;
    set_length(&mut frame, length)?;
    Ok(frame.freeze())
}

fn put_found(frame: &mut BytesMut, found: &OffsetsFound) {
    frame.put_i32(found.partition);
    frame.put_i16(found.error_code);
    frame.put_i32(found.offsets.len() as i32);
    found.offsets.iter().for_each(|offset| frame.put_i64(*offset));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_and_an_answer_written() {
        let body = b"\xff\xff\xff\xff\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\xff\xff\xff\xff\xff\xff\xff\xfe\0\0\0\x02";
        let mut from = Decoder::new(Bytes::from_static(body), crate::limits::decode_limits()).unwrap();
        let request = decode(&mut from).unwrap();
        from.finish().unwrap();
        let partitions = vec![OffsetsBeforePartition { partition: 5, timestamp: -2, offsets_max: 2 }];
        assert_eq!(request.topics, [OffsetsBeforeTopic { name: "t".into(), partitions }]);

        let partitions = vec![OffsetsFound { partition: 5, error_code: 0, offsets: vec![9, 0] }];
        let frame = encode(3, &[OffsetsFoundTopic { name: "t".into(), partitions }]).unwrap();
        let head = b"\0\0\0\x29\0\0\0\x03\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\0\0";
        let offsets = b"\0\0\0\x02\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\0";
        assert_eq!(frame, [&head[..], offsets].concat());
    }
}
