//! CreateDelegationToken (38): refused, see `delegation_tokens.rs`.

use flumen_protocol::message;
use flumen_protocol::messages::{CreateDelegationTokenRequest, CreateDelegationTokenResponse, StrBytes};

use super::delegation_tokens;
use crate::ctx::Ctx;

pub(crate) async fn handle(
    ctx: &Ctx,
    request: CreateDelegationTokenRequest,
    version: i16,
) -> CreateDelegationTokenResponse {
    let error_code = delegation_tokens::refusal(ctx).code();
    let principal = &ctx.session.principal;
    // Older versions cannot say who asked.
    let told = |text: &str| if version >= 3 { text.into() } else { StrBytes::default() };
    let owner = request.owner_principal_name.filter(|name| !name.is_empty());
    message!(CreateDelegationTokenResponse {
        error_code,
        principal_type: match owner {
            Some(_) => request.owner_principal_type.unwrap_or_default(),
            None => principal.kind.as_str().into(),
        },
        principal_name: owner.unwrap_or_else(|| principal.name.as_str().into()),
        token_requester_principal_type: told(&principal.kind),
        token_requester_principal_name: told(&principal.name),
        issue_timestamp_ms: -1,
        expiry_timestamp_ms: -1,
        max_timestamp_ms: -1,
    })
}
