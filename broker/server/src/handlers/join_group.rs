//! JoinGroup (11): answered when the group's rebalance is through.

use bytes::Bytes;
use flumen_auth::Operation;
use flumen_groups::group::{Join, Joined};
use flumen_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use flumen_protocol::messages::join_group_response::JoinGroupResponseMember;
use flumen_protocol::messages::{JoinGroupRequest, JoinGroupResponse, StrBytes};
use flumen_protocol::{ErrorCode, message};
use flumen_types::Millis;
use uuid::Uuid;

use crate::access::Resource;
use crate::coordinator::JoinRefused;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: JoinGroupRequest, version: i16) -> JoinGroupResponse {
    let session_timeout = Millis(request.session_timeout_ms.into());
    let join = Join {
        member_id: request.member_id.to_string(),
        instance_id: request.group_instance_id.map(|id| id.to_string()),
        nonce: Uuid::new_v4().to_string(),
        client_id: ctx.client_id.as_deref().unwrap_or_default().to_string(),
        client_host: format!("/{}", ctx.peer.ip().to_canonical()),
        session_timeout,
        // Version 0 has one timeout for both.
        rebalance_timeout: match request.rebalance_timeout_ms {
            ..0 => session_timeout,
            timeout => Millis(timeout.into()),
        },
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.into_iter().map(protocol).collect(),
        requires_member_id: version >= 4,
        can_skip_assignment: version >= 9,
    };
    if let Err(error) = ctx.may(Operation::Read, Resource::Group(&request.group_id)) {
        return refusal(&JoinRefused { error, member_id: "".into() }, version);
    }
    match ctx.broker.groups().join(&request.group_id, join, &ctx.sight()).await {
        Ok(joined) => answer(joined),
        Err(refused) => refusal(&refused, version),
    }
}

/// Copied: kept for as long as the member lives, where a slice would keep the whole request.
fn protocol(told: JoinGroupRequestProtocol) -> (String, Bytes) {
    (told.name.to_string(), Bytes::copy_from_slice(&told.metadata))
}

fn answer(joined: Joined) -> JoinGroupResponse {
    let members = joined.members.into_iter().map(|member| {
        message!(JoinGroupResponseMember {
            member_id: (&*member.member_id).into(),
            group_instance_id: member.instance_id.as_deref().map(StrBytes::from),
            metadata: member.metadata,
        })
    });
    message!(JoinGroupResponse {
        generation_id: joined.generation,
        protocol_type: joined.protocol_type.map(StrBytes::from),
        protocol_name: joined.protocol.map(StrBytes::from),
        leader: (&*joined.leader).into(),
        skip_assignment: joined.skip_assignment,
        member_id: (&*joined.member_id).into(),
        members: members.collect(),
    })
}

fn refusal(refused: &JoinRefused, version: i16) -> JoinGroupResponse {
    // Only an id is kept from a client that it can do nothing with.
    let member_id: &str = match refused.error {
        ErrorCode::UnknownMemberId if version < 4 => "",
        _ => &refused.member_id,
    };
    message!(JoinGroupResponse {
        error_code: refused.error.code(),
        generation_id: -1,
        protocol_name: (version < 7).then(StrBytes::default),
        member_id: member_id.into(),
    })
}
