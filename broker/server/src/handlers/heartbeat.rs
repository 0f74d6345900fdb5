//! Heartbeat (12): a member lives, and hears whether the group rebalances.

use flumen_auth::Operation;
use flumen_protocol::message;
use flumen_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::access::Resource;
use crate::coordinator::Committer;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: HeartbeatRequest, _version: i16) -> HeartbeatResponse {
    let from = Committer {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id,
        knows_epochs: true,
    };
    let heard = match ctx.may(Operation::Read, Resource::Group(&request.group_id)) {
        Ok(()) => ctx.broker.groups().heartbeat(&request.group_id, &from).await,
        Err(error) => Err(error),
    };
    message!(HeartbeatResponse { error_code: heard.map_or_else(|error| error.code(), |()| 0) })
}
