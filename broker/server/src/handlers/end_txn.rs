//! EndTxn (26): commit or abort.

use flumen_auth::Operation;
use flumen_protocol::message;
use flumen_protocol::messages::{EndTxnRequest, EndTxnResponse};
use flumen_types::{ProducerEpoch, ProducerId};

use super::init_producer_id::fenced_since;
use crate::access::Resource;
use crate::coordinator::Producer;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: EndTxnRequest, version: i16) -> EndTxnResponse {
    let producer =
        Producer { id: ProducerId(request.producer_id), epoch: ProducerEpoch(request.producer_epoch) };
    let id = &request.transactional_id;
    let ended = match ctx.may(Operation::Write, Resource::TransactionalId(id)) {
        Ok(()) => ctx.broker.transactions().end(id, producer, request.committed).await,
        Err(error) => Err(error),
    };
    let error_code = ended.map_or_else(|error| fenced_since(error, version, 2).code(), |()| 0);
    message!(EndTxnResponse { error_code })
}
