//! ListOffsets (2) in version 0: up to so many offsets before a time, the latest first.
//!
//! Kafka answered with the first offsets of those segments that were last written to before that time, as
//! it knew no better. Here the first of them is exact, the first record at or after the time; behind it
//! comes the start of the log, as if it were one segment.

use flumen_auth::Operation;
use flumen_protocol::ErrorCode;
use flumen_protocol::old::{OffsetsBeforePartition, OffsetsBeforeRequest, OffsetsFound, OffsetsFoundTopic};
use flumen_types::{Offset, Timestamp, TopicPartition};

use super::fetch::read_code;
use super::list_offsets::{EARLIEST, LATEST};
use crate::access::Resource;
use crate::ctx::Ctx;
use crate::partition_log::{PartitionLog, TimeQuery};

pub(crate) async fn handle(ctx: &Ctx, request: OffsetsBeforeRequest) -> Vec<OffsetsFoundTopic> {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let may = ctx.may(Operation::Describe, Resource::Topic(&topic.name));
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let log = ctx.broker.partition(&TopicPartition::new(&*topic.name, wanted.partition));
            let found = match (may, log) {
                (Err(error), _) => Err(error),
                (Ok(()), Some(log)) => find(log.as_ref(), &wanted).await,
                (Ok(()), None) => Err(ErrorCode::UnknownTopicOrPartition),
            };
            let error_code = found.as_ref().err().copied().unwrap_or_default().code();
            let offsets = found.unwrap_or_default();
            partitions.push(OffsetsFound { partition: wanted.partition, error_code, offsets });
        }
        topics.push(OffsetsFoundTopic { name: topic.name, partitions });
    }
    topics
}

async fn find(log: &dyn PartitionLog, wanted: &OffsetsBeforePartition) -> Result<Vec<i64>, ErrorCode> {
    let marks = log.marks();
    let first = match wanted.timestamp {
        LATEST => marks.high_watermark,
        EARLIEST => marks.start,
        time => {
            let found = log.find(TimeQuery::AtOrAfter(Timestamp(time))).await;
            let found = found.map_err(|error| read_code(&error))?;
            found.map_or(marks.high_watermark, |found| found.offset.min(marks.high_watermark))
        }
    };
    let mut offsets: Vec<i64> = [first, marks.start].map(|Offset(offset)| offset).into();
    offsets.dedup();
    offsets.truncate(usize::try_from(wanted.offsets_max).unwrap_or(0));
    Ok(offsets)
}
