//! AddOffsetsToTxn (25): a group's offsets become part of the transaction. Clients of transactions version 2
//! do not ask for it: their TxnOffsetCommit does it.

use flumen_auth::Operation;
use flumen_protocol::message;
use flumen_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use flumen_types::{ProducerEpoch, ProducerId};

use super::init_producer_id::fenced_since;
use crate::access::Resource;
use crate::coordinator::{Producer, TxnVersion};
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: AddOffsetsToTxnRequest,
    version: i16,
) -> AddOffsetsToTxnResponse {
    let producer =
        Producer { id: ProducerId(request.producer_id), epoch: ProducerEpoch(request.producer_epoch) };
    let id = &request.transactional_id;
    let may = ctx
        .may(Operation::Write, Resource::TransactionalId(id))
        .and_then(|()| ctx.may(Operation::Read, Resource::Group(&request.group_id)));
    let added = match may {
        Ok(()) => {
            ctx.broker.transactions().add_offsets(id, producer, &request.group_id, TxnVersion::V1).await
        }
        Err(error) => Err(error),
    };
    let error_code = added.map_or_else(|error| fenced_since(error, version, 2).code(), |()| 0);
    message!(AddOffsetsToTxnResponse { error_code })
}
