//! Exchanges against a client that follows the standards, and against one that does not.

use std::collections::HashMap;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::prelude::*;
use ring::pbkdf2;

use super::login::{Login, Password};
use super::*;

#[derive(Default)]
struct Users {
    credentials: HashMap<(ScramHash, String), ScramCredential>,
    jwt: JwtRules,
}

impl Users {
    fn with(mut self, hash: ScramHash, user: &str, password: &str) -> Users {
        let iterations = NonZeroU32::new(4096).unwrap();
        let made = ScramCredential::of_password(hash, password, b"a salt", iterations);
        self.credentials.insert((hash, user.into()), made);
        self
    }
}

impl Verifier for Users {
    fn credential(&self, hash: ScramHash, user: &str) -> Option<ScramCredential> {
        self.credentials.get(&(hash, user.into())).cloned()
    }

    fn jwt(&self) -> Option<&JwtRules> {
        Some(&self.jwt)
    }

    fn decoy(&self) -> &[u8] {
        b"decoy"
    }

    fn now_ms(&self) -> i64 {
        0
    }
}

fn begin(mechanism: Mechanism) -> Exchange {
    Exchange::begin(mechanism, "server-nonce".into())
}

/// Plays a client; what the server says in the end, and whether it is the server that it should be.
fn scram(users: &Users, hash: ScramHash, user: &str, password: &str) -> Result<Identity, Refused> {
    let mut exchange = begin(Mechanism::Scram(hash));
    let bare = format!("n={},r=client-nonce", user.replace('=', "=3D").replace(',', "=2C"));
    let Step::Continue(challenge) = exchange.step(format!("n,,{bare}").as_bytes(), users)? else {
        panic!("done without a proof");
    };
    let challenge = String::from_utf8(challenge).unwrap();
    let field = |name: &str| challenge.split(',').find_map(|f| f.strip_prefix(name)).unwrap();
    assert_eq!(field("r="), "client-nonceserver-nonce");
    let algorithm = match hash {
        ScramHash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        ScramHash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
    };
    let mut salted = vec![0; hash.bytes()];
    let iterations = field("i=").parse().unwrap();
    pbkdf2::derive(
        algorithm,
        iterations,
        &BASE64.decode(field("s=")).unwrap(),
        password.as_bytes(),
        &mut salted,
    );
    let client_key = hash.hmac(&salted, b"Client Key");
    let last = format!("c={},r={}", BASE64.encode("n,,"), field("r="));
    let message = format!("{bare},{challenge},{last}");
    let signature = hash.hmac(&hash.digest(&client_key), message.as_bytes());
    let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
    match exchange.step(format!("{last},p={}", BASE64.encode(proof)).as_bytes(), users)? {
        Step::Done { reply, identity } => {
            let expected = hash.hmac(&hash.hmac(&salted, b"Server Key"), message.as_bytes());
            assert_eq!(reply, format!("v={}", BASE64.encode(expected)).into_bytes());
            Ok(identity)
        }
        Step::Continue(_) => panic!("not done with a proof"),
    }
}

#[test]
fn the_example_of_rfc_7677_passes() {
    let mut users = Users::default();
    let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
    let iterations = NonZeroU32::new(4096).unwrap();
    let made = ScramCredential::of_password(ScramHash::Sha256, "pencil", &salt, iterations);
    users.credentials.insert((ScramHash::Sha256, "user".into()), made);
    let mechanism = Mechanism::Scram(ScramHash::Sha256);
    let mut exchange = Exchange::begin(mechanism, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into());
    let first = exchange.step(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO", &users).unwrap();
    let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    assert_eq!(first, Step::Continue(challenge.into()));
    let proof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let Step::Done { reply, identity } = exchange.step(proof.as_bytes(), &users).unwrap() else { panic!() };
    assert_eq!(reply, b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
    assert_eq!(identity.name, "user");
    assert!(exchange.step(proof.as_bytes(), &users).is_err(), "an exchange is used once");
}

#[test]
fn scram_tells_who_knows_the_password() {
    for hash in ScramHash::ALL {
        let users = Users::default().with(hash, "a=b,c", "secret");
        assert_eq!(scram(&users, hash, "a=b,c", "secret").unwrap().name, "a=b,c");
        assert_eq!(scram(&users, hash, "a=b,c", "Secret"), Err(Refused("a wrong password")));
        assert_eq!(scram(&users, hash, "nobody", "secret"), Err(Refused("no such user")));
    }
}

#[test]
fn our_own_client_is_let_in() {
    for mechanism in Mechanism::ALL.into_iter().filter(|mechanism| *mechanism != Mechanism::OauthBearer) {
        let users = Users::default().with(ScramHash::Sha256, "a=b,c", "secret");
        let users = users.with(ScramHash::Sha512, "a=b,c", "secret");
        let logs_in = |password: &str| {
            let password = Password { user: "a=b,c".into(), password: password.into() };
            let mut login = Login::new(mechanism, password, "client-nonce".into()).unwrap();
            let (mut exchange, mut token) = (begin(mechanism), login.first());
            loop {
                match exchange.step(&token, &users)? {
                    Step::Continue(reply) => token = login.answer(&reply).unwrap().unwrap(),
                    Step::Done { reply, identity } => {
                        assert_eq!(login.answer(&reply), Ok(None));
                        return Ok(identity.name);
                    }
                }
            }
        };
        assert_eq!(logs_in("secret").as_deref(), Ok("a=b,c"));
        assert_eq!(logs_in("Secret"), Err(Refused("a wrong password")));
    }
}

#[test]
fn an_unknown_user_is_asked_the_same_thing_each_time() {
    let users = Users::default();
    let ask = || begin(Mechanism::Scram(ScramHash::Sha256)).step(b"n,,n=nobody,r=x", &users).unwrap();
    assert_eq!(ask(), ask());
}

#[test]
fn plain_takes_the_password_of_any_keys() {
    for hash in ScramHash::ALL {
        let users = Users::default().with(hash, "alice", "secret");
        let step = |token: &[u8]| begin(Mechanism::Plain).step(token, &users);
        for good in [&b"\0alice\0secret"[..], b"alice\0alice\0secret"] {
            let Ok(Step::Done { identity, .. }) = step(good) else { panic!("{good:?}") };
            assert_eq!(identity.name, "alice");
        }
        for bad in
            [&b"\0alice\0"[..], b"\0alice\0wrong", b"\0bob\0secret", b"bob\0alice\0secret", b"", b"\0\0\0\0"]
        {
            assert!(step(bad).is_err(), "{bad:?}");
        }
    }
}

#[test]
fn a_bad_bearer_token_gets_a_status_and_then_a_refusal() {
    let users = Users::default();
    let mut exchange = begin(Mechanism::OauthBearer);
    let first = exchange.step(b"n,,\x01auth=Bearer a.b.c\x01\x01", &users);
    assert_eq!(first, Ok(Step::Continue(br#"{"status":"invalid_token"}"#.to_vec())));
    assert!(exchange.step(b"\x01", &users).is_err());
    assert!(begin(Mechanism::OauthBearer).step(b"n,,auth=Bearer a", &users).is_err());
}

proptest! {
    #[test]
    fn no_tokens_panic(tokens in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 1..4)) {
        let users = Users::default();
        for mechanism in Mechanism::ALL.into_iter().skip(1) {
            let mut exchange = begin(mechanism);
            for token in &tokens {
                let _ = exchange.step(token, &users);
            }
        }
    }

    #[test]
    fn no_scram_texts_panic(first in "[nyp]?,?(a=)?[a=,23CD]{0,5},n=[a=2CD,]{0,8},r=[!-~]{0,8}", last in "c=[a-z=]{0,8},r=[!-~]{0,30},p=[a-zA-Z=]{0,50}") {
        let users = Users::default();
        let mut exchange = begin(Mechanism::Scram(ScramHash::Sha512));
        let _ = exchange.step(first.as_bytes(), &users);
        prop_assert!(exchange.step(last.as_bytes(), &users).is_err());
    }
}
