//! DescribeDelegationToken (41): refused, see `delegation_tokens.rs`.

use flumen_protocol::message;
use flumen_protocol::messages::{DescribeDelegationTokenRequest, DescribeDelegationTokenResponse};

use super::delegation_tokens;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    _: DescribeDelegationTokenRequest,
    _: i16,
) -> DescribeDelegationTokenResponse {
    let error_code = delegation_tokens::refusal(ctx).code();
    message!(DescribeDelegationTokenResponse { error_code })
}
