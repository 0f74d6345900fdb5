//! ListTransactions (66): all, or those in some states, of some producers, begun so long ago, with ids of a
//! pattern. As with Kafka, what was never begun is older than any time asked for.

use flumen_auth::Operation;
use flumen_groups::TxnStatus;
use flumen_groups::consumer::NamePattern;
use flumen_groups::txn::Listed;
use flumen_protocol::messages::list_transactions_response::TransactionState;
use flumen_protocol::messages::{ListTransactionsRequest, ListTransactionsResponse};
use flumen_protocol::{ErrorCode, message};

use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: ListTransactionsRequest,
    _version: i16,
) -> ListTransactionsResponse {
    let pattern = request.transactional_id_pattern.as_deref().filter(|pattern| !pattern.is_empty());
    let Ok(pattern) = pattern.map(NamePattern::new).transpose() else {
        let error_code = ErrorCode::InvalidRegularExpression.code();
        return message!(ListTransactionsResponse { error_code });
    };
    let mut listed = match ctx.broker.transactions().list().await {
        Ok(listed) => listed,
        Err(error) => return message!(ListTransactionsResponse { error_code: error.code() }),
    };
    let is_known = |name: &str| TxnStatus::ALL.iter().any(|status| status.name() == name);
    let (known, unknown): (Vec<_>, Vec<_>) =
        request.state_filters.into_iter().partition(|name| is_known(name));
    let asked_for_states = !known.is_empty() || !unknown.is_empty();
    let now = ctx.broker.groups().now();
    let is_long = |one: &Listed| now.since(one.metadata.started_at) > request.duration_filter;
    listed.retain(|one| {
        let of_state = !asked_for_states || known.iter().any(|name| **name == *one.metadata.status.name());
        let ids = &request.producer_id_filters;
        let of_producer = ids.is_empty() || ids.contains(&one.metadata.producer_id.0);
        let named = pattern.as_ref().is_none_or(|pattern| pattern.matches(&one.id));
        of_state && of_producer && named && (request.duration_filter < 0 || is_long(one))
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
