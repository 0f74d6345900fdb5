//! UnregisterBroker (64): takes a broker that is gone out of the cluster. There is one broker here, and it is there.

use flumen_auth::Operation;
use flumen_protocol::messages::{UnregisterBrokerRequest, UnregisterBrokerResponse};
use flumen_protocol::{ErrorCode, message};

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: UnregisterBrokerRequest, _: i16) -> UnregisterBrokerResponse {
    let refusal = match ctx.may(Operation::Alter, Resource::Cluster) {
        Err(error) => error.into(),
        Ok(()) if request.broker_id == ctx.node_id() => {
            Refusal::new(ErrorCode::InvalidRequest, "the only broker cannot be unregistered; stop it instead")
        }
        Ok(()) => {
            let words = format!("Broker ID {} is not currently registered", request.broker_id);
            Refusal::new(ErrorCode::BrokerIdNotRegistered, words)
        }
    };
    message!(UnregisterBrokerResponse { error_code: refusal.error.code(), error_message: refusal.words() })
}
