//! DescribeShareGroupOffsets (90): where a share group begins on partitions, and how far behind it is.

use std::sync::Arc;

use flumen_auth::Operation;
use flumen_protocol::messages::describe_share_group_offsets_request::{
    DescribeShareGroupOffsetsRequestGroup as Wanted, DescribeShareGroupOffsetsRequestTopic as WantedTopic,
};
use flumen_protocol::messages::describe_share_group_offsets_response::{
    DescribeShareGroupOffsetsResponseGroup as Group, DescribeShareGroupOffsetsResponsePartition as Partition,
    DescribeShareGroupOffsetsResponseTopic as Topic,
};
use flumen_protocol::messages::{
    DescribeShareGroupOffsetsRequest, DescribeShareGroupOffsetsResponse, wire_id,
};
use flumen_protocol::{ErrorCode, message};
use flumen_types::PartitionId;

use super::alter_share_group_offsets::words;
use crate::access::Resource;
use crate::coordinator::share_key;
use crate::ctx::Ctx;
use crate::topics;

const NONE: i64 = -1;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DescribeShareGroupOffsetsRequest,
    _: i16,
) -> DescribeShareGroupOffsetsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    for wanted in request.groups {
        let told = describe(ctx, &wanted).await;
        let (topics, error) = told.map_or_else(|error| (Vec::new(), error), |told| (told, ErrorCode::None));
        groups.push(message!(Group {
            group_id: wanted.group_id,
            topics,
            error_code: error.code(),
            error_message: None,
        }));
    }
    message!(DescribeShareGroupOffsetsResponse { groups })
}

async fn describe(ctx: &Ctx, wanted: &Wanted) -> Result<Vec<Topic>, ErrorCode> {
    ctx.may(Operation::Describe, Resource::Group(&wanted.group_id))?;
    let group: Arc<str> = (&*wanted.group_id).into();
    let Some(topics) = &wanted.topics else { return all(ctx, &group).await };
    let (mut known, mut others) = (Vec::new(), Vec::new());
    for topic in topics {
        let may = ctx.may(Operation::Describe, Resource::Topic(&topic.topic_name));
        match (may, ctx.broker.topic(&topic.topic_name)) {
            (Ok(()), Some(found)) => known.push(of(ctx, &group, &found, &topic.partitions).await?),
            (may, _) => others.push(nothing(topic, may.err().unwrap_or(ErrorCode::None))),
        }
    }
    known.extend(others);
    Ok(known)
}

/// Every partition that the group keeps something of, and that may be described.
async fn all(ctx: &Ctx, group: &Arc<str>) -> Result<Vec<Topic>, ErrorCode> {
    let found = ctx.broker.groups().describe(group).await?;
    let initialized = found.as_ref().and_then(|group| group.share()).map(|group| group.initialized());
    let mut told = Vec::new();
    for (id, named) in initialized.unwrap_or_default() {
        let Some(topic) = ctx.broker.topics().by_id(id) else { continue };
        if ctx.may(Operation::Describe, Resource::Topic(&topic.name)).is_ok() {
            let partitions: Vec<i32> = named.partitions.into_iter().collect();
            told.push(of(ctx, group, &topic, &partitions).await?);
        }
    }
    Ok(told)
}

async fn of(
    ctx: &Ctx,
    group: &Arc<str>,
    topic: &topics::Topic,
    partitions: &[i32],
) -> Result<Topic, ErrorCode> {
    let mut told = Vec::with_capacity(partitions.len());
    for partition in partitions {
        told.push(partition_of(ctx, group, topic, *partition).await?);
    }
    Ok(message!(Topic { topic_name: (&*topic.name).into(), topic_id: wire_id(topic.id()), partitions: told }))
}

async fn partition_of(
    ctx: &Ctx,
    group: &Arc<str>,
    topic: &topics::Topic,
    partition: i32,
) -> Result<Partition, ErrorCode> {
    let place = (topic.id(), PartitionId(partition));
    let log = topic.partition(place.1);
    let state = match &log {
        Some(_) => ctx.broker.share().store().look(&share_key(group, place)).await?,
        None => None,
    };
    let lag = |start: i64, done: i32| {
        let end = log.map(|log| log.marks().high_watermark.0);
        let is_known = start != NONE && done != -1;
        end.filter(|_| is_known).map_or(NONE, |end| end - start - i64::from(done))
    };
    let (start, leader_epoch, lag) = match state {
        Some(state) => (state.start.0, state.leader_epoch, lag(state.start.0, state.done)),
        None => (NONE, 0, NONE),
    };
    Ok(message!(Partition {
        partition_index: partition,
        start_offset: start,
        leader_epoch,
        lag,
        error_message: None,
    }))
}

/// Of a topic that is not there, or may not be described.
fn nothing(topic: &WantedTopic, error: ErrorCode) -> Topic {
    let partitions = topic.partitions.iter().map(|partition| {
        message!(Partition {
            partition_index: *partition,
            start_offset: NONE,
            lag: NONE,
            error_code: error.code(),
            error_message: (error != ErrorCode::None).then(|| words(error)),
        })
    });
    message!(Topic { topic_name: topic.topic_name.clone(), partitions: partitions.collect() })
}
