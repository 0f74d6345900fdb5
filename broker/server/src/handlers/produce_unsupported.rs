//! Produce (0) before version 3: advertised, and refused.
//!
//! Those versions carry message sets of magic 0 and 1, which are not taken. They are advertised because
//! older librdkafka else takes the broker for one without compression (KAFKA-18659). The refusal is in
//! the layout that was asked for:
//!
//! ```text
//! [ name, [ i32 partition, i16 error, i64 base offset, from 2: i64 append time ] ], from 1: i32 throttle
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use flumen_protocol::messages::{DecodeError, ProduceRequest};
use flumen_protocol::{ApiKey, ErrorCode, Request, RequestHead};

use crate::reply::Reply;

/// The request's layout is that of version 3 without what comes first there.
const NO_TRANSACTIONAL_ID: [u8; 2] = [0xff, 0xff];

pub(crate) fn answer(head: &RequestHead, body: Bytes) -> Result<Reply, DecodeError> {
    let body = [&NO_TRANSACTIONAL_ID, &body[..]].concat();
    let request = match Request::decode(ApiKey::Produce, 3, body.into())? {
        Request::Produce(request) if request.acks != 0 => request,
        _ => return Ok(Reply::Close("a produce in a version before record batches, with acks=0".into())),
    };
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    frame.put_i32(head.correlation);
    refuse(&mut frame, &request, head.version);
    let length = frame.len() as i32 - 4;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(Reply::from(frame.freeze()))
}

fn refuse(frame: &mut BytesMut, request: &ProduceRequest, version: i16) {
    frame.put_i32(request.topic_data.len() as i32);
    for topic in &request.topic_data {
        frame.put_i16(topic.name.len() as i16);
        frame.put_slice(topic.name.as_bytes());
        frame.put_i32(topic.partition_data.len() as i32);
        for partition in &topic.partition_data {
            frame.put_i32(partition.index);
            frame.put_i16(ErrorCode::UnsupportedVersion.code());
            frame.put_i64(-1);
            if version >= 2 {
                frame.put_i64(-1);
            }
        }
    }
    if version >= 1 {
        frame.put_i32(0);
    }
}
