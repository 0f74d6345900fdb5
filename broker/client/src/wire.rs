//! Kafka's messages as this client needs them: the only file that knows how flumen-protocol encodes.

use bytes::{Bytes, BytesMut};

pub(crate) use flumen_protocol::messages::*;
pub(crate) use flumen_protocol::{ErrorCode, message};

use crate::versions::Api;

/// A frame with length and header; the correlation id is set when it is sent.
pub(crate) fn encode<R: Api>(request: &R, version: i16, client_id: &str) -> Result<BytesMut, String> {
    flumen_protocol::encode_request(0, client_id, request, version).map_err(|error| error.to_string())
}

/// Length, api key and version come before it.
pub(crate) fn set_correlation(frame: &mut BytesMut, correlation: i32) {
    frame[8..12].copy_from_slice(&correlation.to_be_bytes());
}

/// The message after the correlation id.
pub(crate) fn decode<R: Api>(answer: Bytes, version: i16) -> Result<R::Response, String> {
    flumen_protocol::decode_response::<R>(answer, version).map_err(|error| error.to_string())
}

pub(crate) fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
