//! LeaveGroup (13): one member, or (from version 3) several.

use flumen_auth::Operation;
use flumen_groups::group::Leaving;
use flumen_protocol::messages::leave_group_request::MemberIdentity;
use flumen_protocol::messages::leave_group_response::MemberResponse;
use flumen_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use flumen_protocol::{ErrorCode, message};

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: LeaveGroupRequest, version: i16) -> LeaveGroupResponse {
    if let Err(error) = ctx.may(Operation::Read, Resource::Group(&request.group_id)) {
        return message!(LeaveGroupResponse { error_code: error.code() });
    }
    let members = match version {
        ..3 => vec![message!(MemberIdentity { member_id: request.member_id })],
        _ => request.members,
    };
    let leaving: Vec<_> = members
        .iter()
        .map(|member| Leaving {
            member_id: member.member_id.to_string(),
            instance_id: member.group_instance_id.as_ref().map(|id| id.to_string()),
        })
        .collect();
    let answers = match ctx.broker.groups().leave(&request.group_id, &leaving).await {
        Ok(answers) => answers,
        Err(error) => return message!(LeaveGroupResponse { error_code: error.code() }),
    };
    if version < 3 {
        let error = answers.first().copied().unwrap_or(ErrorCode::None);
        return message!(LeaveGroupResponse { error_code: error.code() });
    }
    let members = members.into_iter().zip(answers).map(|(member, error)| {
        message!(MemberResponse {
            member_id: member.member_id,
            group_instance_id: member.group_instance_id,
            error_code: error.code(),
        })
    });
    message!(LeaveGroupResponse { members: members.collect() })
}
