//! AlterShareGroupOffsets (91): where a share group without members begins on partitions.

use std::sync::Arc;

use flumen_auth::Operation;
use flumen_protocol::messages::alter_share_group_offsets_request::AlterShareGroupOffsetsRequestTopic;
use flumen_protocol::messages::alter_share_group_offsets_response::{
    AlterShareGroupOffsetsResponsePartition, AlterShareGroupOffsetsResponseTopic,
};
use flumen_protocol::messages::{
    AlterShareGroupOffsetsRequest, AlterShareGroupOffsetsResponse, StrBytes, Uuid, wire_id,
};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{Offset, PartitionId};

use crate::access::Resource;
use crate::coordinator::{HeartbeatRefused, Starts};
use crate::ctx::Ctx;
use crate::features::SHARE_VERSION;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: AlterShareGroupOffsetsRequest,
    _: i16,
) -> AlterShareGroupOffsetsResponse {
    let may = |()| ctx.may(Operation::Read, Resource::Group(&request.group_id));
    if let Err(error) = ctx.needs(SHARE_VERSION).and_then(may) {
        return refusal(error.into());
    }
    if request.group_id.is_empty() {
        return refusal(no_name());
    }
    let mut starts = Starts::new();
    let responses = request.topics.iter().map(|topic| check(ctx, topic, &mut starts)).collect();
    match ctx.broker.groups().share_alter(&request.group_id, &starts).await {
        Ok(()) => message!(AlterShareGroupOffsetsResponse { error_message: None, responses }),
        Err(refused) => refusal(refused),
    }
}

/// Adds to `starts` what can be set; the answer for this topic.
fn check(
    ctx: &Ctx,
    topic: &AlterShareGroupOffsetsRequestTopic,
    starts: &mut Starts,
) -> AlterShareGroupOffsetsResponseTopic {
    let may = ctx.may(Operation::Read, Resource::Topic(&topic.topic_name));
    let found = ctx.broker.topic(&topic.topic_name);
    let name: Arc<str> = (&*topic.topic_name).into();
    let partitions = topic.partitions.iter().map(|wanted| {
        let partition = PartitionId(wanted.partition_index);
        let is_there = found.as_ref().is_some_and(|topic| topic.partition(partition).is_some());
        let error = match may {
            Err(error) => error,
            Ok(()) if !is_there => ErrorCode::UnknownTopicOrPartition,
            Ok(()) => {
                starts.push((name.clone(), partition, Offset(wanted.start_offset)));
                ErrorCode::None
            }
        };
        message!(AlterShareGroupOffsetsResponsePartition {
            partition_index: wanted.partition_index,
            error_code: error.code(),
            error_message: (error != ErrorCode::None).then(|| words(error)),
        })
    });
    let partitions = partitions.collect();
    let topic_id = found.as_ref().map_or(Uuid::ZERO, |topic| wire_id(topic.id()));
    message!(AlterShareGroupOffsetsResponseTopic {
        topic_name: topic.topic_name.clone(),
        topic_id,
        partitions
    })
}

/// Why something is refused, where nothing better is known.
pub(super) fn words(error: ErrorCode) -> StrBytes {
    match error {
        ErrorCode::UnknownTopicOrPartition => "there is no such topic or partition".into(),
        error => error.name().into(),
    }
}

/// A group without a name.
pub(super) fn no_name() -> HeartbeatRefused {
    HeartbeatRefused { error: ErrorCode::InvalidGroupId, text: Some("a group's id may not be empty".into()) }
}

fn refusal(refused: HeartbeatRefused) -> AlterShareGroupOffsetsResponse {
    message!(AlterShareGroupOffsetsResponse {
        error_code: refused.error.code(),
        error_message: Some(refused.text.map_or_else(|| words(refused.error), StrBytes::from)),
    })
}
