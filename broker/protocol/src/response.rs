//! Whole answers as a broker sends them.
//!
//! ```text
//! i32 length | i32 correlation id | tagged fields, by Api::response_header_version | body
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire_core::{ApiVersion, EncodeError};

use crate::api::Api;
use crate::messages::{KafkaMessage, KafkaResponse, ProduceResponse};
use crate::old;

/// A whole response frame, its length included.
///
/// In versions from before the generated ones an answer looks as in the first of those. Where it does not,
/// it has a function of its own.
pub fn encode_response<R: KafkaResponse>(
    correlation: i32,
    response: &R,
    version: i16,
) -> Result<Bytes, EncodeError> {
    let mut frame = begin_frame::<R>(correlation, version);
    let version = version.max(R::SUPPORTED_VERSIONS.min().value());
    response.encode_into(&mut frame, ApiVersion::new(version))?;
    let length = frame.len() - 4;
    set_length(&mut frame, length)?;
    Ok(frame.freeze())
}

/// As [`encode_response`], in all versions of Produce.
pub fn encode_produce_response(
    correlation: i32,
    response: &ProduceResponse,
    version: i16,
) -> Result<Bytes, EncodeError> {
    match version < ProduceResponse::SUPPORTED_VERSIONS.min().value() {
        true => old::encode_produce_response(correlation, response, version),
        false => encode_response(correlation, response, version),
    }
}

/// Room for the length, and the header.
pub(crate) fn begin_frame<R: KafkaResponse>(correlation: i32, version: i16) -> BytesMut {
    let mut frame = BytesMut::with_capacity(128);
    frame.put_i32(0);
    frame.put_i32(correlation);
    if Api::find(R::API_KEY.value()).is_some_and(|api| api.response_header_version(version) == 1) {
        frame.put_u8(0);
    }
    frame
}

pub(crate) fn set_length(frame: &mut [u8], length: usize) -> Result<(), EncodeError> {
    let length = i32::try_from(length).map_err(|_| EncodeError::FrameTooLarge { bytes: length })?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse};
    use crate::request::decode_response;

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for version in [0, 8, 9, 13] {
            let mut response = MetadataResponse::default();
            response.controller_id = if version == 0 { -1 } else { 4 };
            let frame = encode_response(9, &response, version).unwrap();
            assert_eq!(frame[4..8], 9_i32.to_be_bytes());
            let read = decode_response::<MetadataRequest>(frame.slice(8..), version).unwrap();
            assert_eq!(read.controller_id, response.controller_id, "{version}");
        }
    }

    #[test]
    fn api_versions_has_no_tags_in_its_header() {
        let frame = encode_response(1, &ApiVersionsResponse::default(), 3).unwrap();
        assert_eq!(frame[8..10], [0, 0], "the error code follows the correlation id");
        assert!(decode_response::<ApiVersionsRequest>(frame.slice(8..), 3).is_ok());
    }
}
