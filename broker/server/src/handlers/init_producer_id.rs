//! InitProducerId (22): an id for an idempotent producer, or the next epoch of a transactional one.

use flumen_auth::Operation;
use flumen_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{Millis, ProducerEpoch, ProducerId};

use crate::access::Resource;
use crate::coordinator::Producer;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: InitProducerIdRequest,
    version: i16,
) -> InitProducerIdResponse {
    if let Err(error) = may(ctx, request.transactional_id.as_deref()) {
        return message!(InitProducerIdResponse {
            error_code: error.code(),
            producer_id: -1,
            producer_epoch: -1,
        });
    }
    let had = Producer { id: ProducerId(request.producer_id), epoch: ProducerEpoch(request.producer_epoch) };
    let answer = match (had.id != ProducerId::NONE, had.epoch != ProducerEpoch::NONE) {
        (true, false) | (false, true) => Err(ErrorCode::InvalidRequest),
        (has, _) => {
            let timeout = Millis(request.transaction_timeout_ms.into());
            let expected = has.then_some(had);
            let id = request.transactional_id.as_deref();
            ctx.broker.transactions().try_init_producer(id, timeout, expected).await
        }
    };
    match answer {
        Ok(producer) => {
            message!(InitProducerIdResponse { producer_id: producer.id.0, producer_epoch: producer.epoch.0 })
        }
        Err(error) => message!(InitProducerIdResponse {
            error_code: fenced_since(error, version, 4).code(),
            producer_id: -1,
            producer_epoch: -1,
        }),
    }
}

/// An idempotent producer needs no more than a topic that it may write to.
fn may(ctx: &Ctx, transactional_id: Option<&str>) -> Result<(), ErrorCode> {
    match transactional_id {
        Some(id) => ctx.may(Operation::Write, Resource::TransactionalId(id)),
        None if ctx.may_on_some_topic(Operation::Write) => Ok(()),
        None => ctx.may(Operation::IdempotentWrite, Resource::Cluster),
    }
}

/// PRODUCER_FENCED is younger than these requests; older clients know it as INVALID_PRODUCER_EPOCH.
pub(super) fn fenced_since(error: ErrorCode, version: i16, since: i16) -> ErrorCode {
    match error {
        ErrorCode::ProducerFenced if version < since => ErrorCode::InvalidProducerEpoch,
        error => error,
    }
}
