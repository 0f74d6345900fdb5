//! AddRaftVoter (80): there is no quorum here to change. A Kafka whose voters are fixed (`kraft.version` 0) says the same.

use flumen_auth::Operation;
use flumen_protocol::messages::{AddRaftVoterRequest, AddRaftVoterResponse};
use flumen_protocol::{ErrorCode, message};

use super::refusal::Refusal;
use crate::access::Resource;
use crate::ctx::Ctx;

pub(crate) async fn handle(ctx: &Ctx, request: AddRaftVoterRequest, _: i16) -> AddRaftVoterResponse {
    let refusal = match ctx.may(Operation::Alter, Resource::Cluster) {
        Err(error) => error.into(),
        Ok(()) if request.voter_directory_id.is_zero() => {
            Refusal::new(ErrorCode::InvalidRequest, "a voter has a directory id")
        }
        Ok(()) => {
            Refusal::new(ErrorCode::UnsupportedVersion, "the only node has no quorum; kraft.version is 0")
        }
    };
    message!(AddRaftVoterResponse { error_code: refusal.error.code(), error_message: refusal.words() })
}
