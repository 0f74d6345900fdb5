//! ShareAcknowledge (79): what a member of a share group says of records that it holds.

use flumen_protocol::messages::share_acknowledge_request::AcknowledgeTopic;
use flumen_protocol::messages::share_acknowledge_response::{PartitionData, ShareAcknowledgeTopicResponse};
use flumen_protocol::messages::{
    ShareAcknowledgeRequest, ShareAcknowledgeResponse, StrBytes, topic_id, wire_id,
};
use flumen_protocol::{ErrorCode, message};
use flumen_types::PartitionId;

use super::share_acknowledgements::{self, Batch, Renewal};
use crate::ctx::Ctx;
use crate::share_sessions::{FINAL, Place};

const FIRST_WITH_RENEWAL: i16 = 2;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ShareAcknowledgeRequest,
    version: i16,
) -> ShareAcknowledgeResponse {
    let owner = share_acknowledgements::owner(ctx, request.group_id.as_deref(), request.member_id.as_deref());
    let owner = match owner {
        Ok(owner) => owner,
        Err((error, words)) => return refusal(error, words),
    };
    let share = ctx.broker.share();
    let epoch = request.share_session_epoch;
    let session = share.sessions().acknowledge(&owner, epoch);
    if let Err(error) = session {
        return refusal(error, None);
    }
    let renewal = Renewal { known: version >= FIRST_WITH_RENEWAL, asked: request.is_renew_ack };
    let said = request.topics.iter().flat_map(said).collect();
    let limits = share.limits(&owner.0);
    let begun = share_acknowledgements::begin(ctx, &owner, &limits, said, renewal);
    let settled = share_acknowledgements::settle(begun).await;
    if epoch == FINAL {
        share.end_session(&owner);
    }
    let mut responses: Vec<ShareAcknowledgeTopicResponse> = Vec::new();
    for ((topic, partition), settled) in settled {
        let (error, words) = settled.err().unwrap_or((ErrorCode::None, None));
        let told = message!(PartitionData {
            partition_index: partition.0,
            error_code: error.code(),
            error_message: words.map(StrBytes::from),
        });
        let topic_id = wire_id(topic);
        match responses.iter_mut().find(|known| known.topic_id == topic_id) {
            Some(known) => known.partitions.push(told),
            None => {
                let partitions = vec![told];
                responses.push(message!(ShareAcknowledgeTopicResponse { topic_id, partitions }));
            }
        }
    }
    message!(ShareAcknowledgeResponse {
        error_message: None,
        acquisition_lock_timeout_ms: limits.lock.0 as i32,
        responses,
    })
}

fn said(topic: &AcknowledgeTopic) -> impl Iterator<Item = (Place, Vec<Batch<'_>>)> {
    topic.partitions.iter().map(|partition| {
        let batches = partition.acknowledgement_batches.iter().map(|batch| Batch {
            first: batch.first_offset,
            last: batch.last_offset,
            types: &batch.acknowledge_types,
        });
        ((topic_id(topic.topic_id), PartitionId(partition.partition_index)), batches.collect())
    })
}

fn refusal(error: ErrorCode, words: Option<&str>) -> ShareAcknowledgeResponse {
    message!(ShareAcknowledgeResponse { error_code: error.code(), error_message: words.map(StrBytes::from) })
}
