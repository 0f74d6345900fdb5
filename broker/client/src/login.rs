//! SASL on a connection that has just been made.

use std::time::Duration;

use bytes::Bytes;
use flumen_auth::sasl::login::{Doubt, Login};

use crate::connection::Connection;
use crate::security::Sasl;
use crate::wire::{ErrorCode, SaslAuthenticateRequest, SaslHandshakeRequest, message};
use crate::{Error, Result};

/// Proves who we are. How long the broker takes it for granted, if not for ever.
pub(crate) async fn log_in(connection: &Connection, sasl: &Sasl) -> Result<Option<Duration>> {
    let refused = |reason: String| Error::Login {
        address: connection.address().to_string(),
        user: sasl.password.user.clone(),
        mechanism: sasl.mechanism.name(),
        reason,
    };
    let nonce = format!("{:032x}", rand::random::<u128>());
    let login = Login::new(sasl.mechanism, sasl.password.clone(), nonce);
    let mut login = login.ok_or_else(|| refused("it is no mechanism with a password".into()))?;
    let handshake = message!(SaslHandshakeRequest { mechanism: sasl.mechanism.name().into() });
    let response = connection.call(&handshake).await?;
    match ErrorCode::from(response.error_code) {
        ErrorCode::None => {}
        ErrorCode::UnsupportedSaslMechanism => {
            let taken: Vec<&str> = response.mechanisms.iter().map(|name| &**name).collect();
            return Err(refused(format!("it takes {}", taken.join(", "))));
        }
        ErrorCode::IllegalSaslState => {
            return Err(refused(format!("this listener asks for no user ({})", ErrorCode::IllegalSaslState)));
        }
        code => return Err(refused(code.to_string())),
    }
    let mut token = login.first();
    loop {
        let request = message!(SaslAuthenticateRequest { auth_bytes: Bytes::from(token) });
        let response = connection.call(&request).await?;
        match (ErrorCode::from(response.error_code), response.error_message) {
            (ErrorCode::None, _) => {}
            (code, Some(message)) if !message.is_empty() => {
                return Err(refused(format!("{message} ({code})")));
            }
            (code, _) => return Err(refused(code.to_string())),
        }
        match login.answer(&response.auth_bytes).map_err(|Doubt(why)| refused(why.into()))? {
            Some(next) => token = next,
            None => {
                let lifetime = u64::try_from(response.session_lifetime_ms).unwrap_or_default();
                return Ok(Some(Duration::from_millis(lifetime)).filter(|lifetime| !lifetime.is_zero()));
            }
        }
    }
}
