//! ShareGroupHeartbeat (76): a member of a share group joins, lives, hears what it is to work on, and
//! leaves.

use flumen_auth::Operation;
use flumen_groups::consumer::Assignment;
use flumen_groups::share::{Answer, Heartbeat};
use flumen_protocol::messages::share_group_heartbeat_response::{
    Assignment as Told, TopicPartitions as Assigned,
};
use flumen_protocol::messages::{ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse, StrBytes, wire_id};
use flumen_protocol::{ErrorCode, message};

use super::group_places::by_topic;
use super::share_acknowledgements::is_member_id;
use crate::access::Resource;
use crate::coordinator::HeartbeatRefused;
use crate::ctx::Ctx;
use crate::features::SHARE_VERSION;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ShareGroupHeartbeatRequest,
    _: i16,
) -> ShareGroupHeartbeatResponse {
    let group = request.group_id.clone();
    if let Err(refused) = check(ctx, &request) {
        return refusal(refused);
    }
    let text = |text: Option<StrBytes>| text.map(|text| text.to_string());
    let beat = Heartbeat {
        member_id: request.member_id.to_string(),
        epoch: request.member_epoch,
        rack_id: text(request.rack_id),
        topics: request.subscribed_topic_names.map(|names| names.iter().map(ToString::to_string).collect()),
        client_id: ctx.client_id.as_deref().unwrap_or_default().to_string(),
        client_host: format!("/{}", ctx.peer.ip().to_canonical()),
    };
    match ctx.broker.groups().share_heartbeat(&group, &beat).await {
        Ok(answer) => told(&answer),
        Err(refused) => refusal(refused),
    }
}

fn check(ctx: &Ctx, request: &ShareGroupHeartbeatRequest) -> Result<(), HeartbeatRefused> {
    ctx.needs(SHARE_VERSION)?;
    ctx.may(Operation::Read, Resource::Group(&request.group_id))?;
    if !is_member_id(&request.member_id) {
        let text = Some("Invalid member id in the request.".into());
        return Err(HeartbeatRefused { error: ErrorCode::InvalidRequest, text });
    }
    let mut topics = request.subscribed_topic_names.iter().flatten();
    Ok(topics.try_for_each(|topic| ctx.may(Operation::Describe, Resource::Topic(topic)))?)
}

fn told(answer: &Answer) -> ShareGroupHeartbeatResponse {
    message!(ShareGroupHeartbeatResponse {
        error_message: None,
        member_id: Some((&*answer.member_id).into()),
        member_epoch: answer.epoch,
        heartbeat_interval_ms: i32::try_from(answer.heartbeat_interval.0).unwrap_or(i32::MAX),
        assignment: answer.assigned.as_ref().map(assignment),
    })
}

fn assignment(assigned: &Assignment) -> Told {
    let topics = by_topic(assigned).into_iter();
    let told = topics.map(|(id, partitions)| message!(Assigned { topic_id: wire_id(id), partitions }));
    message!(Told { topic_partitions: told.collect() })
}

fn refusal(refused: HeartbeatRefused) -> ShareGroupHeartbeatResponse {
    message!(ShareGroupHeartbeatResponse {
        error_code: refused.error.code(),
        error_message: refused.text.map(StrBytes::from),
        member_id: None,
    })
}
