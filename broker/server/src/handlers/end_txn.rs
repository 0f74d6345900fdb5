//! EndTxn (26): commit or abort. From version 5 on the producer speaks transactions version 2 (KIP-890): it
//! goes on with the id and epoch of the answer.

use flumen_auth::Operation;
use flumen_protocol::message;
use flumen_protocol::messages::{EndTxnRequest, EndTxnResponse};
use flumen_types::{ProducerEpoch, ProducerId};

use super::init_producer_id::fenced_since;
use crate::access::Resource;
use crate::coordinator::{Producer, TxnVersion};
use crate::ctx::Ctx;

const FIRST_OF_V2: i16 = 5;

pub(crate) async fn handle(ctx: &Ctx, request: EndTxnRequest, version: i16) -> EndTxnResponse {
    let producer =
        Producer { id: ProducerId(request.producer_id), epoch: ProducerEpoch(request.producer_epoch) };
    let id = &request.transactional_id;
    let client = if version >= FIRST_OF_V2 { TxnVersion::V2 } else { TxnVersion::V1 };
    let ended = match ctx.may(Operation::Write, Resource::TransactionalId(id)) {
        Ok(()) => ctx.broker.transactions().end(id, producer, request.committed, client).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(next) if client == TxnVersion::V2 => {
            message!(EndTxnResponse { producer_id: next.id.0, producer_epoch: next.epoch.0 })
        }
        ended => message!(EndTxnResponse {
            error_code: ended.map_or_else(|error| fenced_since(error, version, 2).code(), |_| 0),
            producer_id: -1,
            producer_epoch: -1,
        }),
    }
}
