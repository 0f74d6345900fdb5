//! SaslAuthenticate (36), where nothing is to be proved: authentication itself is `security/gate`.

use flumen_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use flumen_protocol::{ErrorCode, message};

use crate::ctx::Ctx;

pub(crate) async fn handle(_: &Ctx, _: SaslAuthenticateRequest, _: i16) -> SaslAuthenticateResponse {
    message!(SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        error_message: Some("SaslAuthenticate request received after successful authentication".into()),
    })
}
