//! InitializeShareGroupState (83): a share partition begins, or begins anew. For brokers.

use flumen_protocol::messages::initialize_share_group_state_request::PartitionData;
use flumen_protocol::messages::initialize_share_group_state_response::{
    InitializeStateResult, PartitionResult,
};
use flumen_protocol::messages::{InitializeShareGroupStateRequest, InitializeShareGroupStateResponse, Uuid};
use flumen_protocol::{ErrorCode, message};
use flumen_types::Offset;

use super::share_states::{self, Refusal};
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: InitializeShareGroupStateRequest,
    _: i16,
) -> InitializeShareGroupStateResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let refused = initialize(ctx, &request.group_id, topic.topic_id, &wanted).await.err();
            partitions.push(message!(PartitionResult {
                partition: wanted.partition,
                error_code: refused.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
                error_message: refused.and_then(|refusal| refusal.words()),
            }));
        }
        results.push(message!(InitializeStateResult { topic_id: topic.topic_id, partitions }));
    }
    message!(InitializeShareGroupStateResponse { results })
}

async fn initialize(ctx: &Ctx, group: &str, topic: Uuid, wanted: &PartitionData) -> Result<(), Refusal> {
    share_states::may(ctx)?;
    let key = share_states::key(group, topic, wanted.partition)?;
    share_states::check_topic(ctx, &key)?;
    let start = Offset(wanted.start_offset);
    Ok(ctx.broker.share().store().initialize(&key, wanted.state_epoch, start).await?)
}
