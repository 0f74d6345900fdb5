//! ReadShareGroupState (84): what is kept of share partitions, for the brokers that lead them.

use flumen_groups::share_state::{ShareState, StateBatch as Kept};
use flumen_protocol::message;
use flumen_protocol::messages::read_share_group_state_request::PartitionData;
use flumen_protocol::messages::read_share_group_state_response::{
    PartitionResult, ReadStateResult, StateBatch,
};
use flumen_protocol::messages::{ReadShareGroupStateRequest, ReadShareGroupStateResponse, Uuid};

use super::share_states::{self, Refusal};
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ReadShareGroupStateRequest,
    _: i16,
) -> ReadShareGroupStateResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let read = read(ctx, &request.group_id, topic.topic_id, &wanted).await;
            let mut told = read.map_or_else(refusal, |state| told(&state));
            told.partition = wanted.partition;
            partitions.push(told);
        }
        results.push(message!(ReadStateResult { topic_id: topic.topic_id, partitions }));
    }
    message!(ReadShareGroupStateResponse { results })
}

async fn read(ctx: &Ctx, group: &str, topic: Uuid, wanted: &PartitionData) -> Result<ShareState, Refusal> {
    share_states::may(ctx)?;
    let key = share_states::key(group, topic, wanted.partition)?;
    share_states::check_state(ctx, &key).await?;
    Ok(ctx.broker.share().store().read(&key, wanted.leader_epoch).await?)
}

fn told(state: &ShareState) -> PartitionResult {
    let batch = |batch: &Kept| {
        message!(StateBatch {
            first_offset: batch.first.0,
            last_offset: batch.last.0,
            delivery_state: batch.state as i8,
            delivery_count: batch.count,
        })
    };
    message!(PartitionResult {
        error_message: None,
        state_epoch: state.state_epoch,
        start_offset: state.start.0,
        state_batches: state.batches.iter().map(batch).collect(),
    })
}

fn refusal(refusal: Refusal) -> PartitionResult {
    message!(PartitionResult { error_code: refusal.error.code(), error_message: refusal.words() })
}
