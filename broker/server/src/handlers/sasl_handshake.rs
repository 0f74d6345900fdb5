//! SaslHandshake (17), where it is no part of an authentication: that is `security/gate`.

use flumen_protocol::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use flumen_protocol::{ErrorCode, message};

use crate::ctx::Ctx;

pub(crate) async fn handle(_: &Ctx, _: SaslHandshakeRequest, _: i16) -> SaslHandshakeResponse {
    message!(SaslHandshakeResponse { error_code: ErrorCode::IllegalSaslState.code() })
}
