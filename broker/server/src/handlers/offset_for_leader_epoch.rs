//! OffsetForLeaderEpoch (23): where a leader's reign ended, so that a client sees what was cut off.

use flumen_auth::Operation;
use flumen_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use flumen_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use flumen_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{LeaderEpoch, Offset, TopicPartition};

use super::fetch::check_epoch;
use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: OffsetForLeaderEpochRequest,
    _: i16,
) -> OffsetForLeaderEpochResponse {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let tp = TopicPartition::new(&*topic.topic, wanted.partition);
            let (error, end) = match find(ctx, &tp, &wanted).await {
                Ok(end) => (ErrorCode::None, end),
                Err(error) => (error, None),
            };
            let (epoch, offset) = end.unwrap_or((LeaderEpoch::UNKNOWN, Offset::UNKNOWN));
            partitions.push(message!(EpochEndOffset {
                error_code: error.code(),
                partition: wanted.partition,
                leader_epoch: epoch.0,
                end_offset: offset.0,
            }));
        }
        topics.push(message!(OffsetForLeaderTopicResult { topic: topic.topic, partitions }));
    }
    message!(OffsetForLeaderEpochResponse { topics })
}

async fn find(
    ctx: &Ctx,
    tp: &TopicPartition,
    wanted: &OffsetForLeaderPartition,
) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    ctx.may(Operation::Describe, Resource::Topic(&tp.topic))?;
    let log = ctx.broker.partition(tp).ok_or(ErrorCode::UnknownTopicOrPartition)?;
    let marks = log.marks();
    check_epoch(&marks, wanted.current_leader_epoch)?;
    let end = log.offset_for_epoch(LeaderEpoch(wanted.leader_epoch)).await;
    // A partition without records has no epochs yet; its current one ends where it begins.
    Ok(end.or_else(|| {
        (wanted.leader_epoch == marks.epoch.0.max(0)).then_some((LeaderEpoch(wanted.leader_epoch), marks.end))
    }))
}
