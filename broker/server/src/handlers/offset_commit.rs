//! OffsetCommit (8). Offsets of partitions that do not exist are refused one by one.

use flumen_auth::Operation;
use flumen_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use flumen_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use flumen_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{Millis, PartitionId};

use super::committed::{Commits, NewOffset};
use crate::access::Resource;
use crate::coordinator::Committer;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: OffsetCommitRequest, version: i16) -> OffsetCommitResponse {
    let from = Committer {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id_or_member_epoch,
        knows_epochs: version >= 9,
    };
    // Up to version 4 a client may name how long its offsets are to be kept.
    let retention = Some(Millis(request.retention_time_ms)).filter(|span| span.0 >= 0);
    let mut commits = Commits::new(ctx, retention);
    for topic in &request.topics {
        gather(&mut commits, topic, version);
    }
    let group = &request.group_id;
    let errors = match ctx.may(Operation::Read, Resource::Group(group)) {
        Ok(()) => commits.run(|offsets| ctx.broker.groups().commit_offsets(group, &from, offsets)).await,
        Err(error) => commits.refuse(error),
    };
    let mut errors = errors.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            message!(OffsetCommitResponsePartition {
                partition_index: partition.partition_index,
                error_code: errors.next().unwrap_or(ErrorCode::UnknownServerError).code(),
            })
        });
        let partitions = partitions.collect();
        message!(OffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, partitions })
    });
    message!(OffsetCommitResponse { topics: topics.collect() })
}

fn gather(commits: &mut Commits<'_>, topic: &OffsetCommitRequestTopic, version: i16) {
    let found = match version {
        ..10 => commits.topic(&topic.name),
        _ => commits.topic_by_id(topic.topic_id),
    };
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
