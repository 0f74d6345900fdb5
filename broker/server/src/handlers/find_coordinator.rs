//! FindCoordinator (10): for groups, transactions and (from version 6) share partitions alike, the only
//! node.

use flumen_auth::Operation;
use flumen_protocol::messages::find_coordinator_response::Coordinator;
use flumen_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse, StrBytes};
use flumen_protocol::{ErrorCode, message};

use crate::access::Resource;
use crate::ctx::Ctx;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
const FIRST_WITH_SHARE: i16 = 6;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let kind = request.key_type;
    if version < 4 {
        let found = find(ctx, request.key, kind, version);
        return message!(FindCoordinatorResponse {
            error_code: found.error_code,
            // Kafka names the error here, also when it is none.
            error_message: Some(ErrorCode::from(found.error_code).name().into()),
            node_id: found.node_id,
            host: found.host,
            port: found.port,
        });
    }
    let coordinators =
        request.coordinator_keys.into_iter().map(|key| find(ctx, key, kind, version)).collect();
    message!(FindCoordinatorResponse { coordinators })
}

fn find(ctx: &Ctx, key: StrBytes, kind: i8, version: i16) -> Coordinator {
    if let Err(error) = may(ctx, &key, kind, version) {
        let words = (error == ErrorCode::InvalidRequest).then(|| {
            "there are coordinators for groups (0), transactions (1) and, by group:topic-id:partition, share partitions (2)"
                .into()
        });
        return message!(Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: error.code(),
            error_message: words.or(Some(StrBytes::default())),
        });
    }
    let advertised = ctx.advertised();
    message!(Coordinator {
        key,
        node_id: ctx.node_id(),
        host: advertised.host.into(),
        port: i32::from(advertised.port),
    })
}

fn may(ctx: &Ctx, key: &str, kind: i8, version: i16) -> Result<(), ErrorCode> {
    match kind {
        GROUP => ctx.may(Operation::Describe, Resource::Group(key)),
        TRANSACTION => ctx.may(Operation::Describe, Resource::TransactionalId(key)),
        SHARE if version >= FIRST_WITH_SHARE => {
            ctx.may(Operation::ClusterAction, Resource::Cluster)?;
            if is_share_partition(key) { Ok(()) } else { Err(ErrorCode::InvalidRequest) }
        }
        _ => Err(ErrorCode::InvalidRequest),
    }
}

/// `group:topic-id:partition`; the group may have colons itself.
fn is_share_partition(key: &str) -> bool {
    let mut parts = key.rsplitn(3, ':');
    let (partition, topic, group) = (parts.next(), parts.next(), parts.next());
    let is_id =
        |id: &str| id.len() == 22 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    partition.is_some_and(|number| number.parse::<i32>().is_ok())
        && topic.is_some_and(is_id)
        && group.is_some_and(|group| !group.is_empty())
}
