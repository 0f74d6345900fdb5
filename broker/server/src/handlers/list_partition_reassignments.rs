//! ListPartitionReassignments (46): with one node, no partition is ever on its way to another.

use flumen_protocol::message;
use flumen_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::ctx::Ctx;

pub(crate) async fn handle(
    _: &Ctx,
    _: ListPartitionReassignmentsRequest,
    _: i16,
) -> ListPartitionReassignmentsResponse {
    message!(ListPartitionReassignmentsResponse {})
}
