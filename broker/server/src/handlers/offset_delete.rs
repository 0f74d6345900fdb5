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
    if let Err(error) = ctx.may(Operation::Delete, Resource::Group(&request.group_id)) {
        return message!(OffsetDeleteResponse { error_code: error.code() });
    }
    let refused = |topic: &str| ctx.may(Operation::Read, Resource::Topic(topic)).err();
    let refused: Vec<_> = request.topics.iter().map(|topic| refused(&topic.name)).collect();
    let allowed = request.topics.iter().zip(&refused).filter(|(_, refused)| refused.is_none());
    let named = allowed.flat_map(|(topic, _)| {
        topic.partitions.iter().map(|partition| TopicPartition::new(&*topic.name, partition.partition_index))
    });
    let named: Vec<_> = named.collect();
    let errors = match ctx.broker.groups().delete_offsets(&request.group_id, &named).await {
        Ok(errors) => errors,
        Err(error) => return message!(OffsetDeleteResponse { error_code: error.code() }),
    };
    let mut errors = errors.into_iter();
    let topics = request.topics.into_iter().zip(refused).map(|(topic, refused)| {
        let partitions = topic.partitions.iter().map(|partition| {
            let error = refused.or_else(|| errors.next()).unwrap_or(ErrorCode::UnknownServerError);
            message!(OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: error.code(),
            })
        });
        let partitions = partitions.collect();
        message!(OffsetDeleteResponseTopic { name: topic.name, partitions })
    });
    message!(OffsetDeleteResponse { topics: topics.collect() })
}
