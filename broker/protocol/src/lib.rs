//! Kafka's frames, api table and error codes over generated messages, and the metrics that clients push.
//!
//! Both directions: the broker decodes requests and encodes answers, the client the other way round.
//! Record batches are opaque here (`flumen-records` knows them). This crate alone names `kafka-wire`,
//! so that it can be replaced.

pub mod api;
pub mod error_code;
pub mod fetch_response;
pub mod limits;
pub mod messages;
pub mod old;
pub mod otlp;
pub mod request;
pub mod response;
pub mod share_fetch_response;

pub use api::{Api, ApiKey, Request};
pub use error_code::ErrorCode;
pub use fetch_response::encode_fetch_response;
pub use limits::FRAME_BYTES_MAX;
pub use request::{RequestHead, decode_response, encode_request};
pub use response::{encode_produce_response, encode_response};
pub use share_fetch_response::encode_share_fetch_response;
