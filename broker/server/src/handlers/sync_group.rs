//! SyncGroup (14): the leader brings the assignment, the others wait for it.

use flumen_auth::Operation;
use flumen_groups::group::Sync;
use flumen_protocol::messages::{StrBytes, SyncGroupRequest, SyncGroupResponse};
use flumen_protocol::{ErrorCode, message};

use crate::access::Resource;
use crate::ctx::Ctx;

/// From this version on a member says which protocol it thinks was agreed on.
const FIRST_WITH_PROTOCOL: i16 = 5;

pub(crate) async fn handle(ctx: &Ctx, request: SyncGroupRequest, version: i16) -> SyncGroupResponse {
    if version >= FIRST_WITH_PROTOCOL && (request.protocol_type.is_none() || request.protocol_name.is_none())
    {
        return message!(SyncGroupResponse { error_code: ErrorCode::InconsistentGroupProtocol.code() });
    }
    let sync = Sync {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol: request.protocol_name.map(|name| name.to_string()),
        assignments: request
            .assignments
            .into_iter()
            .map(|assigned| (assigned.member_id.to_string(), assigned.assignment))
            .collect(),
    };
    if let Err(error) = ctx.may(Operation::Read, Resource::Group(&request.group_id)) {
        return message!(SyncGroupResponse { error_code: error.code() });
    }
    match ctx.broker.groups().sync(&request.group_id, sync).await {
        Ok(synced) => message!(SyncGroupResponse {
            protocol_type: synced.protocol_type.map(StrBytes::from),
            protocol_name: synced.protocol.map(StrBytes::from),
            assignment: synced.assignment,
        }),
        Err(error) => message!(SyncGroupResponse { error_code: error.code() }),
    }
}
