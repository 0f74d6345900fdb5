//! DeleteRecords (21): moves the start of partitions forward, of many at once.

use flumen_auth::Operation;
use flumen_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use flumen_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{Offset, PartitionId};
use futures::{StreamExt, stream};

use crate::access::Resource;
use crate::ctx::Ctx;
use crate::internal_topics::is_internal;
use crate::partition_log::TrimError;

/// Trims at once share the writes of the checkpoint of starts, and each holds a thread while it waits.
const AT_ONCE: usize = 64;

pub(crate) async fn handle(ctx: &Ctx, request: DeleteRecordsRequest, _: i16) -> DeleteRecordsResponse {
    let counts: Vec<usize> = request.topics.iter().map(|topic| topic.partitions.len()).collect();
    let names: Vec<_> = request.topics.iter().map(|topic| topic.name.clone()).collect();
    let wanted = request.topics.into_iter().flat_map(|topic| {
        let name = topic.name;
        topic.partitions.into_iter().map(move |wanted| (name.clone(), wanted))
    });
    let trims = stream::iter(wanted).map(|(topic, wanted)| async move {
        let trimmed = delete(ctx, &topic, wanted.partition_index, Offset(wanted.offset)).await;
        let (error, start) = match trimmed {
            Ok(start) => (ErrorCode::None, start),
            Err(error) => (error, Offset::UNKNOWN),
        };
        message!(DeleteRecordsPartitionResult {
            partition_index: wanted.partition_index,
            low_watermark: start.0,
            error_code: error.code(),
        })
    });
    let mut trimmed = trims.buffered(AT_ONCE).collect::<Vec<_>>().await.into_iter();
    let topics = names.into_iter().zip(counts).map(|(name, count)| {
        let partitions = trimmed.by_ref().take(count).collect();
        message!(DeleteRecordsTopicResult { name, partitions })
    });
    message!(DeleteRecordsResponse { topics: topics.collect() })
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
        TrimError::Storage(_) => ErrorCode::KafkaStorageError,
    })
}
