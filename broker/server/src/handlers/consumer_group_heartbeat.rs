//! ConsumerGroupHeartbeat (68): a member of the consumer protocol joins, lives, hears what it is to
//! have, and leaves.

use flumen_auth::Operation;
use flumen_groups::consumer::{Answer, Assignment, Heartbeat};
use flumen_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use flumen_protocol::messages::consumer_group_heartbeat_response::{
    Assignment as Told, TopicPartitions as Assigned,
};
use flumen_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, StrBytes, topic_id, wire_id,
};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{Millis, PartitionId};
use uuid::Uuid;

use super::group_places::by_topic;
use crate::access::Resource;
use crate::coordinator::HeartbeatRefused;
use crate::ctx::Ctx;
use crate::features::GROUP_VERSION;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ConsumerGroupHeartbeatRequest,
    version: i16,
) -> ConsumerGroupHeartbeatResponse {
    if let Err(error) = ctx.needs(GROUP_VERSION) {
        return refusal(error.into());
    }
    let group = request.group_id.clone();
    if group.trim().is_empty() {
        let text = Some("GroupId can't be empty.".into());
        return refusal(HeartbeatRefused { error: ErrorCode::InvalidRequest, text });
    }
    if let Err(error) = may(ctx, &request) {
        return refusal(HeartbeatRefused { error, text: None });
    }
    let beat = heartbeat(ctx, request, version);
    match ctx.broker.groups().consumer_heartbeat(&group, &beat, &ctx.sight()).await {
        Ok(answer) => told(&answer),
        Err(refused) => refusal(refused),
    }
}

fn may(ctx: &Ctx, request: &ConsumerGroupHeartbeatRequest) -> Result<(), ErrorCode> {
    ctx.may(Operation::Read, Resource::Group(&request.group_id))?;
    let mut topics = request.subscribed_topic_names.iter().flatten();
    topics.try_for_each(|topic| ctx.may(Operation::Describe, Resource::Topic(topic)))
}

fn heartbeat(ctx: &Ctx, request: ConsumerGroupHeartbeatRequest, version: i16) -> Heartbeat {
    let text = |text: Option<StrBytes>| text.map(|text| text.to_string());
    // Up to version 0 a new member may leave it to the broker to name it.
    let member_id = match request.member_id.is_empty() && request.member_epoch == 0 && version == 0 {
        true => Uuid::new_v4().to_string(),
        false => request.member_id.to_string(),
    };
    Heartbeat {
        member_id,
        epoch: request.member_epoch,
        instance_id: text(request.instance_id),
        rack_id: text(request.rack_id),
        rebalance_timeout: match request.rebalance_timeout_ms {
            -1 => None,
            timeout => Some(Millis(timeout.into())),
        },
        topics: request.subscribed_topic_names.map(|names| names.iter().map(ToString::to_string).collect()),
        regex: text(request.subscribed_topic_regex),
        assignor: text(request.server_assignor),
        owned: request.topic_partitions.map(|owned| owned.iter().flat_map(places).collect()),
        client_id: ctx.client_id.as_deref().unwrap_or_default().to_string(),
        client_host: format!("/{}", ctx.peer.ip().to_canonical()),
    }
}

fn places(owned: &Owned) -> impl Iterator<Item = (flumen_types::TopicId, PartitionId)> {
    let topic = topic_id(owned.topic_id);
    owned.partitions.iter().map(move |partition| (topic, PartitionId(*partition)))
}

fn told(answer: &Answer) -> ConsumerGroupHeartbeatResponse {
    message!(ConsumerGroupHeartbeatResponse {
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

fn refusal(refused: HeartbeatRefused) -> ConsumerGroupHeartbeatResponse {
    message!(ConsumerGroupHeartbeatResponse {
        error_code: refused.error.code(),
        error_message: refused.text.map(StrBytes::from),
    })
}
