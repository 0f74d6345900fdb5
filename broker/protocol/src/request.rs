//! The header of a request, and whole requests as a client sends them.
//!
//! ```text
//! i32 length | i16 api key | i16 version | i32 correlation id | client id: i16 length, or -1, and text
//!            | tagged fields, if the version is flexible | body
//! ```
//!
//! The broker reads the header without its tagged fields first: of an API or a version that it does
//! not know it cannot tell whether there are any.

use bytes::{Bytes, BytesMut};
use kafka_wire::{OutboundFrameLimits, RequestResponsePair};
use kafka_wire_core::{ApiVersion, DecodeError, Decoder, EncodeError, KafkaDecode, StrBytes};

use crate::api::Api;
use crate::limits::decode_limits;

/// What every request begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    pub api_key: i16,
    pub version: i16,
    pub correlation: i32,
    pub client_id: Option<StrBytes>,
}

impl RequestHead {
    /// Splits a frame (without its length) into the head and what follows it: the body, if the API is
    /// served in this version.
    pub fn split(frame: Bytes) -> Result<(RequestHead, Bytes), DecodeError> {
        let mut decoder = Decoder::new(frame, decode_limits())?;
        let mut head = RequestHead {
            api_key: decoder.read_i16()?,
            version: decoder.read_i16()?,
            correlation: decoder.read_i32()?,
            client_id: None,
        };
        match Api::find(head.api_key).filter(|api| api.serves(head.version)) {
            Some(api) => {
                head.client_id = decoder.read_nullable_string()?;
                if api.is_flexible(head.version) {
                    decoder.read_tagged_fields()?;
                }
            }
            // Best effort: it is only for the log.
            None => head.client_id = decoder.read_nullable_string().unwrap_or_default(),
        }
        let rest = decoder.remaining();
        Ok((head, decoder.take_bytes(rest)?))
    }
}

/// A whole request frame, its length included.
pub fn encode_request<R: RequestResponsePair>(
    correlation: i32,
    client_id: &str,
    request: &R,
    version: i16,
) -> Result<BytesMut, EncodeError> {
    let mut frame = BytesMut::new();
    let limits = OutboundFrameLimits::new(i32::MAX as usize);
    let version = ApiVersion::new(version);
    kafka_wire::encode_request(&mut frame, correlation, Some(client_id.into()), request, version, limits)?;
    Ok(frame)
}

/// The answer in a frame, after its length and correlation id.
pub fn decode_response<R: RequestResponsePair>(
    rest: Bytes,
    version: i16,
) -> Result<R::Response, DecodeError> {
    let mut decoder = Decoder::new(rest, decode_limits())?;
    let flexible = Api::find(R::API_KEY.value()).is_some_and(|api| api.response_header_version(version) == 1);
    if flexible {
        decoder.read_tagged_fields()?;
    }
    let response = R::Response::decode(&mut decoder, ApiVersion::new(version))?;
    decoder.finish()?;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::{ApiKey, Request, TABLE};
    use crate::messages::MetadataRequest;

    #[test]
    fn a_request_is_read_as_it_was_written() {
        for version in [0, 1, 8, 9, 13] {
            let mut frame = encode_request(7, "me", &MetadataRequest::default(), version).unwrap().freeze();
            let length = frame.split_to(4);
            assert_eq!(i32::from_be_bytes(length[..].try_into().unwrap()) as usize, frame.len());
            let (head, body) = RequestHead::split(frame).unwrap();
            assert_eq!((head.api_key, head.version, head.correlation), (3, version, 7));
            assert_eq!(head.client_id.as_deref(), Some("me"));
            assert!(Request::decode(ApiKey::Metadata, version, body).is_ok(), "{version}");
        }
    }

    #[test]
    fn a_truncated_header_is_an_error() {
        for length in 0..8 {
            assert!(RequestHead::split(Bytes::from(vec![0; length])).is_err());
        }
    }

    #[test]
    fn the_head_of_an_unknown_version_is_still_read() {
        let frame = Bytes::from_static(&[0, 18, 0, 99, 0, 0, 0, 5, 0xff, 0xff, 1, 2, 3]);
        let (head, rest) = RequestHead::split(frame).unwrap();
        assert_eq!((head.api_key, head.version, head.correlation), (18, 99, 5));
        assert_eq!(&rest[..], [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(frame in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = RequestHead::split(frame.into());
        }

        #[test]
        fn no_body_panics(api in 0..TABLE.len(), at in 0_i16..20, body in prop::collection::vec(any::<u8>(), 0..300)) {
            let api = &TABLE[api];
            let version = api.min + at % (api.max - api.min + 1);
            let _ = Request::decode(api.key, version, body.into());
        }
    }
}
