//! What consumers of the classic protocol write into their metadata and their assignments. A
//! coordinator looks into it for two reasons: whether a group still consumes a topic decides if its
//! offsets may go, and a group may go over to the consumer protocol and back (KIP-848).
//!
//! ```text
//! subscription  version i16 | topics array of string | user data nullable bytes
//!               | [1+] owned array of (topic string | array of i32) | [2+] generation i32
//!               | [3+] rack nullable string | ... (what later versions add)
//! assignment    version i16 | array of (topic string | array of i32) | user data nullable bytes | ...
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{PartitionId, TopicPartition};

use crate::wire::{Reader, WireError, Writer};

/// The protocol type of all consumers; others (Connect's workers) put other things into the metadata.
pub(crate) const CONSUMER: &str = "consumer";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) version: i16,
    pub(crate) topics: BTreeSet<Arc<str>>,
    pub(crate) owned: Vec<TopicPartition>,
    pub(crate) rack: Option<String>,
}

impl Subscription {
    pub(crate) fn read(metadata: &Bytes) -> Result<Subscription, WireError> {
        let mut input = Reader::new(metadata);
        let mut subscription = Subscription { version: input.i16("version")?, ..Subscription::default() };
        let count = input.count(false, "topics")?.unwrap_or(0);
        for _ in 0..count {
            subscription.topics.insert(input.string(false, "topic")?.into());
        }
        input.nullable_bytes("user data")?;
        if subscription.version >= 1 {
            subscription.owned = read_partitions(&mut input)?;
        }
        if subscription.version >= 2 {
            input.i32("generation")?;
        }
        if subscription.version >= 3 {
            subscription.rack = input.nullable_string(false, "rack")?;
        }
        Ok(subscription)
    }
}

/// `None` if the bytes are no subscription: then nothing is known of its topics.
pub(crate) fn topics(metadata: &Bytes) -> Option<BTreeSet<Arc<str>>> {
    let mut input = Reader::new(metadata);
    input.i16("version").ok()?;
    let count = input.count(false, "topics").ok()??;
    (0..count).map(|_| input.string(false, "topic").ok().map(Arc::from)).collect()
}

/// The partitions of an assignment, and whether its assignor has put something of its own beside them.
pub(crate) fn read_assignment(assignment: &Bytes) -> Result<(Vec<TopicPartition>, bool), WireError> {
    if assignment.is_empty() {
        return Ok((Vec::new(), false));
    }
    let mut input = Reader::new(assignment);
    input.i16("version")?;
    let partitions = read_partitions(&mut input)?;
    let user_data = input.nullable_bytes("user data")?;
    Ok((partitions, user_data.is_some_and(|bytes| !bytes.is_empty())))
}

/// Partitions of one topic stand together.
pub(crate) fn write_assignment(version: i16, topics: &[(Arc<str>, Vec<PartitionId>)]) -> Bytes {
    let mut out = Writer::default();
    out.i16(version);
    out.count(topics.len());
    for (topic, partitions) in topics {
        out.string(topic);
        out.count(partitions.len());
        partitions.iter().for_each(|partition| out.i32(partition.0));
    }
    out.i32(-1);
    out.finish()
}

fn read_partitions(input: &mut Reader) -> Result<Vec<TopicPartition>, WireError> {
    let mut all = Vec::new();
    for _ in 0..input.count(false, "topics")?.unwrap_or(0) {
        let topic: Arc<str> = input.string(false, "topic")?.into();
        for _ in 0..input.count(false, "partitions")?.unwrap_or(0) {
            let partition = PartitionId(input.i32("partition")?);
            all.push(TopicPartition { topic: topic.clone(), partition });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_and_rubbish_is_nothing() {
        let bytes = Bytes::from_static(b"\0\x01\0\0\0\x02\0\x01a\0\x02bc\xff\xff\xff\xff");
        assert_eq!(topics(&bytes), Some(["a".into(), "bc".into()].into()));
        assert_eq!(topics(&Bytes::from_static(b"\0\x01\0\0\0\x09\0\x01a")), None);
        assert_eq!(topics(&Bytes::new()), None);
    }

    #[test]
    fn subscriptions_of_all_versions_are_read() {
        let v0 = b"\0\0\0\0\0\x01\0\x01a\xff\xff\xff\xff".to_vec();
        let mut v3 = b"\0\x03\0\0\0\x01\0\x01a\0\0\0\x02uu".to_vec();
        v3.extend(b"\0\0\0\x01\0\x01a\0\0\0\x02\0\0\0\x07\0\0\0\x08\0\0\0\x05\0\x01r");
        let old = Subscription::read(&v0.into()).unwrap();
        assert_eq!((old.version, old.topics.len(), old.owned.len()), (0, 1, 0));
        let new = Subscription::read(&v3.into()).unwrap();
        assert_eq!(new.owned, [TopicPartition::new("a", 7), TopicPartition::new("a", 8)]);
        assert_eq!(new.rack.as_deref(), Some("r"));
        assert!(Subscription::read(&Bytes::from_static(b"\0\x01\0\0\0\0")).is_err());
    }

    #[test]
    fn assignments_come_back() {
        let written = write_assignment(1, &[("a".into(), vec![PartitionId(3), PartitionId(4)])]);
        let read = read_assignment(&written).unwrap();
        assert_eq!(read, (vec![TopicPartition::new("a", 3), TopicPartition::new("a", 4)], false));
        assert_eq!(read_assignment(&Bytes::new()).unwrap().0, []);
        let beside = Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\x01x");
        assert!(read_assignment(&beside).unwrap().1);
    }
}
