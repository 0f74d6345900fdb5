//! Users' keys through the API, and bearer tokens.

use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use flumen_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use flumen_protocol::messages::describe_user_scram_credentials_request::UserName;
use flumen_protocol::messages::*;
use flumen_protocol::{ErrorCode, message};
use flumen_server::{BearerOptions, SecurityProtocol};
use ring::pbkdf2;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

use crate::running::{Client, Running};
use crate::sasl::{client_of, start, users};

const SHA_256: i8 = 1;
const SHA_512: i8 = 2;

/// As a client's tool salts a password.
fn upsertion(name: &str, mechanism: i8, password: &str, iterations: u32) -> ScramCredentialUpsertion {
    let (algorithm, length) = match mechanism {
        SHA_256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
        _ => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
    };
    let mut salted = vec![0; length];
    let count = NonZeroU32::new(iterations.max(1)).unwrap();
    pbkdf2::derive(algorithm, count, b"some salt", password.as_bytes(), &mut salted);
    message!(ScramCredentialUpsertion {
        name: name.into(),
        mechanism,
        iterations: iterations as i32,
        salt: (&b"some salt"[..]).into(),
        salted_password: salted.into(),
    })
}

fn deletion(name: &str, mechanism: i8) -> ScramCredentialDeletion {
    message!(ScramCredentialDeletion { name: name.into(), mechanism })
}

async fn alter(
    client: &mut Client,
    upsertions: Vec<ScramCredentialUpsertion>,
    deletions: Vec<ScramCredentialDeletion>,
) -> Vec<(String, ErrorCode)> {
    let request = message!(AlterUserScramCredentialsRequest { upsertions, deletions });
    let results = client.ask(&request, 0).await.results;
    results.into_iter().map(|result| (result.user.to_string(), result.error_code.into())).collect()
}

fn told(expected: &[(&str, ErrorCode)]) -> Vec<(String, ErrorCode)> {
    expected.iter().map(|(user, error)| (user.to_string(), *error)).collect()
}

#[tokio::test]
async fn a_user_comes_and_goes_through_the_api_and_survives_a_restart() {
    let running = start(|_| {}).await;
    let mut alice = client_of(&running, "alice").await;
    let made = alter(&mut alice, vec![upsertion("carol", SHA_512, "carol-secret", 4096)], vec![]).await;
    assert_eq!(made, told(&[("carol", ErrorCode::None)]));
    client_of(&running, "carol").await;
    let dir = running.stop().await;
    let file = dir.path().join("flumen-security.json");
    let content = std::fs::read_to_string(&file).unwrap();
    assert!(content.contains("carol") && !content.contains("carol-secret") && !content.contains("alice"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let running = Running::over_as(dir, SecurityProtocol::SaslPlaintext, users).await;
    let mut carol = client_of(&running, "carol").await;
    let known = carol.ask(&DescribeUserScramCredentialsRequest::default(), 0).await.results;
    let known: Vec<_> = known.iter().map(|user| (&*user.user, user.credential_infos.len())).collect();
    assert_eq!(known, [("alice", 2), ("bob", 2), ("carol", 1)], "declared or made");
    let gone = alter(&mut carol, vec![], vec![deletion("carol", SHA_512)]).await;
    assert_eq!(gone, told(&[("carol", ErrorCode::None)]));
    let mut client = running.client().await;
    assert_ne!(client.plain("carol", "carol-secret").await.error_code, 0);
    running.stop().await;
}

#[tokio::test]
async fn what_cannot_be_done_to_a_user_has_kafkas_code() {
    let running = start(|_| {}).await;
    let mut alice = client_of(&running, "alice").await;
    let upsertions = vec![
        upsertion("few", SHA_256, "x", 4095),
        upsertion("many", SHA_256, "x", 16385),
        upsertion("", SHA_256, "x", 4096),
        upsertion("twice", SHA_256, "x", 4096),
        upsertion("twice", SHA_512, "x", 4096),
        upsertion("what", 7, "x", 4096),
        upsertion("bob", SHA_256, "x", 4096),
    ];
    let answers = alter(&mut alice, upsertions, vec![deletion("nobody", SHA_256)]).await;
    let expected = [
        ("", ErrorCode::UnacceptableCredential),
        ("bob", ErrorCode::PolicyViolation),
        ("few", ErrorCode::UnacceptableCredential),
        ("many", ErrorCode::UnacceptableCredential),
        ("nobody", ErrorCode::ResourceNotFound),
        ("twice", ErrorCode::DuplicateResource),
        ("what", ErrorCode::UnsupportedSaslMechanism),
    ];
    assert_eq!(answers, told(&expected));
    let name = |name: &str| message!(UserName { name: name.into() });
    let request = message!(DescribeUserScramCredentialsRequest {
        users: Some(vec![name("alice"), name("nobody"), name("bob"), name("bob")]),
    });
    let found = alice.ask(&request, 0).await.results;
    let found: Vec<_> = found.iter().map(|one| (one.user.to_string(), one.error_code.into())).collect();
    let expected = [
        ("alice", ErrorCode::None),
        ("nobody", ErrorCode::ResourceNotFound),
        ("bob", ErrorCode::DuplicateResource),
    ];
    assert_eq!(found, told(&expected));
    running.stop().await;
}

#[tokio::test]
async fn a_bearer_token_lets_in_until_it_runs_out() {
    let random = SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let (x, y) = (BASE64.encode(&point[1..33]), BASE64.encode(&point[33..]));
    let dir = tempfile::tempdir().unwrap();
    let keys = dir.path().join("jwks.json");
    let set = format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","x":"{x}","y":"{y}"}}]}}"#);
    std::fs::write(&keys, set).unwrap();
    let bearer = BearerOptions {
        keys,
        issuer: None,
        audiences: Vec::new(),
        principal_claim: "sub".into(),
        skew: Duration::ZERO,
    };
    let running = start(|options| {
        options.security.bearer = Some(bearer);
        options.security.reauthentication = Some(Duration::from_secs(3600));
    })
    .await;
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let token = |until: u64| {
        let claims = format!(r#"{{"sub":"dave","exp":{until}}}"#);
        let signed = format!("{}.{}", BASE64.encode(r#"{"alg":"ES256"}"#), BASE64.encode(claims));
        let signature = pair.sign(&random, signed.as_bytes()).unwrap();
        format!("n,,\u{1}auth=Bearer {signed}.{}\u{1}\u{1}", BASE64.encode(signature))
    };
    let handshake = message!(SaslHandshakeRequest { mechanism: "OAUTHBEARER".into() });
    let message = |text: String| message!(SaslAuthenticateRequest { auth_bytes: text.into() });

    let mut dave = running.client().await;
    dave.ask(&handshake, 1).await;
    let done = dave.ask(&message(token(now + 100)), 2).await;
    assert_eq!(done.error_code, 0);
    assert!((1..=100_000).contains(&done.session_lifetime_ms), "{}", done.session_lifetime_ms);
    dave.create("t", 1, &[]).await;

    let mut late = running.client().await;
    late.ask(&handshake, 1).await;
    let status = late.ask(&message(token(now - 1)), 2).await;
    assert_eq!((status.error_code, &status.auth_bytes[..]), (0, &br#"{"status":"invalid_token"}"#[..]));
    let refused = late.ask(&message("\u{1}".into()), 2).await;
    assert_eq!(ErrorCode::from(refused.error_code), ErrorCode::SaslAuthenticationFailed);
    running.stop().await;
}
