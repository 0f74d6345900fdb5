//! DeleteGroups (42): groups without members, with their offsets.

use flumen_auth::Operation;
use flumen_protocol::message;
use flumen_protocol::messages::delete_groups_response::DeletableGroupResult;
use flumen_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: DeleteGroupsRequest, _version: i16) -> DeleteGroupsResponse {
    let mut results = Vec::with_capacity(request.groups_names.len());
    for group_id in request.groups_names {
        let deleted = match ctx.may(Operation::Delete, Resource::Group(&group_id)) {
            Ok(()) => ctx.broker.groups().delete(&group_id).await,
            Err(error) => Err(error),
        };
        let error_code = deleted.map_or_else(|error| error.code(), |()| 0);
        results.push(message!(DeletableGroupResult { group_id, error_code }));
    }
    message!(DeleteGroupsResponse { results })
}
