//! OffsetDelete (47): of topics that the group does not consume.

use flumen_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use flumen_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::TopicPartition;

use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: OffsetDeleteRequest, _version: i16) -> OffsetDeleteResponse {
    if request.group_id.is_empty() {
        return message!(OffsetDeleteResponse { error_code: ErrorCode::InvalidGroupId.code() });
    }
    let all = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| TopicPartition::new(&*topic.name, partition.partition_index))
    });
    let (mut known, mut is_known) = (Vec::new(), Vec::new());
    for partition in all {
        is_known.push(ctx.broker.partition(&partition).is_some());
        known.extend(Some(partition).filter(|_| is_known.last() == Some(&true)));
    }
    let deleted = match ctx.broker.groups().delete_offsets(&request.group_id, &known).await {
        Ok(errors) => errors,
        Err(error) => return message!(OffsetDeleteResponse { error_code: error.code() }),
    };
    let mut deleted = deleted.into_iter();
    let mut errors = is_known.into_iter().map(|known| match known {
        true => deleted.next().unwrap_or(ErrorCode::UnknownServerError),
        false => ErrorCode::UnknownTopicOrPartition,
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
