//! DeleteShareGroupState (86): what is kept of share partitions goes. For brokers.

use flumen_protocol::messages::delete_share_group_state_request::PartitionData;
use flumen_protocol::messages::delete_share_group_state_response::{DeleteStateResult, PartitionResult};
use flumen_protocol::messages::{DeleteShareGroupStateRequest, DeleteShareGroupStateResponse, Uuid};
use flumen_protocol::{ErrorCode, message};

use super::share_states::{self, Refusal};
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DeleteShareGroupStateRequest,
    _: i16,
) -> DeleteShareGroupStateResponse {
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let refused = delete(ctx, &request.group_id, topic.topic_id, &wanted).await.err();
            partitions.push(message!(PartitionResult {
                partition: wanted.partition,
                error_code: refused.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
                error_message: refused.and_then(|refusal| refusal.words()),
            }));
        }
        results.push(message!(DeleteStateResult { topic_id: topic.topic_id, partitions }));
    }
    message!(DeleteShareGroupStateResponse { results })
}

async fn delete(ctx: &Ctx, group: &str, topic: Uuid, wanted: &PartitionData) -> Result<(), Refusal> {
    share_states::may(ctx)?;
    let key = share_states::key(group, topic, wanted.partition)?;
    share_states::check_topic(ctx, &key)?;
    Ok(ctx.broker.share().store().delete(&key).await?)
}
