//! OffsetDelete (47): of topics that the group does not consume.

use flumen_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use flumen_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::TopicPartition;

use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: OffsetDeleteRequest, _version: i16) -> OffsetDeleteResponse {
    let named = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| TopicPartition::new(&*topic.name, partition.partition_index))
    });
    let named: Vec<_> = named.collect();
    let errors = match ctx.broker.groups().delete_offsets(&request.group_id, &named).await {
        Ok(errors) => errors,
        Err(error) => return message!(OffsetDeleteResponse { error_code: error.code() }),
    };
    let mut errors = errors.into_iter();
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
