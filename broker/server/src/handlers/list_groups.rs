//! ListGroups (16): all, or (from version 4) those in some states, (from version 5) of some types.

use flumen_auth::Operation;
use flumen_protocol::message;
use flumen_protocol::messages::list_groups_response::ListedGroup;
use flumen_protocol::messages::{ListGroupsRequest, ListGroupsResponse, StrBytes};

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: ListGroupsRequest, _version: i16) -> ListGroupsResponse {
    let passes = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let mut groups = match ctx.broker.groups().list().await {
        Ok(groups) => groups,
        Err(error) => return message!(ListGroupsResponse { error_code: error.code() }),
    };
    // Who may describe the cluster may see all groups.
    if ctx.may(Operation::Describe, Resource::Cluster).is_err() {
        groups.retain(|group| ctx.may(Operation::Describe, Resource::Group(group.id())).is_ok());
    }
    groups.retain(|group| passes(&request.states_filter, group.state_name()));
    groups.retain(|group| passes(&request.types_filter, group.type_name()));
    groups.sort_by(|a, b| a.id().cmp(b.id()));
    let listed = groups.iter().map(|group| {
        message!(ListedGroup {
            group_id: (&**group.id()).into(),
            protocol_type: group.protocol_type().unwrap_or_default().into(),
            group_state: group.state_name().into(),
            group_type: group.type_name().into(),
        })
    });
    message!(ListGroupsResponse { groups: listed.collect() })
}
