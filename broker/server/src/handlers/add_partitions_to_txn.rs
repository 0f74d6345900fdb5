//! AddPartitionsToTxn (24): all partitions of a transaction or none.
//!
//! Up to version 3 it is a client's, for one transaction. From version 4 on it is a broker's, for many, which may
//! only ask whether the partitions are there (verifyOnly). There are no other brokers here; who asks is answered
//! as Kafka answers, if it may act as one.

use flumen_auth::Operation;
use flumen_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use flumen_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use flumen_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{ProducerEpoch, ProducerId, TopicPartition};

use super::init_producer_id::fenced_since;
use crate::access::Resource;
use crate::coordinator::{Producer, TxnVersion};
use crate::ctx::Ctx;

const FIRST_OF_BROKERS: i16 = 4;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> AddPartitionsToTxnResponse {
    if version < FIRST_OF_BROKERS {
        let results = of_client(ctx, request, version).await;
        return message!(AddPartitionsToTxnResponse { results_by_topic_v3_and_below: results });
    }
    if let Err(error) = ctx.may(Operation::ClusterAction, Resource::Cluster) {
        return message!(AddPartitionsToTxnResponse { error_code: error.code() });
    }
    let mut results_by_transaction = Vec::with_capacity(request.transactions.len());
    for transaction in request.transactions {
        results_by_transaction.push(of_broker(ctx, transaction).await);
    }
    message!(AddPartitionsToTxnResponse { results_by_transaction })
}

async fn of_client(
    ctx: &Ctx,
    request: AddPartitionsToTxnRequest,
    version: i16,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = request.v3_and_below_topics;
    let wanted = partitions(&topics);
    let check = |partition: &TopicPartition| {
        ctx.may(Operation::Write, Resource::Topic(&partition.topic))?;
        exists(ctx, partition)
    };
    let id = &request.v3_and_below_transactional_id;
    if let Err(error) = ctx.may(Operation::Write, Resource::TransactionalId(id)) {
        return results(topics, |_| error);
    }
    if wanted.iter().any(|partition| check(partition).is_err()) {
        return results(topics, |partition| {
            check(partition).err().unwrap_or(ErrorCode::OperationNotAttempted)
        });
    }
    let producer = Producer {
        id: ProducerId(request.v3_and_below_producer_id),
        epoch: ProducerEpoch(request.v3_and_below_producer_epoch),
    };
    let added = ctx.broker.transactions().add_partitions(id, producer, &wanted, TxnVersion::V1).await;
    let error = fenced_since(added.err().unwrap_or_default(), version, 2);
    results(topics, |_| error)
}

async fn of_broker(ctx: &Ctx, transaction: AddPartitionsToTxnTransaction) -> AddPartitionsToTxnResult {
    let (id, topics) = (transaction.transactional_id, transaction.topics);
    let wanted = partitions(&topics);
    let producer = Producer {
        id: ProducerId(transaction.producer_id),
        epoch: ProducerEpoch(transaction.producer_epoch),
    };
    let transactions = ctx.broker.transactions();
    let topic_results = if wanted.iter().any(|partition| exists(ctx, partition).is_err()) {
        results(topics, |partition| exists(ctx, partition).err().unwrap_or(ErrorCode::OperationNotAttempted))
    } else if transaction.verify_only {
        let known = transactions.describe(&id).await.err();
        // Asked for by its transactional id alone, what is not there has no producer id either.
        let unknown = known.map(|error| match error {
            ErrorCode::TransactionalIdNotFound => ErrorCode::InvalidProducerIdMapping,
            error => error,
        });
        let verify = |partition: &TopicPartition| transactions.check_partition(&id, producer, partition);
        results(topics, |partition| unknown.or_else(|| verify(partition).err()).unwrap_or_default())
    } else {
        let added = transactions.add_partitions(&id, producer, &wanted, TxnVersion::V2).await;
        results(topics, |_| added.err().unwrap_or_default())
    };
    message!(AddPartitionsToTxnResult { transactional_id: id, topic_results })
}

fn partitions(topics: &[AddPartitionsToTxnTopic]) -> Vec<TopicPartition> {
    let of = |topic: &AddPartitionsToTxnTopic| {
        let name = topic.name.clone();
        topic.partitions.clone().into_iter().map(move |partition| TopicPartition::new(&*name, partition))
    };
    topics.iter().flat_map(of).collect()
}

fn exists(ctx: &Ctx, partition: &TopicPartition) -> Result<(), ErrorCode> {
    ctx.broker.partition(partition).map(drop).ok_or(ErrorCode::UnknownTopicOrPartition)
}

fn results(
    topics: Vec<AddPartitionsToTxnTopic>,
    error: impl Fn(&TopicPartition) -> ErrorCode,
) -> Vec<AddPartitionsToTxnTopicResult> {
    let of = |topic: AddPartitionsToTxnTopic| {
        let results = topic.partitions.iter().map(|partition| {
            message!(AddPartitionsToTxnPartitionResult {
                partition_index: *partition,
                partition_error_code: error(&TopicPartition::new(&*topic.name, *partition)).code(),
            })
        });
        let results_by_partition = results.collect();
        message!(AddPartitionsToTxnTopicResult { name: topic.name, results_by_partition })
    };
    topics.into_iter().map(of).collect()
}
