//! ListPartitionReassignments (46): with one node, no partition is ever on its way to another.

use flumen_auth::Operation;
use flumen_protocol::message;
use flumen_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    _: ListPartitionReassignmentsRequest,
    _: i16,
) -> ListPartitionReassignmentsResponse {
    let may = ctx.may(Operation::Describe, Resource::Cluster);
    let error_code = may.err().unwrap_or_default().code();
    message!(ListPartitionReassignmentsResponse { error_code, error_message: None })
}
