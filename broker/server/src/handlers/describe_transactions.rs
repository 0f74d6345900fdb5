//! DescribeTransactions (65): where each transactional id stands.

use std::collections::BTreeMap;

use flumen_auth::Operation;
use flumen_groups::TxnMetadata;
use flumen_protocol::message;
use flumen_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use flumen_protocol::messages::{DescribeTransactionsRequest, DescribeTransactionsResponse, StrBytes};

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DescribeTransactionsRequest,
    _version: i16,
) -> DescribeTransactionsResponse {
    let mut transaction_states = Vec::with_capacity(request.transactional_ids.len());
    for transactional_id in request.transactional_ids {
        let found = match ctx.may(Operation::Describe, Resource::TransactionalId(&transactional_id)) {
            Ok(()) => ctx.broker.transactions().describe(&transactional_id).await,
            Err(error) => Err(error),
        };
        transaction_states.push(match found {
            Ok(listed) => describe(ctx, transactional_id, &listed.metadata),
            Err(error) => message!(TransactionState { error_code: error.code(), transactional_id }),
        });
    }
    message!(DescribeTransactionsResponse { transaction_states })
}

fn describe(ctx: &Ctx, transactional_id: StrBytes, metadata: &TxnMetadata) -> TransactionState {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    let may = |topic: &str| ctx.may(Operation::Describe, Resource::Topic(topic)).is_ok();
    for partition in metadata.partitions.iter().filter(|partition| may(&partition.topic)) {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topics =
        topics.into_iter().map(|(topic, partitions)| message!(TopicData { topic: topic.into(), partitions }));
    message!(TransactionState {
        transactional_id,
        transaction_state: metadata.status.name().into(),
        transaction_timeout_ms: i32::try_from(metadata.timeout.0).unwrap_or(i32::MAX),
        transaction_start_time_ms: metadata.started_at.0,
        producer_id: metadata.producer_id.0,
        producer_epoch: metadata.epoch.0,
        topics: topics.collect(),
    })
}
