//! ExpireDelegationToken (40): refused, see `delegation_tokens.rs`.

use flumen_protocol::message;
use flumen_protocol::messages::{ExpireDelegationTokenRequest, ExpireDelegationTokenResponse};

use super::delegation_tokens;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    _: ExpireDelegationTokenRequest,
    _: i16,
) -> ExpireDelegationTokenResponse {
    let error_code = delegation_tokens::refusal(ctx).code();
    message!(ExpireDelegationTokenResponse { error_code, expiry_timestamp_ms: -1 })
}
