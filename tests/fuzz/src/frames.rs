//! A request's frame, without its length.

use bytes::Bytes;
use flumen_protocol::api::{Api, Request};
use flumen_protocol::request::RequestHead;

pub(crate) fn run(data: &[u8]) {
    let frame = Bytes::copy_from_slice(data);
    let Ok((head, body)) = RequestHead::split(frame.clone()) else { return };
    assert!(body.len() <= frame.len(), "a body is a part of its frame");
    let Some(api) = Api::find(head.api_key).filter(|api| api.serves(head.version)) else { return };
    let _ = Request::decode(api.key, head.version, body);
}
