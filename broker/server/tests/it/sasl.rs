//! Who somebody is, over a socket: exchanges, refusals, renewals.

use std::time::Duration;

use bytes::Bytes;
use flumen_auth::Mechanism;
use flumen_protocol::messages::*;
use flumen_protocol::{ApiKey, ErrorCode, message};
use flumen_server::{DeclaredUser, Options, SecurityProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::running::{Client, Running, batch};

/// alice and bob, whose passwords are their names and `-secret`.
pub(crate) fn users(options: &mut Options) {
    let security = &mut options.security;
    security.mechanisms = Mechanism::ALL.to_vec();
    security.failure_delay = Duration::ZERO;
    security.users = ["alice", "bob"]
        .map(|name| DeclaredUser {
            name: name.into(),
            place: format!("flumen.toml:7 ({name})"),
            password: Some(format!("{name}-secret")),
            credentials: Vec::new(),
        })
        .into();
}

pub(crate) async fn start(change: impl FnOnce(&mut Options)) -> Running {
    Running::start_as(SecurityProtocol::SaslPlaintext, |options| {
        users(options);
        change(options);
    })
    .await
}

impl Client {
    async fn handshake(&mut self, mechanism: &str) -> SaslHandshakeResponse {
        self.ask(&message!(SaslHandshakeRequest { mechanism: mechanism.into() }), 1).await
    }

    async fn token(&mut self, token: impl Into<Bytes>, version: i16) -> SaslAuthenticateResponse {
        self.ask(&message!(SaslAuthenticateRequest { auth_bytes: token.into() }), version).await
    }

    pub(crate) async fn plain(&mut self, user: &str, password: &str) -> SaslAuthenticateResponse {
        self.handshake("PLAIN").await;
        self.token(format!("\0{user}\0{password}"), 2).await
    }
}

pub(crate) async fn client_of(running: &Running, user: &str) -> Client {
    let mut client = running.client().await;
    assert_eq!(client.plain(user, &format!("{user}-secret")).await.error_code, 0, "{user}");
    client
}

async fn is_closed(client: &mut Client) {
    assert!(client.frame().await.is_none(), "the connection should have ended");
}

#[tokio::test]
async fn nothing_but_versions_before_authentication() {
    let running = start(|_| {}).await;
    let mut client = running.client().await;
    for version in 0..=4 {
        let mut request = ApiVersionsRequest::default();
        (request.client_software_name, request.client_software_version) = ("t".into(), "1".into());
        assert_eq!(client.ask(&request, version).await.error_code, 0);
    }
    client.send(&MetadataRequest::default(), 9).await;
    is_closed(&mut client).await;
    let mut client = running.client().await;
    client.send(&crate::running::produce("t", 0, batch(&["v"])), 9).await;
    is_closed(&mut client).await;
    let mut client = running.client().await;
    client.handshake("PLAIN").await;
    client.send(&ApiVersionsRequest::default(), 0).await;
    is_closed(&mut client).await;
    let mut client = running.client().await;
    client.send(&SaslAuthenticateRequest::default(), 2).await;
    is_closed(&mut client).await;
    assert_eq!(running.broker.security().failed_authentications(), 4);
    running.stop().await;
}

#[tokio::test]
async fn every_version_lets_a_user_in_and_nobody_else() {
    let running = start(|_| {}).await;
    for version in 0..=2 {
        let mut client = running.client().await;
        let shaken = client.handshake("PLAIN").await;
        assert_eq!(shaken.error_code, 0);
        assert_eq!(
            shaken.mechanisms,
            ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"].map(StrBytes::from)
        );
        let done = client.token("\0alice\0alice-secret", version).await;
        assert_eq!((done.error_code, done.session_lifetime_ms), (0, 0), "{version}");
        client.create(&format!("t{version}"), 1, &[]).await;

        let mut client = running.client().await;
        client.handshake("PLAIN").await;
        let refused = client.token("\0alice\0bob-secret", version).await;
        assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::SaslAuthenticationFailed);
        let words = refused.error_message.unwrap();
        assert_eq!(
            &*words,
            "Authentication failed during authentication due to invalid credentials with SASL mechanism PLAIN"
        );
        is_closed(&mut client).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn a_mechanism_that_is_not_enabled_is_told_with_those_that_are() {
    let running =
        start(|options| options.security.mechanisms.retain(|it| it.name() == "SCRAM-SHA-512")).await;
    for wanted in ["PLAIN", "GSSAPI", ""] {
        let mut client = running.client().await;
        let shaken = client.handshake(wanted).await;
        assert_eq!(ErrorCode::from(shaken.error_code), ErrorCode::UnsupportedSaslMechanism);
        assert_eq!(shaken.mechanisms, ["SCRAM-SHA-512"].map(StrBytes::from));
        is_closed(&mut client).await;
    }
    running.stop().await;
}

#[tokio::test]
async fn an_old_handshake_is_followed_by_bare_tokens() {
    let running = start(|_| {}).await;
    let mut client = running.client().await;
    let shaken = client.ask(&message!(SaslHandshakeRequest { mechanism: "PLAIN".into() }), 0).await;
    assert_eq!(shaken.error_code, 0);
    let token = b"\0bob\0bob-secret";
    client.socket.write_i32(token.len() as i32).await.unwrap();
    client.socket.write_all(token).await.unwrap();
    assert_eq!(client.socket.read_i32().await.unwrap(), 0, "an empty token says that it is done");
    client.create("t", 1, &[]).await;

    let mut client = running.client().await;
    client.ask(&message!(SaslHandshakeRequest { mechanism: "PLAIN".into() }), 0).await;
    client.socket.write_all(&[0, 0, 0, 0]).await.unwrap();
    is_closed(&mut client).await;
    running.stop().await;
}

#[tokio::test]
async fn a_long_frame_of_somebody_unknown_is_not_read() {
    let running = start(|_| {}).await;
    let mut client = running.client().await;
    client.socket.write_all(&[0, 8, 0, 1, 0, 18]).await.unwrap();
    is_closed(&mut client).await;
    let mut client = client_of(&running, "alice").await;
    client.create("t", 1, &[]).await;
    let long = "x".repeat(700_000);
    assert_eq!(client.produce("t", 0, batch(&[&long])).await.error_code, 0, "but of somebody known");
    running.stop().await;
}

#[tokio::test]
async fn failures_wait_before_they_are_told() {
    let delay = Duration::from_millis(300);
    let running = start(|options| options.security.failure_delay = delay).await;
    let mut client = running.client().await;
    let start = Instant::now();
    assert_ne!(client.plain("alice", "wrong").await.error_code, 0);
    assert!(start.elapsed() >= delay);
    is_closed(&mut client).await;
    running.stop().await;
}

#[tokio::test]
async fn a_session_ends_unless_it_is_renewed() {
    // Enough for everybody to come in, however busy the machine is.
    let span = Duration::from_secs(4);
    let running = start(|options| options.security.reauthentication = Some(span)).await;
    let mut renewing = running.client().await;
    let done = renewing.plain("alice", "alice-secret").await;
    assert_eq!((done.error_code, done.session_lifetime_ms), (0, 4000));
    let mut resting = client_of(&running, "alice").await;
    let mut changing = client_of(&running, "alice").await;
    let mut switching = client_of(&running, "alice").await;
    renewing.create("t", 1, &[]).await;

    assert_ne!(changing.plain("bob", "bob-secret").await.error_code, 0, "nobody becomes somebody else");
    is_closed(&mut changing).await;
    let request = message!(SaslHandshakeRequest { mechanism: "SCRAM-SHA-256".into() });
    switching.send(&request, 1).await;
    is_closed(&mut switching).await;

    let begun = Instant::now();
    let mut offset = 0;
    while begun.elapsed() < span + Duration::from_millis(300) {
        assert_eq!(renewing.plain("alice", "alice-secret").await.error_code, 0);
        assert_eq!(renewing.produce("t", 0, batch(&["v"])).await.base_offset, offset);
        offset += 1;
    }
    resting.send(&MetadataRequest::default(), 9).await;
    is_closed(&mut resting).await;
    running.stop().await;
}

#[tokio::test]
async fn sasl_where_there_is_none_is_an_illegal_state() {
    let running = Running::start().await;
    let mut client = running.client().await;
    assert_eq!(ErrorCode::from(client.handshake("PLAIN").await.error_code), ErrorCode::IllegalSaslState);
    let refused = client.token("x", 2).await;
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::IllegalSaslState);
    let versions = client.ask(&ApiVersionsRequest::default(), 0).await;
    assert!(versions.api_keys.iter().any(|api| api.api_key == ApiKey::SaslAuthenticate as i16));
    running.stop().await;
}
