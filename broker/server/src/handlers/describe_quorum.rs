//! DescribeQuorum (55): who keeps the cluster's metadata. The only node does, in a log that has nothing to
//! replicate: it leads, alone, and nobody is behind.

use flumen_auth::Operation;
use flumen_protocol::messages::describe_quorum_request::TopicData as Asked;
use flumen_protocol::messages::describe_quorum_response::{
    Listener, Node, PartitionData, ReplicaState, TopicData,
};
use flumen_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};
use flumen_protocol::{ErrorCode, message};

use crate::access::Resource;
use crate::clock;
use crate::ctx::Ctx;

/// The only log that has a quorum, and its only partition.
const METADATA: (&str, i32) = ("__cluster_metadata", 0);
/// Nobody else was ever elected.
const LEADER_EPOCH: i32 = 1;
const END: i64 = 1;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DescribeQuorumRequest,
    version: i16,
) -> DescribeQuorumResponse {
    if let Err(error) = ctx.may(Operation::Describe, Resource::Cluster) {
        return message!(DescribeQuorumResponse {
            error_code: error.code(),
            error_message: Some(error.name().into())
        });
    }
    if !is_of_metadata(&request.topics) {
        let topics = request.topics.iter().map(unknown).collect();
        return message!(DescribeQuorumResponse { topics });
    }
    let partition = message!(PartitionData {
        leader_id: ctx.node_id(),
        leader_epoch: LEADER_EPOCH,
        high_watermark: END,
        current_voters: vec![only_voter(ctx)],
    });
    let topic = message!(TopicData { topic_name: METADATA.0.into(), partitions: vec![partition] });
    let nodes = if version < 2 { vec![] } else { vec![node(ctx)] };
    message!(DescribeQuorumResponse { topics: vec![topic], nodes })
}

fn is_of_metadata(topics: &[Asked]) -> bool {
    let [topic] = topics else { return false };
    let [partition] = &topic.partitions[..] else { return false };
    (&*topic.topic_name, partition.partition_index) == METADATA
}

fn unknown(topic: &Asked) -> TopicData {
    let partition = |index: i32| {
        message!(PartitionData {
            partition_index: index,
            error_code: ErrorCode::UnknownTopicOrPartition.code(),
            error_message: Some("there is no quorum but that of __cluster_metadata".into()),
        })
    };
    let partitions = topic.partitions.iter().map(|asked| partition(asked.partition_index)).collect();
    message!(TopicData { topic_name: topic.topic_name.clone(), partitions })
}

/// Whose times say that it is never behind.
fn only_voter(ctx: &Ctx) -> ReplicaState {
    let now = clock::now().0;
    message!(ReplicaState {
        replica_id: ctx.node_id(),
        log_end_offset: END,
        last_fetch_timestamp: now,
        last_caught_up_timestamp: now,
    })
}

fn node(ctx: &Ctx) -> Node {
    let advertised = ctx.advertised();
    let listener = message!(Listener {
        name: ctx.endpoint.name.as_str().into(),
        host: advertised.host.into(),
        port: advertised.port,
    });
    message!(Node { node_id: ctx.node_id(), listeners: vec![listener] })
}
