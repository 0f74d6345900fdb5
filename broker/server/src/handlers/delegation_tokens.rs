//! What every request about delegation tokens is answered: there are none. A Kafka without
//! `delegation.token.secret.key` says the same, and to whoever has not said who they are, that they may not ask.

use flumen_protocol::ErrorCode;

use crate::ctx::Ctx;
use crate::endpoint::SecurityProtocol;

pub(super) fn refusal(ctx: &Ctx) -> ErrorCode {
    let nobody = match ctx.endpoint.protocol {
        SecurityProtocol::Plaintext => true,
        // Of TLS a certificate alone says who it is.
        SecurityProtocol::Ssl => ctx.session.principal == flumen_auth::Principal::anonymous(),
        SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl => false,
    };
    if nobody { ErrorCode::DelegationTokenRequestNotAllowed } else { ErrorCode::DelegationTokenAuthDisabled }
}
