//! DescribeGroups (15): state and members.

use flumen_auth::Operation;
use flumen_groups::AnyGroup;
use flumen_groups::group::{Group, State};
use flumen_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use flumen_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse, StrBytes};
use flumen_protocol::{ErrorCode, message};

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: DescribeGroupsRequest,
    version: i16,
) -> DescribeGroupsResponse {
    let mut groups = Vec::with_capacity(request.groups.len());
    for id in request.groups {
        if let Err(error) = ctx.may(Operation::Describe, Resource::Group(&id)) {
            groups.push(message!(DescribedGroup { group_id: id, error_code: error.code() }));
            continue;
        }
        let mut told = match ctx.broker.groups().describe(&id).await {
            Ok(Some(AnyGroup::Classic(group))) => describe(&group),
            Ok(Some(_)) => missing(format!("Group {id} is not a classic group."), version),
            Ok(None) => missing(format!("Group {id} not found."), version),
            Err(error) => message!(DescribedGroup { error_code: error.code() }),
        };
        if request.include_authorized_operations {
            told.authorized_operations = ctx.operations(Resource::Group(&id));
        }
        told.group_id = id;
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
