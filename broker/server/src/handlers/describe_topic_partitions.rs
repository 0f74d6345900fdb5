//! DescribeTopicPartitions (75): topics a page at a time, in the order of their names.

use flumen_auth::Operation;
use flumen_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use flumen_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, wire_id};
use flumen_protocol::{ErrorCode, message};

use crate::access::Resource;
use crate::ctx::Ctx;
use crate::internal_topics::is_internal;
use crate::topics::Topic;

/// `max.request.partition.size.limit`
const PAGE_MAX: usize = 2000;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DescribeTopicPartitionsRequest,
    _: i16,
) -> DescribeTopicPartitionsResponse {
    if let Some(cursor) = request.cursor.as_ref().filter(|cursor| cursor.partition_index < 0) {
        return message!(DescribeTopicPartitionsResponse {
            topics: vec![refused(&cursor.topic_name, ErrorCode::InvalidRequest)],
        });
    }
    let mut names: Vec<String> = match request.topics.is_empty() {
        true => ctx.broker.topics().all().iter().map(|topic| topic.name.to_string()).collect(),
        false => request.topics.iter().map(|topic| topic.name.to_string()).collect(),
    };
    names.sort();
    names.dedup();
    let may = |name: &String| ctx.may(Operation::Describe, Resource::Topic(name)).is_ok();
    let (names, hidden): (Vec<_>, Vec<_>) = names.into_iter().partition(may);
    let (from, mut first) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.as_str(), usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => ("", 0),
    };
    let mut room = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PAGE_MAX);
    let mut response = DescribeTopicPartitionsResponse::default();
    for name in names.iter().filter(|name| name.as_str() >= from) {
        // The cursor's partition is that of its own topic.
        let skip = if name == from { std::mem::take(&mut first) } else { 0 };
        let Some(topic) = ctx.broker.topic(name) else {
            response.topics.push(unknown(ctx, name));
            continue;
        };
        if room == 0 {
            response.next_cursor = Some(cursor(name, 0));
            break;
        }
        let told = topic.partitions.len().saturating_sub(skip).min(room);
        response.topics.push(describe(ctx, &topic, skip, told));
        room -= told;
        if skip + told < topic.partitions.len() {
            response.next_cursor = Some(cursor(name, skip + told));
            break;
        }
    }
    // Who may not describe a topic does not learn whether it is there, and sees nothing of "all".
    for name in hidden.iter().filter(|name| !request.topics.is_empty() && name.as_str() >= from) {
        response.topics.push(refused(name, ErrorCode::TopicAuthorizationFailed));
    }
    response
}

fn cursor(name: &str, partition: usize) -> Cursor {
    message!(Cursor { topic_name: name.into(), partition_index: partition as i32 })
}

fn unknown(ctx: &Ctx, name: &str) -> DescribeTopicPartitionsResponseTopic {
    let mut told = match flumen_store::is_topic_name(name) {
        true => refused(name, ErrorCode::UnknownTopicOrPartition),
        false => refused(name, ErrorCode::InvalidTopicException),
    };
    told.topic_authorized_operations = ctx.operations(Resource::Topic(name));
    told
}

fn refused(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    message!(DescribeTopicPartitionsResponseTopic { error_code: error.code(), name: Some(name.into()) })
}

fn describe(ctx: &Ctx, topic: &Topic, skip: usize, told: usize) -> DescribeTopicPartitionsResponseTopic {
    let node = ctx.node_id();
    let partitions = topic.partitions.iter().enumerate().skip(skip).take(told).map(|(n, log)| {
        message!(DescribeTopicPartitionsResponsePartition {
            partition_index: n as i32,
            leader_id: node,
            leader_epoch: log.marks().epoch.0.max(0),
            replica_nodes: vec![node],
            isr_nodes: vec![node],
            // Null is in the format, but Kafka's own admin client does not survive it.
            eligible_leader_replicas: Some(Vec::new()),
            last_known_elr: Some(Vec::new()),
        })
    });
    message!(DescribeTopicPartitionsResponseTopic {
        name: Some((&*topic.name).into()),
        topic_id: wire_id(topic.id()),
        is_internal: is_internal(&topic.name),
        topic_authorized_operations: ctx.operations(Resource::Topic(&topic.name)),
        partitions: partitions.collect(),
    })
}
