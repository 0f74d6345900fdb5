//! AlterPartitionReassignments (45): a partition can be where it is, on the one node, and nowhere else.

use flumen_auth::Operation;
use flumen_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use flumen_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use flumen_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::TopicPartition;

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: AlterPartitionReassignmentsRequest,
    _: i16,
) -> AlterPartitionReassignmentsResponse {
    if let Err(error) = ctx.may(Operation::Alter, Resource::Cluster) {
        return message!(AlterPartitionReassignmentsResponse { error_code: error.code() });
    }
    let responses = request.topics.into_iter().map(|topic| {
        let answer = |wanted: &ReassignablePartition| {
            let mut response = message!(ReassignablePartitionResponse {
                partition_index: wanted.partition_index,
                error_message: None,
            });
            if let Err(refusal) = judge(ctx, &topic.name, wanted) {
                response.error_code = refusal.error.code();
                response.error_message = refusal.words();
            }
            response
        };
        let partitions = topic.partitions.iter().map(answer).collect();
        message!(ReassignableTopicResponse { name: topic.name, partitions })
    });
    message!(AlterPartitionReassignmentsResponse {
        error_message: None,
        allow_replication_factor_change: request.allow_replication_factor_change,
        responses: responses.collect(),
    })
}

fn judge(ctx: &Ctx, topic: &str, wanted: &ReassignablePartition) -> Result<(), Refusal> {
    ctx.broker
        .partition(&TopicPartition::new(topic, wanted.partition_index))
        .ok_or_else(|| Refusal::new(ErrorCode::UnknownTopicOrPartition, "there is no such partition"))?;
    let Some(replicas) = &wanted.replicas else {
        let words = "no reassignment is in progress";
        return Err(Refusal::new(ErrorCode::NoReassignmentInProgress, words));
    };
    match replicas[..] {
        [one] if one == ctx.node_id() => Ok(()),
        _ => {
            let words = format!("broker {} is the only one there is", ctx.node_id());
            Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, words))
        }
    }
}
