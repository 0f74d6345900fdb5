//! OffsetDelete (47): of topics that the group does not consume.

use flumen_auth::Operation;
use flumen_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use flumen_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::TopicPartition;

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: OffsetDeleteRequest, _version: i16) -> OffsetDeleteResponse {
    if request.group_id.is_empty() {
        return message!(OffsetDeleteResponse { error_code: ErrorCode::InvalidGroupId.code() });
    }
    if let Err(error) = ctx.may(Operation::Delete, Resource::Group(&request.group_id)) {
        return message!(OffsetDeleteResponse { error_code: error.code() });
    }
    let all = request.topics.iter().flat_map(|topic| {
        let may = ctx.may(Operation::Read, Resource::Topic(&topic.name));
        let named = |index| TopicPartition::new(&*topic.name, index);
        topic.partitions.iter().map(move |partition| (named(partition.partition_index), may))
    });
    let (mut known, mut verdicts) = (Vec::new(), Vec::new());
    for (partition, may) in all {
        let is_known = may.is_ok() && ctx.broker.partition(&partition).is_some();
        verdicts.push(may.and(if is_known { Ok(()) } else { Err(ErrorCode::UnknownTopicOrPartition) }));
        known.extend(is_known.then_some(partition));
    }
    let deleted = match ctx.broker.groups().delete_offsets(&request.group_id, &known).await {
        Ok(errors) => errors,
        Err(error) => return message!(OffsetDeleteResponse { error_code: error.code() }),
    };
    let mut deleted = deleted.into_iter();
    let mut errors = verdicts.into_iter().map(|verdict| match verdict {
        Ok(()) => deleted.next().unwrap_or(ErrorCode::UnknownServerError),
        Err(error) => error,
    });
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            message!(OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: errors.next().unwrap_or(ErrorCode::UnknownServerError).code(),
            })
        });
        let partitions = partitions.collect();
        message!(OffsetDeleteResponseTopic { name: topic.name, partitions })
    });
    message!(OffsetDeleteResponse { topics: topics.collect() })
}
