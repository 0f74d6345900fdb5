//! Who somebody says to be.

use std::num::NonZeroU32;
use std::sync::LazyLock;

use flumen_auth::{
    Exchange, Jwks, JwtRules, MappingRules, Mechanism, ScramCredential, ScramHash, Step, Verifier,
    subject_of_certificate,
};

pub(crate) const PASSWORD: &str = "open sesame";
/// The example of RFC 7515, A.3: a token signed with ES256.
pub(crate) const TOKEN: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
pub(crate) const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
/// Before the token runs out.
const NOW_MS: i64 = 1_300_819_000_000;

struct Known {
    credentials: [ScramCredential; 2],
    jwt: JwtRules,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let of = |hash| ScramCredential::of_password(hash, PASSWORD, b"salt", NonZeroU32::MIN);
    let keys = Jwks::parse(KEYS).expect("the key of RFC 7515");
    Known {
        credentials: [of(ScramHash::Sha256), of(ScramHash::Sha512)],
        jwt: JwtRules { keys, principal_claim: "iss".into(), ..JwtRules::default() },
    }
});

impl Verifier for Known {
    fn credential(&self, hash: ScramHash, user: &str) -> Option<ScramCredential> {
        let [sha256, sha512] = &self.credentials;
        let credential = if hash == ScramHash::Sha256 { sha256 } else { sha512 };
        (user == "alice").then(|| credential.clone())
    }

    fn jwt(&self) -> Option<&JwtRules> {
        Some(&self.jwt)
    }

    fn decoy(&self) -> &[u8] {
        b"decoy"
    }

    fn now_ms(&self) -> i64 {
        NOW_MS
    }
}

/// The first byte says what it is to be; of an exchange the second is the length of the first of its two
/// messages.
pub(crate) fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 8 {
        0 => exchange(Mechanism::Plain, rest),
        1 => exchange(Mechanism::Scram(ScramHash::Sha256), rest),
        2 => exchange(Mechanism::Scram(ScramHash::Sha512), rest),
        3 => exchange(Mechanism::OauthBearer, rest),
        4 => token(&text),
        5 => drop(subject_of_certificate(rest)),
        6 => drop((Jwks::parse(&text), ScramCredential::parse(ScramHash::Sha256, &text))),
        _ => mapping(&text),
    }
}

fn exchange(mechanism: Mechanism, data: &[u8]) {
    let Some((length, rest)) = data.split_first() else { return };
    let (first, second) = rest.split_at(rest.len().min(*length as usize));
    let mut exchange = Exchange::begin(mechanism, "nonce-of-the-server".into());
    for message in [first, second] {
        match exchange.step(message, &*KNOWN) {
            Ok(Step::Continue(_)) => {}
            Ok(Step::Done { identity, .. }) => {
                // With PLAIN and a token the proof is in the message; of SCRAM's nobody knows the key.
                let text = String::from_utf8_lossy(message);
                match mechanism {
                    Mechanism::Plain => assert!(identity.name == "alice" && text.contains(PASSWORD)),
                    Mechanism::OauthBearer => assert!(identity.name == "joe" && text.contains(signed())),
                    _ => panic!("{identity:?} has proved nothing"),
                }
                return;
            }
            Err(_) => return,
        }
    }
}

/// The token without its signature, of which there may be another that is right.
fn signed() -> &'static str {
    TOKEN.rsplit_once('.').map_or(TOKEN, |(signed, _)| signed)
}

fn token(text: &str) {
    if let Ok(identity) = KNOWN.jwt.check(text, NOW_MS) {
        assert!(identity.name == "joe" && text.starts_with(signed()), "{identity:?}");
    }
}

fn mapping(text: &str) {
    let (rules, name) = text.split_once('\n').unwrap_or((text, "CN=alice,O=Example"));
    if let Ok(rules) = MappingRules::parse(rules) {
        let _ = rules.apply(name);
    }
}
