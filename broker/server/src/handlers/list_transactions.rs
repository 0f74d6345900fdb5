//! ListTransactions (66): all, or those in some states, of some producers, open for so long.
//!
//! Version 2, which filters by a pattern, is not served.

use flumen_auth::Operation;
use flumen_groups::TxnStatus;
use flumen_groups::txn::Listed;
use flumen_protocol::message;
use flumen_protocol::messages::list_transactions_response::TransactionState;
use flumen_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ListTransactionsRequest,
    _version: i16,
) -> ListTransactionsResponse {
    let mut listed = match ctx.broker.transactions().list().await {
        Ok(listed) => listed,
        Err(error) => return message!(ListTransactionsResponse { error_code: error.code() }),
    };
    let is_known = |name: &str| TxnStatus::ALL.iter().any(|status| status.name() == name);
    let (known, unknown): (Vec<_>, Vec<_>) =
        request.state_filters.into_iter().partition(|name| is_known(name));
    let asked_for_states = !known.is_empty() || !unknown.is_empty();
    let now = ctx.broker.groups().now();
    let is_long = |one: &Listed| {
        let runs = matches!(
            one.metadata.status,
            TxnStatus::Ongoing | TxnStatus::PrepareCommit | TxnStatus::PrepareAbort
        );
        runs && now.since(one.metadata.started_at) > request.duration_filter
    };
    listed.retain(|one| {
        let of_state = !asked_for_states || known.iter().any(|name| **name == *one.metadata.status.name());
        let ids = &request.producer_id_filters;
        let of_producer = ids.is_empty() || ids.contains(&one.metadata.producer_id.0);
        of_state && of_producer && (request.duration_filter < 0 || is_long(one))
    });
    listed.retain(|one| ctx.may(Operation::Describe, Resource::TransactionalId(&one.id)).is_ok());
    listed.sort_by(|a, b| a.id.cmp(&b.id));
    let states = listed.iter().map(|one| {
        message!(TransactionState {
            transactional_id: (&*one.id).into(),
            producer_id: one.metadata.producer_id.0,
            transaction_state: one.metadata.status.name().into(),
        })
    });
    message!(ListTransactionsResponse {
        unknown_state_filters: unknown,
        transaction_states: states.collect()
    })
}
