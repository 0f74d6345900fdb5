//! What the five requests to the share coordinator have in common: brokers send them to each other.

use flumen_auth::Operation;
use flumen_groups::share_state::ShareKey;
use flumen_protocol::ErrorCode;
use flumen_protocol::messages::{StrBytes, Uuid, topic_id};
use flumen_types::PartitionId;

use crate::access::Resource;
use crate::ctx::Ctx;

/// An error, and Kafka's words for it.
pub(super) struct Refusal {
    pub(super) error: ErrorCode,
    words: &'static str,
}

impl Refusal {
    pub(super) fn words(&self) -> Option<StrBytes> {
        (!self.words.is_empty()).then(|| self.words.into())
    }
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Refusal {
        let words = match error {
            ErrorCode::InvalidRequest => "the share partition was not initialized",
            ErrorCode::FencedLeaderEpoch => "a newer leader has written",
            ErrorCode::FencedStateEpoch => "the offsets of the group were set anew meanwhile",
            _ => "",
        };
        Refusal { error, words }
    }
}

pub(super) fn may(ctx: &Ctx) -> Result<(), Refusal> {
    Ok(ctx.may(Operation::ClusterAction, Resource::Cluster)?)
}

/// Whose state it is, if there can be one.
pub(super) fn key(group: &str, topic: Uuid, partition: i32) -> Result<ShareKey, Refusal> {
    if group.is_empty() {
        return Err(Refusal { error: ErrorCode::InvalidGroupId, words: "a group's id may not be empty" });
    }
    if partition < 0 {
        let words = "The partition id cannot be a negative number.";
        return Err(Refusal { error: ErrorCode::InvalidRequest, words });
    }
    Ok(ShareKey { group: group.into(), topic: topic_id(topic), partition: PartitionId(partition) })
}

pub(super) fn check_topic(ctx: &Ctx, key: &ShareKey) -> Result<(), Refusal> {
    let topic = ctx.broker.topics().by_id(key.topic);
    match topic.is_some_and(|topic| topic.partition(key.partition).is_some()) {
        true => Ok(()),
        false => Err(ErrorCode::UnknownTopicOrPartition.into()),
    }
}

/// Kafka looks at the state before it looks at the topic, when it reads and writes.
pub(super) async fn check_state(ctx: &Ctx, key: &ShareKey) -> Result<(), Refusal> {
    match ctx.broker.share().store().look(key).await? {
        Some(_) => check_topic(ctx, key),
        None => Err(ErrorCode::InvalidRequest.into()),
    }
}
