//! FindCoordinator (10): for groups and transactions alike, the only node.

use flumen_auth::Operation;
use flumen_protocol::messages::find_coordinator_response::Coordinator;
use flumen_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse, StrBytes};
use flumen_protocol::{ErrorCode, message};

use crate::access::Resource;
use crate::ctx::Ctx;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let kind = request.key_type;
    if version < 4 {
        let found = find(ctx, request.key, kind);
        return message!(FindCoordinatorResponse {
            error_code: found.error_code,
            // Kafka names the error here, also when it is none.
            error_message: Some(ErrorCode::from(found.error_code).name().into()),
            node_id: found.node_id,
            host: found.host,
            port: found.port,
        });
    }
    let coordinators = request.coordinator_keys.into_iter().map(|key| find(ctx, key, kind)).collect();
    message!(FindCoordinatorResponse { coordinators })
}

fn find(ctx: &Ctx, key: StrBytes, kind: i8) -> Coordinator {
    if kind != GROUP && kind != TRANSACTION {
        return message!(Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: ErrorCode::InvalidRequest.code(),
            error_message: Some("there are coordinators for groups (0) and transactions (1)".into()),
        });
    }
    let resource = if kind == GROUP { Resource::Group(&key) } else { Resource::TransactionalId(&key) };
    if let Err(error) = ctx.may(Operation::Describe, resource) {
        return message!(Coordinator { key, node_id: -1, port: -1, error_code: error.code() });
    }
    let advertised = ctx.advertised();
    message!(Coordinator {
        key,
        node_id: ctx.node_id(),
        host: advertised.host.into(),
        port: i32::from(advertised.port),
    })
}
