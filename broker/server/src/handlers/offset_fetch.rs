//! OffsetFetch (9): of one group, or (from version 8) of several. What is not committed is -1.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_auth::Operation;
use flumen_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use flumen_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use flumen_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, StrBytes, topic_id, wire_id};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{PartitionId, TopicPartition};

use crate::access::Resource;
use crate::coordinator::{Committed, OffsetResult};
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: OffsetFetchRequest, version: i16) -> OffsetFetchResponse {
    let stable = request.require_stable;
    if version >= 8 {
        let mut groups = Vec::with_capacity(request.groups.len());
        for group in request.groups {
            groups.push(one(ctx, group, stable, version).await);
        }
        return message!(OffsetFetchResponse { groups });
    }
    let named = |topics: Vec<_>| topics.into_iter().map(as_newer).collect();
    let topics: Option<Vec<_>> = request.topics.map(named);
    let group = message!(OffsetFetchRequestGroup { group_id: request.group_id, topics: topics.clone() });
    let mut answer = one(ctx, group, stable, version).await;
    if version < 2 && answer.error_code != 0 {
        // There is one place for it: in each partition.
        let error = ErrorCode::from(answer.error_code);
        answer.topics = topics.into_iter().flatten().map(|topic| all_refused(topic, error)).collect();
    }
    let topics = answer.topics.into_iter().map(as_older).collect();
    message!(OffsetFetchResponse { topics, error_code: answer.error_code })
}

async fn one(
    ctx: &Ctx,
    group: OffsetFetchRequestGroup,
    stable: bool,
    version: i16,
) -> OffsetFetchResponseGroup {
    let group_id = group.group_id;
    let member_id = group.member_id.as_deref();
    let checked = match ctx.may(Operation::Describe, Resource::Group(&group_id)) {
        Ok(()) => ctx.broker.groups().check_fetch(&group_id, member_id, group.member_epoch).await,
        Err(error) => Err(error),
    };
    let fetched = match (checked, group.topics) {
        (Err(error), _) => Err(error),
        (Ok(()), None) => all(ctx, &group_id, stable, version).await,
        (Ok(()), Some(topics)) => some(ctx, &group_id, topics, stable, version).await,
    };
    match fetched {
        Ok(topics) => message!(OffsetFetchResponseGroup { group_id, topics }),
        Err(error) => message!(OffsetFetchResponseGroup { group_id, error_code: error.code() }),
    }
}

async fn all(
    ctx: &Ctx,
    group: &str,
    stable: bool,
    version: i16,
) -> Result<Vec<OffsetFetchResponseTopics>, ErrorCode> {
    let fetched = ctx.broker.groups().fetch_offsets(group, None, stable).await?;
    let mut topics: BTreeMap<Arc<str>, Vec<OffsetResult>> = BTreeMap::new();
    let may = |one: &OffsetResult| ctx.may(Operation::Describe, Resource::Topic(&one.0.topic)).is_ok();
    for one in fetched.into_iter().filter(may) {
        topics.entry(one.0.topic.clone()).or_default().push(one);
    }
    let told = topics.into_iter().filter_map(|(name, offsets)| {
        let id = ctx.broker.topic(&name).map(|topic| topic.id());
        // By id nothing can be said of a topic that is gone.
        let id = if version >= 10 { id? } else { id.unwrap_or_default() };
        Some(message!(OffsetFetchResponseTopics {
            topic_id: wire_id(id),
            name: (&*name).into(),
            partitions: offsets.into_iter().map(partition).collect(),
        }))
    });
    Ok(told.collect())
}

async fn some(
    ctx: &Ctx,
    group: &str,
    topics: Vec<OffsetFetchRequestTopics>,
    stable: bool,
    version: i16,
) -> Result<Vec<OffsetFetchResponseTopics>, ErrorCode> {
    let mut answer = Vec::with_capacity(topics.len());
    for topic in topics {
        let name: Option<Arc<str>> = match version {
            ..10 => Some((&*topic.name).into()),
            _ => ctx.broker.topics().by_id(topic_id(topic.topic_id)).map(|topic| topic.name.clone()),
        };
        let may =
            |name: &Arc<str>| ctx.may(Operation::Describe, Resource::Topic(name)).map(|()| name.clone());
        let partitions = match name.as_ref().ok_or(ErrorCode::UnknownTopicId).and_then(may) {
            Ok(name) => {
                let wanted = topic.partition_indexes.iter();
                let wanted: Vec<_> = wanted
                    .map(|n| TopicPartition { topic: name.clone(), partition: PartitionId(*n) })
                    .collect();
                let fetched = ctx.broker.groups().fetch_offsets(group, Some(&wanted), stable).await?;
                fetched.into_iter().map(partition).collect()
            }
            Err(error) => {
                answer.push(all_refused(topic, error));
                continue;
            }
        };
        let topic_id = topic.topic_id;
        answer.push(message!(OffsetFetchResponseTopics { name: topic.name, topic_id, partitions }));
    }
    Ok(answer)
}

fn partition((partition, found): OffsetResult) -> OffsetFetchResponsePartitions {
    let index = partition.partition.0;
    match found {
        Ok(Some(committed)) => told(index, &committed),
        Ok(None) => refused(index, ErrorCode::None),
        Err(error) => refused(index, error),
    }
}

fn told(partition_index: i32, committed: &Committed) -> OffsetFetchResponsePartitions {
    message!(OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: committed.offset.0,
        committed_leader_epoch: committed.leader_epoch.0,
        metadata: Some((&*committed.metadata).into()),
    })
}

fn all_refused(topic: OffsetFetchRequestTopics, error: ErrorCode) -> OffsetFetchResponseTopics {
    let partitions = topic.partition_indexes.iter().map(|n| refused(*n, error)).collect();
    message!(OffsetFetchResponseTopics { name: topic.name, topic_id: topic.topic_id, partitions })
}

fn refused(partition_index: i32, error: ErrorCode) -> OffsetFetchResponsePartitions {
    message!(OffsetFetchResponsePartitions {
        partition_index,
        committed_offset: -1,
        committed_leader_epoch: -1,
        metadata: Some(StrBytes::default()),
        error_code: error.code(),
    })
}

fn as_newer(
    topic: flumen_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic,
) -> OffsetFetchRequestTopics {
    message!(OffsetFetchRequestTopics { name: topic.name, partition_indexes: topic.partition_indexes })
}

fn as_older(topic: OffsetFetchResponseTopics) -> OffsetFetchResponseTopic {
    let partitions = topic.partitions.into_iter().map(|partition| {
        message!(OffsetFetchResponsePartition {
            partition_index: partition.partition_index,
            committed_offset: partition.committed_offset,
            committed_leader_epoch: partition.committed_leader_epoch,
            metadata: partition.metadata,
            error_code: partition.error_code,
        })
    });
    message!(OffsetFetchResponseTopic { name: topic.name, partitions: partitions.collect() })
}
