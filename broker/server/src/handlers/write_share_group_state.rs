//! WriteShareGroupState (85): what has become of records of a share partition. For brokers.

use flumen_groups::share_state::{Delivered, StateBatch, StateWrite};
use flumen_protocol::messages::write_share_group_state_request::PartitionData;
use flumen_protocol::messages::write_share_group_state_response::{PartitionResult, WriteStateResult};
use flumen_protocol::messages::{Uuid, WriteShareGroupStateRequest, WriteShareGroupStateResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::Offset;

use super::share_states::{self, Refusal};
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: WriteShareGroupStateRequest,
    _: i16,
) -> WriteShareGroupStateResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let refused = write(ctx, &request.group_id, topic.topic_id, &wanted).await.err();
            partitions.push(message!(PartitionResult {
                partition: wanted.partition,
                error_code: refused.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
                error_message: refused.and_then(|refusal| refusal.words()),
            }));
        }
        results.push(message!(WriteStateResult { topic_id: topic.topic_id, partitions }));
    }
    message!(WriteShareGroupStateResponse { results })
}

async fn write(ctx: &Ctx, group: &str, topic: Uuid, wanted: &PartitionData) -> Result<(), Refusal> {
    share_states::may(ctx)?;
    let key = share_states::key(group, topic, wanted.partition)?;
    share_states::check_state(ctx, &key).await?;
    let batches = wanted.state_batches.iter().map(|batch| {
        Some(StateBatch {
            first: Offset(batch.first_offset),
            last: Offset(batch.last_offset),
            state: Delivered::read(batch.delivery_state)?,
            count: batch.delivery_count,
        })
    });
    let write = StateWrite {
        state_epoch: wanted.state_epoch,
        leader_epoch: wanted.leader_epoch,
        start: Offset(wanted.start_offset),
        done: wanted.delivery_complete_count,
        batches: batches.collect::<Option<_>>().ok_or(ErrorCode::InvalidRequest)?,
    };
    Ok(ctx.broker.share().store().write(&key, &write).await?)
}
