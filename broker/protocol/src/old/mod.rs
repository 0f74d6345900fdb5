//! The versions that Kafka 4 has dropped and that the generated messages lack: laid out here by hand.
//!
//! They are what clients from before 2017 speak, and pykafka to this day. Their requests are read into the
//! generated messages, so that the handlers are the same ones; only ListOffsets 0 asks for something else.
//! All of it is from before tagged fields.
//!
//! | API | version | what differs from the oldest generated one |
//! | --- | --- | --- |
//! | Produce | 0-2 | no transactional id; answers: 0 without throttle time, 0-1 without append time |
//! | Fetch | 0-3 | no isolation level, 0-2 no limit of bytes; answers: nothing of transactions, 0 no throttle time |
//! | ListOffsets | 0 | asks for up to so many offsets before a time |
//! | OffsetCommit | 0-1 | no retention; 0 no member; 1 a time for each partition; answers: nothing |
//! | OffsetFetch | 0 | nothing (Kafka kept those offsets in ZooKeeper) |

mod fetch;
mod list_offsets;
mod offset_commit;
mod produce;

use bytes::{BufMut, BytesMut};
use kafka_wire_core::{ApiVersion, DecodeError, Decoder, KafkaDecode};

use crate::api::{ApiKey, Request};
use crate::messages::OffsetFetchRequest;

pub(crate) use fetch::encode as encode_fetch_response;
pub use list_offsets::{
    OffsetsBeforePartition, OffsetsBeforeRequest, OffsetsBeforeTopic, OffsetsFound, OffsetsFoundTopic,
    encode as encode_offsets_found,
};
pub use produce::encode as encode_produce_response;

/// Reads a body in a version below the API's `generated_from`.
pub(crate) fn decode(key: ApiKey, version: i16, from: &mut Decoder) -> Result<Request, DecodeError> {
    Ok(match key {
        ApiKey::Produce => Request::Produce(produce::decode(from)?),
        ApiKey::Fetch => Request::Fetch(fetch::decode(from, version)?),
        ApiKey::ListOffsets => Request::OffsetsBefore(list_offsets::decode(from)?),
        ApiKey::OffsetCommit => Request::OffsetCommit(offset_commit::decode(from, version)?),
        ApiKey::OffsetFetch => Request::OffsetFetch(OffsetFetchRequest::decode(from, ApiVersion::new(1))?),
        _ => unreachable!("{key} has no versions from before the generated ones"),
    })
}

/// An array: its length, and each of its elements.
fn array<T>(
    from: &mut Decoder,
    element: impl FnMut(&mut Decoder) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let length = from.read_array_len()?;
    from.read_vec(length, element)
}

/// A text; those of answers have come with a request.
fn put_string(frame: &mut BytesMut, text: &str) {
    frame.put_i16(text.len() as i16);
    frame.put_slice(text.as_bytes());
}
