//! TxnOffsetCommit (28): offsets that count when the transaction does. From version 5 on it makes them part of it
//! (KIP-890); before that, AddOffsetsToTxn has.

use flumen_auth::Operation;
use flumen_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use flumen_protocol::messages::{TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{PartitionId, ProducerEpoch, ProducerId};

use super::committed::{Commits, NewOffset};
use super::transaction_joins::{Joins, in_words_of};
use crate::access::Resource;
use crate::coordinator::{Committer, Producer, TxnVersion};
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: TxnOffsetCommitRequest,
    version: i16,
) -> TxnOffsetCommitResponse {
    let producer =
        Producer { id: ProducerId(request.producer_id), epoch: ProducerEpoch(request.producer_epoch) };
    let from = Committer {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id_or_member_epoch,
        knows_epochs: true,
    };
    let mut commits = Commits::new(ctx, None);
    for topic in &request.topics {
        let found = commits.topic(&topic.name);
        for partition in &topic.partitions {
            commits.add(
                &found,
                NewOffset {
                    partition: PartitionId(partition.partition_index),
                    offset: partition.committed_offset,
                    leader_epoch: partition.committed_leader_epoch,
                    metadata: partition.committed_metadata.as_deref(),
                },
            );
        }
    }
    let (transactional_id, group) = (&*request.transactional_id, &*request.group_id);
    let may = ctx
        .may(Operation::Write, Resource::TransactionalId(transactional_id))
        .and_then(|()| ctx.may(Operation::Read, Resource::Group(group)));
    let errors = match may {
        Err(error) => commits.refuse(error),
        Ok(()) => {
            let run = commits.run(async |offsets| {
                let joined = join(ctx, transactional_id, producer, group, version).await;
                joined.map_err(|error| in_words_of(Joins::by_offset_commit(version), error))?;
                ctx.broker.groups().txn_commit_offsets(group, &from, producer, offsets).await
            });
            run.await
        }
    };
    let mut errors = errors.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            message!(TxnOffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: errors.next().unwrap_or(ErrorCode::UnknownServerError).code(),
            })
        });
        let partitions = partitions.collect();
        message!(TxnOffsetCommitResponseTopic { name: topic.name, partitions })
    });
    message!(TxnOffsetCommitResponse { topics: topics.collect() })
}

async fn join(
    ctx: &Ctx,
    transactional_id: &str,
    producer: Producer,
    group: &str,
    version: i16,
) -> Result<(), ErrorCode> {
    let transactions = ctx.broker.transactions();
    match Joins::by_offset_commit(version) {
        Joins::Itself => transactions.add_offsets(transactional_id, producer, group, TxnVersion::V2).await,
        _ => transactions.check_offsets(transactional_id, producer, group).await,
    }
}
