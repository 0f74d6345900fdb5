//! ReadShareGroupStateSummary (87): where share partitions begin and how much is done, for brokers.

use flumen_groups::share_state::ShareState;
use flumen_protocol::message;
use flumen_protocol::messages::read_share_group_state_summary_request::PartitionData;
use flumen_protocol::messages::read_share_group_state_summary_response::{
    PartitionResult, ReadStateSummaryResult,
};
use flumen_protocol::messages::{
    ReadShareGroupStateSummaryRequest, ReadShareGroupStateSummaryResponse, Uuid,
};

use super::share_states::{self, Refusal};
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ReadShareGroupStateSummaryRequest,
    version: i16,
) -> ReadShareGroupStateSummaryResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let read = read(ctx, &request.group_id, topic.topic_id, &wanted).await;
            let mut told = read.map_or_else(refusal, |state| told(state.as_ref()));
            told.partition = wanted.partition;
            if version == 0 {
                told.delivery_complete_count = PartitionResult::default().delivery_complete_count;
            }
            partitions.push(told);
        }
        results.push(message!(ReadStateSummaryResult { topic_id: topic.topic_id, partitions }));
    }
    message!(ReadShareGroupStateSummaryResponse { results })
}

/// `None` if nothing is kept.
async fn read(
    ctx: &Ctx,
    group: &str,
    topic: Uuid,
    wanted: &PartitionData,
) -> Result<Option<ShareState>, Refusal> {
    share_states::may(ctx)?;
    let key = share_states::key(group, topic, wanted.partition)?;
    share_states::check_topic(ctx, &key)?;
    Ok(ctx.broker.share().store().look(&key).await?)
}

fn told(state: Option<&ShareState>) -> PartitionResult {
    message!(PartitionResult {
        error_message: None,
        state_epoch: state.map_or(0, |state| state.state_epoch),
        leader_epoch: state.map_or(0, |state| state.leader_epoch),
        start_offset: state.map_or(-1, |state| state.start.0),
        delivery_complete_count: state.map_or(-1, |state| state.done),
    })
}

fn refusal(refusal: Refusal) -> PartitionResult {
    message!(PartitionResult { error_code: refusal.error.code(), error_message: refusal.words() })
}
