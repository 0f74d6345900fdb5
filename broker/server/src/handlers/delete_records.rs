//! DeleteRecords (21): moves the start of partitions forward.

use flumen_auth::Operation;
use flumen_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use flumen_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{Offset, PartitionId};

use crate::access::Resource;
use crate::ctx::Ctx;
use crate::internal_topics::is_internal;
use crate::partition_log::TrimError;

pub(crate) async fn handle(ctx: &Ctx, request: DeleteRecordsRequest, _: i16) -> DeleteRecordsResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let (error, start) =
                match delete(ctx, &topic.name, wanted.partition_index, Offset(wanted.offset)).await {
                    Ok(start) => (ErrorCode::None, start),
                    Err(error) => (error, Offset::UNKNOWN),
                };
            partitions.push(message!(DeleteRecordsPartitionResult {
                partition_index: wanted.partition_index,
                low_watermark: start.0,
                error_code: error.code(),
            }));
        }
        topics.push(message!(DeleteRecordsTopicResult { name: topic.name, partitions }));
    }
    message!(DeleteRecordsResponse { topics })
}

async fn delete(ctx: &Ctx, topic: &str, partition: i32, to: Offset) -> Result<Offset, ErrorCode> {
    ctx.may(Operation::Delete, Resource::Topic(topic))?;
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let topic = ctx.broker.topic(topic).ok_or(unknown)?;
    if is_internal(&topic.name) {
        return Err(ErrorCode::InvalidTopicException);
    }
    if !topic.config.cleanup_policy.delete {
        return Err(ErrorCode::PolicyViolation);
    }
    let log = topic.partition(PartitionId(partition)).ok_or(unknown)?;
    log.trim(to).await.map_err(|error| match error {
        TrimError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        TrimError::Storage(error) => {
            tracing::error!(partition = %log.id(), error = &error as &dyn std::error::Error, "a trim failed");
            ErrorCode::KafkaStorageError
        }
    })
}
