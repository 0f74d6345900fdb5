//! What the members of a classic consumer group tell each other inside JoinGroup and SyncGroup.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use flumen_types::TopicPartition;

use crate::topics::text;
use crate::wire::{
    ApiVersion, ConsumerProtocolAssignment, ConsumerProtocolSubscription, DecodeLimits,
    consumer_protocol_assignment, decode_consumer_protocol_assignment, decode_consumer_protocol_subscription,
    encode_consumer_protocol_assignment, encode_consumer_protocol_subscription, message,
};

/// The version every client reads; later ones add what only other assignors need.
const VERSION: ApiVersion = ApiVersion::new(0);

pub(crate) fn encode_subscription(topics: &[String]) -> Result<Bytes, String> {
    let subscription =
        message!(ConsumerProtocolSubscription { topics: topics.iter().map(|topic| text(topic)).collect() });
    let mut bytes = BytesMut::new();
    encode_consumer_protocol_subscription(&mut bytes, &subscription, VERSION)
        .map_err(|error| error.to_string())?;
    Ok(bytes.freeze())
}

pub(crate) fn decode_subscription(bytes: Bytes) -> Result<Vec<String>, String> {
    let (_, subscription) = decode_consumer_protocol_subscription(bytes, DecodeLimits::default())
        .map_err(|error| error.to_string())?;
    Ok(subscription.topics.iter().map(|topic| topic.to_string()).collect())
}

pub(crate) fn encode_assignment(topics: &BTreeMap<String, Vec<i32>>) -> Result<Bytes, String> {
    let assigned = topics.iter().map(|(topic, partitions)| {
        message!(consumer_protocol_assignment::TopicPartition {
            topic: text(topic),
            partitions: partitions.clone()
        })
    });
    let assignment = message!(ConsumerProtocolAssignment { assigned_partitions: assigned.collect() });
    let mut bytes = BytesMut::new();
    encode_consumer_protocol_assignment(&mut bytes, &assignment, VERSION)
        .map_err(|error| error.to_string())?;
    Ok(bytes.freeze())
}

/// Nothing at all is what a member gets that has not been given anything yet.
pub(crate) fn decode_assignment(bytes: Bytes) -> Result<Vec<TopicPartition>, String> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let (_, assignment) = decode_consumer_protocol_assignment(bytes, DecodeLimits::default())
        .map_err(|error| error.to_string())?;
    let partitions = assignment.assigned_partitions.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| TopicPartition::new(&*topic.topic, *partition))
    });
    Ok(partitions.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_understood() {
        let topics = vec!["a".to_string(), "b".to_string()];
        assert_eq!(decode_subscription(encode_subscription(&topics).unwrap()).unwrap(), topics);
        let mine = BTreeMap::from([("a".to_string(), vec![0, 2])]);
        let decoded = decode_assignment(encode_assignment(&mine).unwrap()).unwrap();
        assert_eq!(decoded, [TopicPartition::new("a", 0), TopicPartition::new("a", 2)]);
    }

    #[test]
    fn another_protocols_bytes_are_an_error() {
        assert!(decode_assignment(Bytes::from_static(b"\x00\x01\xff\xff\xff\xff")).is_err());
        assert_eq!(decode_assignment(Bytes::new()), Ok(vec![]));
    }
}
