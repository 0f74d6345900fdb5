//! RenewDelegationToken (39): refused, see `delegation_tokens.rs`.

use flumen_protocol::message;
use flumen_protocol::messages::{RenewDelegationTokenRequest, RenewDelegationTokenResponse};

use super::delegation_tokens;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    _: RenewDelegationTokenRequest,
    _: i16,
) -> RenewDelegationTokenResponse {
    let error_code = delegation_tokens::refusal(ctx).code();
    message!(RenewDelegationTokenResponse { error_code, expiry_timestamp_ms: -1 })
}
