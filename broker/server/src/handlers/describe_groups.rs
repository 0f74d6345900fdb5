//! DescribeGroups (15): state and members.

use flumen_groups::AnyGroup;
use flumen_groups::group::{Group, State};
use flumen_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use flumen_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, StrBytes};
use flumen_protocol::{ErrorCode, message};

use crate::ctx::Ctx;

/// Without an authorizer everybody may do everything: read, delete and describe a group.
pub(super) const ALL_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8;
pub(super) const NOT_ASKED: i32 = i32::MIN;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let operations = if request.include_authorized_operations { ALL_OPERATIONS } else { NOT_ASKED };
    let mut groups = Vec::with_capacity(request.groups.len());
    for id in request.groups {
        let mut told = match ctx.broker.groups().describe(&id).await {
            Ok(Some(AnyGroup::Classic(group))) => describe(&group),
            Ok(Some(AnyGroup::Consumer(_))) => {
                missing(format!("Group {id} is not a classic group."), version)
            }
            Ok(None) => missing(format!("Group {id} not found."), version),
            Err(error) => message!(DescribedGroup { error_code: error.code() }),
        };
        told.group_id = id;
        told.authorized_operations = operations;
        groups.push(told);
    }
    message!(DescribeGroupsResponse { groups })
}

/// Up to version 5 a group that does not exist is dead, and that is no error.
fn missing(text: String, version: i16) -> DescribedGroup {
    if version < 6 {
        return message!(DescribedGroup { group_state: "Dead".into() });
    }
    message!(DescribedGroup {
        error_code: ErrorCode::GroupIdNotFound.code(),
        error_message: Some(text.into()),
        group_state: "Dead".into(),
    })
}

fn describe(group: &Group) -> DescribedGroup {
    // While it rebalances, nobody can say what a member's metadata is worth.
    let protocol = group.protocol().filter(|_| group.state() == State::Stable);
    let members = group.members().map(|member| {
        message!(DescribedGroupMember {
            member_id: (&*member.id).into(),
            group_instance_id: member.instance_id.as_deref().map(StrBytes::from),
            client_id: member.client_id.as_str().into(),
            client_host: member.client_host.as_str().into(),
            member_metadata: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
            member_assignment: member.assignment.clone(),
        })
    });
    message!(DescribedGroup {
        group_state: group.state().name().into(),
        protocol_type: group.protocol_type().unwrap_or_default().into(),
        protocol_data: protocol.unwrap_or_default().into(),
        members: members.collect(),
    })
}
