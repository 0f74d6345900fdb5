//! Who may ask.
//!
//! Invariants: a token is compared in constant time and never printed. Without a token only the
//! loopback is served, and only requests that mean it: a page on the web can make the browser of this
//! machine's user send requests here, by a name that it points to 127.0.0.1, but cannot choose the
//! `Host` it sends.

use std::fmt;
use std::net::IpAddr;

use axum::http::{HeaderMap, Method, StatusCode, header};
use subtle::ConstantTimeEq;
use thiserror::Error;

/// The secret that a caller shows as `Authorization: Bearer ...`.
#[derive(Clone)]
pub struct Token(String);

/// A token that could be guessed, or could not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WeakToken {
    #[error("the token has {0} characters; use at least 16")]
    Short(usize),
    #[error(
        "the token has a space or a character that HTTP headers cannot carry; use letters, digits and -._~+/"
    )]
    Unfit,
}

impl Token {
    const LENGTH_MIN: usize = 16;

    pub fn new(token: impl Into<String>) -> Result<Token, WeakToken> {
        let token = token.into();
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(WeakToken::Unfit);
        }
        if token.len() < Self::LENGTH_MIN {
            return Err(WeakToken::Short(token.len()));
        }
        Ok(Token(token))
    }

    fn is(&self, shown: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(shown).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(***)")
    }
}

/// Why a request is not answered, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    pub(crate) status: StatusCode,
    pub(crate) what: &'static str,
    pub(crate) todo: &'static str,
}

/// Whether this request may be answered.
pub(crate) fn check(
    token: Option<&Token>,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<(), Denied> {
    // Probes of an orchestrator know no token and may come by any name; they learn a word.
    if path == "/health" || path == "/ready" {
        return Ok(());
    }
    match token {
        Some(token) => check_token(token, headers),
        None => check_local(method, headers),
    }
}

fn check_token(token: &Token, headers: &HeaderMap) -> Result<(), Denied> {
    let shown = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
    let (scheme, secret) = shown.split_at_checked(7).unwrap_or((b"", b""));
    if scheme.eq_ignore_ascii_case(b"bearer ") && token.is(secret) {
        return Ok(());
    }
    Err(Denied {
        status: StatusCode::UNAUTHORIZED,
        what: "no token, or a wrong one",
        todo: "send the header Authorization: Bearer TOKEN",
    })
}

fn check_local(method: &Method, headers: &HeaderMap) -> Result<(), Denied> {
    let text = |name| headers.get(name).and_then(|value: &axum::http::HeaderValue| value.to_str().ok());
    let host = text(header::HOST).unwrap_or("");
    if !is_loopback(host) {
        return Err(Denied {
            status: StatusCode::FORBIDDEN,
            what: "the Host header does not name this machine's loopback",
            todo: "ask by 127.0.0.1 or localhost, or set a token",
        });
    }
    let foreign =
        text(header::ORIGIN).is_some_and(|origin| origin.split_once("://").map(|(_, o)| o) != Some(host));
    if foreign && method != Method::GET && method != Method::HEAD {
        return Err(Denied {
            status: StatusCode::FORBIDDEN,
            what: "a page of another origin may not change anything here",
            todo: "call the API from a program, or set a token",
        });
    }
    Ok(())
}

/// `127.0.0.1:8090`, `[::1]:8090`, `localhost`.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn status(token: Option<&str>, method: Method, pairs: &[(&'static str, &str)]) -> Result<(), u16> {
        let token = token.map(|token| Token::new(token).unwrap());
        check(token.as_ref(), &method, "/v1/status", &headers(pairs)).map_err(|denied| denied.status.as_u16())
    }

    #[test]
    fn a_token_must_be_shown_whole() {
        let token = Some("0123456789abcdef");
        assert_eq!(status(token, Method::GET, &[("authorization", "Bearer 0123456789abcdef")]), Ok(()));
        assert_eq!(status(token, Method::GET, &[("authorization", "bearer 0123456789abcdef")]), Ok(()));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdefg",
            "Basic 0123456789abcdef",
        ] {
            assert_eq!(status(token, Method::GET, &[("authorization", wrong)]), Err(401), "{wrong}");
        }
        assert_eq!(status(token, Method::GET, &[("host", "localhost")]), Err(401));
    }

    #[test]
    fn without_a_token_the_host_names_the_loopback() {
        for host in ["127.0.0.1:8090", "localhost", "LOCALHOST:1", "[::1]:8090", "127.1.2.3"] {
            assert_eq!(status(None, Method::GET, &[("host", host)]), Ok(()), "{host}");
        }
        for host in ["evil.example:8090", "localhost.evil.example", "10.0.0.1:8090", ""] {
            assert_eq!(status(None, Method::GET, &[("host", host)]), Err(403), "{host}");
        }
    }

    #[test]
    fn a_page_of_another_origin_changes_nothing() {
        let from = |origin| [("host", "localhost:8090"), ("origin", origin)];
        assert_eq!(status(None, Method::POST, &from("http://evil.example")), Err(403));
        assert_eq!(status(None, Method::POST, &from("null")), Err(403));
        assert_eq!(status(None, Method::POST, &from("http://localhost:8090")), Ok(()));
        assert_eq!(status(None, Method::GET, &from("http://evil.example")), Ok(()));
    }

    #[test]
    fn a_token_is_long_sendable_and_not_printed() {
        assert_eq!(Token::new("short").unwrap_err(), WeakToken::Short(5));
        assert_eq!(Token::new("with a space in the middle").unwrap_err(), WeakToken::Unfit);
        assert_eq!(format!("{:?}", Token::new("0123456789abcdef").unwrap()), "Token(***)");
    }
}
