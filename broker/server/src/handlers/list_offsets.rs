//! ListOffsets (2): the offset at a time, or at one of the places that have a name. Version 0, which asks
//! for several offsets, is `offsets_before`'s.

use std::collections::HashMap;

use flumen_auth::Operation;
use flumen_protocol::messages::list_offsets_request::ListOffsetsPartition;
use flumen_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use flumen_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{LeaderEpoch, Offset, Timestamp, TopicPartition};

use super::fetch::{check_epoch, read_code};
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::partition_log::{PartitionLog, TimeQuery, TimedOffset};

pub(super) const LATEST: i64 = -1;
pub(super) const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
/// With tiered storage: the last offset that was moved there, and the first that waits to be.
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;
const READ_COMMITTED: i8 = 1;

pub(crate) async fn handle(ctx: &Ctx, request: ListOffsetsRequest, version: i16) -> ListOffsetsResponse {
    let committed = request.isolation_level == READ_COMMITTED;
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let may = ctx.may(Operation::Describe, Resource::Topic(&topic.name));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        let mut times: HashMap<i32, usize> = HashMap::new();
        for wanted in &topic.partitions {
            *times.entry(wanted.partition_index).or_default() += 1;
        }
        for wanted in topic.partitions {
            let Some(times) = times.remove(&wanted.partition_index) else { continue };
            let log = ctx.broker.partition(&TopicPartition::new(&*topic.name, wanted.partition_index));
            let found = match (may, log) {
                (Err(error), _) => Err(error),
                _ if times > 1 => Err(ErrorCode::InvalidRequest),
                (Ok(()), Some(_)) if version < first_version(wanted.timestamp) => {
                    Err(ErrorCode::UnsupportedVersion)
                }
                (Ok(()), Some(log)) => find(log.as_ref(), &wanted, committed).await,
                (Ok(()), None) => Err(ErrorCode::UnknownTopicOrPartition),
            };
            partitions.push(describe(wanted.partition_index, found, version));
        }
        topics.push(message!(ListOffsetsTopicResponse { name: topic.name, partitions }));
    }
    message!(ListOffsetsResponse { topics })
}

/// From which version on a place may be asked for.
fn first_version(timestamp: i64) -> i16 {
    match timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        _ => 0,
    }
}

/// `None` if there is no record there that this reader may see.
async fn find(
    log: &dyn PartitionLog,
    wanted: &ListOffsetsPartition,
    committed: bool,
) -> Result<Option<TimedOffset>, ErrorCode> {
    let marks = log.marks();
    check_epoch(&marks, wanted.current_leader_epoch)?;
    let bound = if committed { marks.last_stable } else { marks.high_watermark };
    let place = |offset| {
        let epoch = LeaderEpoch(marks.epoch.0.max(0));
        Ok(Some(TimedOffset { offset, timestamp: Timestamp::NONE, epoch }))
    };
    let query = match wanted.timestamp {
        LATEST => return place(bound),
        EARLIEST | EARLIEST_LOCAL => return place(marks.start),
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(None),
        MAX_TIMESTAMP => TimeQuery::Latest,
        time if time >= 0 => TimeQuery::AtOrAfter(Timestamp(time)),
        _ => return Err(ErrorCode::UnsupportedVersion),
    };
    let found = log.find(query).await.map_err(|error| read_code(&error))?;
    Ok(found.filter(|found| found.offset < bound))
}

fn describe(
    partition_index: i32,
    found: Result<Option<TimedOffset>, ErrorCode>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let nothing =
        TimedOffset { offset: Offset::UNKNOWN, timestamp: Timestamp::NONE, epoch: LeaderEpoch::UNKNOWN };
    let error = found.as_ref().err().copied().unwrap_or_default();
    let found = found.ok().flatten().unwrap_or(nothing);
    let epoch = if version >= 4 { found.epoch } else { LeaderEpoch::UNKNOWN };
    message!(ListOffsetsPartitionResponse {
        partition_index,
        error_code: error.code(),
        timestamp: found.timestamp.0,
        offset: found.offset.0,
        leader_epoch: epoch.0,
    })
}
