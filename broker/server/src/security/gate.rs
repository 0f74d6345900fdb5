//! What stands between a connection and the APIs: SASL, once or again and again.
//!
//! ```text
//! ApiVersions* -> SaslHandshake -> tokens ... -> through -(again)-> SaslHandshake -> tokens ... -> through
//!                      | version 0: the tokens are whole frames; version 1: SaslAuthenticate
//! ```
//!
//! Invariants: before it is through, a connection is served ApiVersions and nothing else of the broker's.
//! What fails ends the connection, after a wait, and the peer learns that it failed and not why.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use flumen_auth::{Exchange, Identity, Mechanism, Principal, Refused, Step};
use flumen_protocol::messages::{SaslAuthenticateResponse, SaslHandshakeResponse};
use flumen_protocol::{ApiKey, ErrorCode, Request, RequestHead, encode_response, message};
use tokio::time::Instant;
use uuid::Uuid;

use super::session::Session;
use super::{Answers, Security};
use crate::clock;
use crate::reply::Reply;

/// Kafka's `sasl.server.max.receive.size`: what is read of somebody who is not known yet.
pub(crate) const UNKNOWN_BYTES_MAX: usize = 512 * 1024;

pub(crate) struct Gate {
    stage: Stage,
    session: Arc<Session>,
}

enum Stage {
    /// The listener asks for no SASL.
    Open,
    Handshake,
    Tokens(Attempt),
    Through(Proof),
}

struct Attempt {
    mechanism: Mechanism,
    exchange: Exchange,
    /// Tokens without Kafka's headers.
    raw: bool,
    /// What holds already, if this is not the first time.
    again: Option<Proof>,
}

#[derive(Clone, Copy)]
struct Proof {
    mechanism: Mechanism,
    expires: Option<Instant>,
}

/// What is to be done with a request.
pub(crate) enum Verdict {
    /// It is for a handler.
    Serve,
    Answer(Reply),
}

/// A failure: the answer that tells it, if there is one, and the reason for the log.
struct Failed {
    answer: Option<Bytes>,
    reason: String,
}

impl Failed {
    fn silent(reason: impl Into<String>) -> Failed {
        Failed { answer: None, reason: reason.into() }
    }
}

impl Gate {
    /// `sasl`: whether the listener asks for it. The session is that of the certificate, or of nobody.
    pub(crate) fn new(sasl: bool, session: Session) -> Gate {
        let stage = if sasl { Stage::Handshake } else { Stage::Open };
        Gate { stage, session: Arc::new(session) }
    }

    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the next frame is a token without a header.
    pub(crate) fn takes_tokens(&self) -> bool {
        matches!(&self.stage, Stage::Tokens(attempt) if attempt.raw)
    }

    /// Whether it is known who is at the other end.
    pub(crate) fn is_through(&self) -> bool {
        match &self.stage {
            Stage::Open | Stage::Through(_) => true,
            Stage::Handshake => false,
            Stage::Tokens(attempt) => attempt.again.is_some(),
        }
    }

    /// A frame that is nothing but a token.
    pub(crate) fn token(&mut self, token: &[u8], security: &Security) -> Result<Reply, Refusal> {
        let stepped = self.step(token, security).map_err(Failed::silent);
        stepped.map(|(token, _)| raw(&token).into()).map_err(|failed| self.refusal(failed))
    }

    /// What comes of a request: most often that it may be served.
    pub(crate) fn request(
        &mut self,
        head: &RequestHead,
        body: &Bytes,
        security: &Security,
    ) -> Result<Verdict, Refusal> {
        let handshake = head.api_key == ApiKey::SaslHandshake as i16;
        let judged = match &self.stage {
            Stage::Open => return Ok(Verdict::Serve),
            Stage::Through(proof) if handshake && security.options().reauthentication.is_some() => {
                let again = Some(*proof);
                self.handshake(head, body, again, security)
            }
            Stage::Through(proof) if proof.expires.is_some_and(|end| end <= Instant::now()) => {
                Err(Failed::silent("the session has expired, and was not renewed"))
            }
            Stage::Through(_) => return Ok(Verdict::Serve),
            Stage::Handshake if head.api_key == ApiKey::ApiVersions as i16 => return Ok(Verdict::Serve),
            Stage::Handshake if handshake => self.handshake(head, body, None, security),
            Stage::Tokens(_) if head.api_key == ApiKey::SaslAuthenticate as i16 => {
                self.authenticate(head, body, security)
            }
            _ => Err(Failed::silent(format!("api {} was asked for before authentication", head.api_key))),
        };
        judged.map(|answer| Verdict::Answer(answer.into())).map_err(|failed| self.refusal(failed))
    }

    fn refusal(&mut self, failed: Failed) -> Refusal {
        self.stage = Stage::Handshake;
        Refusal { answer: failed.answer, reason: failed.reason }
    }

    fn handshake(
        &mut self,
        head: &RequestHead,
        body: &Bytes,
        again: Option<Proof>,
        security: &Security,
    ) -> Result<Bytes, Failed> {
        let Ok(Request::SaslHandshake(request)) = decode(ApiKey::SaslHandshake, head, body) else {
            return Err(Failed::silent("a SaslHandshake that cannot be read"));
        };
        let enabled = &security.options().mechanisms;
        let answer = |error: ErrorCode| {
            let mechanisms = enabled.iter().map(|mechanism| mechanism.name().into()).collect();
            let response = message!(SaslHandshakeResponse { error_code: error.code(), mechanisms });
            encode_response(head.correlation, &response, head.version)
                .map_err(|e| Failed::silent(e.to_string()))
        };
        let wanted = Mechanism::from_name(&request.mechanism).filter(|wanted| enabled.contains(wanted));
        let Some(mechanism) = wanted else {
            let reason = "the mechanism is not enabled in sasl.enabled.mechanisms".into();
            return Err(Failed { answer: Some(answer(ErrorCode::UnsupportedSaslMechanism)?), reason });
        };
        if again.is_some_and(|proof| proof.mechanism != mechanism) {
            return Err(Failed::silent("another mechanism than the first time"));
        }
        let nonce = [Uuid::new_v4(), Uuid::new_v4()].map(|half| half.simple().to_string()).concat();
        let exchange = Exchange::begin(mechanism, nonce);
        self.stage = Stage::Tokens(Attempt { mechanism, exchange, raw: head.version == 0, again });
        answer(ErrorCode::None)
    }

    fn authenticate(
        &mut self,
        head: &RequestHead,
        body: &Bytes,
        security: &Security,
    ) -> Result<Bytes, Failed> {
        let Ok(Request::SaslAuthenticate(request)) = decode(ApiKey::SaslAuthenticate, head, body) else {
            return Err(Failed::silent("a SaslAuthenticate that cannot be read"));
        };
        let Stage::Tokens(Attempt { mechanism, again, .. }) = &self.stage else {
            return Err(Failed::silent("a SaslAuthenticate without a handshake"));
        };
        let when = if again.is_some() { "re-authentication" } else { "authentication" };
        // As Kafka says it, and clients show it.
        let words = format!(
            "Authentication failed during {when} due to invalid credentials with SASL mechanism {}",
            mechanism.name()
        );
        let encode = |response: &SaslAuthenticateResponse| {
            encode_response(head.correlation, response, head.version)
                .map_err(|e| Failed::silent(e.to_string()))
        };
        match self.step(&request.auth_bytes, security) {
            Ok((auth_bytes, lifetime)) => encode(&message!(SaslAuthenticateResponse {
                auth_bytes: auth_bytes.into(),
                session_lifetime_ms: match head.version {
                    0 => 0,
                    _ => lifetime.map_or(0, |span| i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
                },
            })),
            Err(reason) => {
                let error_code = ErrorCode::SaslAuthenticationFailed.code();
                let answer =
                    message!(SaslAuthenticateResponse { error_code, error_message: Some(words.into()) });
                Err(Failed { answer: Some(encode(&answer)?), reason })
            }
        }
    }

    /// One token; what it is answered, and how long the session lasts if that was the last one.
    fn step(&mut self, token: &[u8], security: &Security) -> Result<(Vec<u8>, Option<Duration>), String> {
        let Stage::Tokens(attempt) = &mut self.stage else {
            return Err("a token without a handshake".into());
        };
        let mechanism = attempt.mechanism;
        let stepped = attempt.exchange.step(token, &Answers::now(security));
        match stepped.map_err(|Refused(why)| format!("{}: {why}", mechanism.name()))? {
            Step::Continue(challenge) => Ok((challenge, None)),
            Step::Done { reply, identity } => {
                let lifetime = lifetime(&identity, security)?;
                let principal = Principal::user(identity.name);
                if attempt.again.is_some() && principal != self.session.principal {
                    return Err("somebody else than the first time".into());
                }
                let expires = lifetime.map(|span| Instant::now() + span);
                self.session = Arc::new(self.session.of(principal));
                self.stage = Stage::Through(Proof { mechanism, expires });
                Ok((reply, lifetime))
            }
        }
    }
}

/// The connection is to end after a wait, with this answer.
pub(crate) struct Refusal {
    pub(crate) answer: Option<Bytes>,
    pub(crate) reason: String,
}

/// The shorter of what the broker allows and what the proof itself lasts.
fn lifetime(identity: &Identity, security: &Security) -> Result<Option<Duration>, String> {
    let Some(most) = security.options().reauthentication else { return Ok(None) };
    let Some(end) = identity.expires_at_ms else { return Ok(Some(most)) };
    let left = u64::try_from(end.saturating_sub(clock::now().0)).unwrap_or(0);
    match left {
        // The clock's skew was forgiven, but there is nothing left to be a session.
        0 => Err("the proof has run out".into()),
        left => Ok(Some(most.min(Duration::from_millis(left)))),
    }
}

fn decode(key: ApiKey, head: &RequestHead, body: &Bytes) -> Result<Request, String> {
    if !key.api().serves(head.version) {
        return Err(format!("version {} is not served", head.version));
    }
    Request::decode(key, head.version, body.clone()).map_err(|error| error.to_string())
}

fn raw(token: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + token.len());
    frame.put_i32(token.len() as i32);
    frame.put_slice(token);
    frame.freeze()
}
