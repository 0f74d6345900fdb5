//! AddPartitionsToTxn (24): all partitions of a request or none.

use flumen_auth::Operation;
use flumen_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use flumen_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{ProducerEpoch, ProducerId, TopicPartition};

use super::init_producer_id::fenced_since;
use crate::access::Resource;
use crate::coordinator::Producer;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> AddPartitionsToTxnResponse {
    let topics = request.v3_and_below_topics;
    let wanted = topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| TopicPartition::new(&*topic.name, *partition))
    });
    let wanted: Vec<_> = wanted.collect();
    let check = |partition: &TopicPartition| {
        ctx.may(Operation::Write, Resource::Topic(&partition.topic))?;
        ctx.broker.partition(partition).map(drop).ok_or(ErrorCode::UnknownTopicOrPartition)
    };
    let id = &request.v3_and_below_transactional_id;
    let added = match ctx.may(Operation::Write, Resource::TransactionalId(id)) {
        Err(error) => Some(Err(error)),
        Ok(()) if wanted.iter().any(|partition| check(partition).is_err()) => None,
        Ok(()) => {
            let producer = Producer {
                id: ProducerId(request.v3_and_below_producer_id),
                epoch: ProducerEpoch(request.v3_and_below_producer_epoch),
            };
            Some(ctx.broker.transactions().add_partitions(id, producer, &wanted).await)
        }
    };
    let error = |partition: &TopicPartition| match added {
        None => check(partition).err().unwrap_or(ErrorCode::OperationNotAttempted),
        Some(Ok(())) => ErrorCode::None,
        Some(Err(error)) => fenced_since(error, version, 2),
    };
    let results = topics.into_iter().map(|topic| {
        let results = topic.partitions.iter().map(|partition| {
            message!(AddPartitionsToTxnPartitionResult {
                partition_index: *partition,
                partition_error_code: error(&TopicPartition::new(&*topic.name, *partition)).code(),
            })
        });
        let results_by_partition = results.collect();
        message!(AddPartitionsToTxnTopicResult { name: topic.name, results_by_partition })
    });
    message!(AddPartitionsToTxnResponse { results_by_topic_v3_and_below: results.collect() })
}
