//! The topics that the broker itself keeps, made when they are first needed, with Kafka's settings.

use std::collections::BTreeMap;

use crate::options::Options;

/// Groups and their offsets, in Kafka's own format.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";
/// Transactions, in Kafka's own format.
pub const TRANSACTION_STATE: &str = "__transaction_state";
/// What is done of the partitions that share groups work on, in Kafka's own format.
pub const SHARE_GROUP_STATE: &str = "__share_group_state";
/// Where each source stands.
pub const CURSORS: &str = "__flumen_cursors";

const ALL: [&str; 4] = [CONSUMER_OFFSETS, TRANSACTION_STATE, SHARE_GROUP_STATE, CURSORS];

pub(crate) fn is_internal(name: &str) -> bool {
    ALL.contains(&name)
}

/// How many partitions an internal topic has, and its settings.
pub(crate) fn shape(name: &str, options: &Options) -> (i32, BTreeMap<String, String>) {
    let partitions = match name {
        CONSUMER_OFFSETS => options.offsets_partitions,
        TRANSACTION_STATE => options.transactions_partitions,
        SHARE_GROUP_STATE => options.share.state_partitions,
        _ => 1,
    };
    // What came after a snapshot must not be taken out of order: the coordinator itself trims that log.
    let policy = match name {
        SHARE_GROUP_STATE => [("cleanup.policy", "delete"), ("retention.ms", "-1")].as_slice(),
        _ => &[("cleanup.policy", "compact")],
    };
    let settings = [
        ("compression.type", "producer"),
        ("segment.bytes", "104857600"),
        // Whatever is set for all topics: what was decided here is not to be undone by a power cut.
        ("flush.messages", "1"),
    ];
    let settings = policy.iter().copied().chain(settings);
    (partitions, settings.map(|(key, value)| (key.into(), value.into())).collect())
}
