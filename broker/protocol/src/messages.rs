//! The generated messages and the values in them: the only door to `kafka-wire`.
//!
//! They may grow fields, so that they are not written as literals: see [`crate::message!`].

pub use kafka_wire::*;
pub use kafka_wire_core::{ApiVersion, DecodeError, DecodeLimits, EncodeError, StrBytes, Uuid, VersionRange};

use flumen_types::TopicId;

/// A topic's id as it is on the wire.
pub fn wire_id(id: TopicId) -> Uuid {
    Uuid::from_bytes(id.0.into_bytes())
}

/// A topic's id from the wire.
pub fn topic_id(id: Uuid) -> TopicId {
    TopicId(uuid::Uuid::from_bytes(id.to_bytes()))
}

/// A message with these fields set and the others at Kafka's defaults.
///
/// ```
/// use flumen_protocol::{message, messages::DeleteTopicsRequest};
/// let request = message!(DeleteTopicsRequest { topic_names: vec!["orders".into()], timeout_ms: 5000 });
/// assert_eq!(request.timeout_ms, 5000);
/// ```
#[macro_export]
macro_rules! message {
    ($type:path { $($field:ident $(: $value:expr)?),* $(,)? }) => {{
        let mut message = <$type>::default();
        $($crate::message!(@set message $field $($value)?);)*
        message
    }};
    (@set $message:ident $field:ident $value:expr) => { $message.$field = $value };
    (@set $message:ident $field:ident) => { $message.$field = $field };
}
