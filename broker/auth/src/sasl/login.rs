//! The client's side of an exchange: PLAIN (RFC 4616) and SCRAM (RFC 5802), without channel binding.
//!
//! Invariants: a SCRAM server is believed only when it has proved that it knows the user's keys. What it
//! asks for has bounds: neither so few iterations that a listener could guess the password, nor more
//! than a client should spend on a stranger.
//!
//! Lacks OAUTHBEARER: a person at a command line has a password.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::ConstantTimeEq;

use super::Mechanism;
use crate::credential::{ITERATIONS_MIN, ScramHash};

/// A server may have other limits than this broker.
const ITERATIONS_ASKED_MAX: u32 = 1_000_000;

/// What a user proves themselves with.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    pub user: String,
    pub password: String,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password({:?}, ***)", self.user)
    }
}

/// An exchange that a client has begun.
#[derive(Debug)]
pub struct Login {
    password: Password,
    state: State,
}

#[derive(Debug)]
enum State {
    Plain,
    /// The first message is to be answered with a challenge.
    Challenge {
        hash: ScramHash,
        nonce: String,
    },
    /// The proof is to be answered with this one.
    Signature(Vec<u8>),
    Over,
}

/// Why the client does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubt(pub &'static str);

impl Login {
    /// `None`: no password proves anything by this mechanism. `nonce`: printable, without commas, and never
    /// the same twice.
    pub fn new(mechanism: Mechanism, password: Password, nonce: String) -> Option<Login> {
        let state = match mechanism {
            Mechanism::Plain => State::Plain,
            Mechanism::Scram(hash) => State::Challenge { hash, nonce },
            Mechanism::OauthBearer => return None,
        };
        Some(Login { password, state })
    }

    /// The first token.
    pub fn first(&self) -> Vec<u8> {
        let Password { user, password } = &self.password;
        match &self.state {
            State::Challenge { nonce, .. } => format!("n,,{}", first_bare(user, nonce)).into_bytes(),
            _ => format!("\0{user}\0{password}").into_bytes(),
        }
    }

    /// The next token, or `None` when the server has said all that it must.
    pub fn answer(&mut self, reply: &[u8]) -> Result<Option<Vec<u8>>, Doubt> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Plain => Ok(None),
            State::Challenge { hash, nonce } => {
                let text = std::str::from_utf8(reply).map_err(|_| MALFORMED)?;
                let (proof, signature) = self.prove(hash, &nonce, text)?;
                self.state = State::Signature(signature);
                Ok(Some(proof))
            }
            State::Signature(expected) => {
                let signed = reply.strip_prefix(b"v=").and_then(|signed| BASE64.decode(signed).ok());
                match signed.is_some_and(|signed| signed.ct_eq(&expected).into()) {
                    true => Ok(None),
                    false => Err(Doubt("the server has not proved that it knows the user")),
                }
            }
            State::Over => Err(Doubt("the exchange is over")),
        }
    }

    /// The last message, and what the server signs it with.
    fn prove(&self, hash: ScramHash, nonce: &str, challenge: &str) -> Result<(Vec<u8>, Vec<u8>), Doubt> {
        let Challenge { nonce: both, salt, iterations } = Challenge::parse(challenge).ok_or(MALFORMED)?;
        if !both.starts_with(nonce) || both.len() == nonce.len() {
            return Err(Doubt("the server answers somebody else's message"));
        }
        if !(ITERATIONS_MIN..=ITERATIONS_ASKED_MAX).contains(&iterations.get()) {
            return Err(Doubt("the server asks for too few iterations, or for too many"));
        }
        let salted = hash.salted(&self.password.password, &salt, iterations);
        let client_key = hash.hmac(&salted, b"Client Key");
        let last = format!("c={},r={both}", BASE64.encode("n,,"));
        let message = format!("{},{challenge},{last}", first_bare(&self.password.user, nonce));
        let signature = hash.hmac(&hash.digest(&client_key), message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, signed)| key ^ signed).collect();
        let signed = hash.hmac(&hash.hmac(&salted, b"Server Key"), message.as_bytes());
        Ok((format!("{last},p={}", BASE64.encode(proof)).into_bytes(), signed))
    }
}

const MALFORMED: Doubt = Doubt("the server's challenge is malformed");

fn first_bare(user: &str, nonce: &str) -> String {
    format!("n={},r={nonce}", user.replace('=', "=3D").replace(',', "=2C"))
}

struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: NonZeroU32,
}

impl Challenge<'_> {
    fn parse(text: &str) -> Option<Challenge<'_>> {
        let mut fields = text.split(',');
        let mut field = |name| fields.next()?.strip_prefix(name);
        Some(Challenge {
            nonce: field("r=")?,
            salt: BASE64.decode(field("s=")?).ok()?,
            iterations: field("i=")?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(mechanism: Mechanism, nonce: &str) -> Login {
        let password = Password { user: "user".into(), password: "pencil".into() };
        Login::new(mechanism, password, nonce.into()).unwrap()
    }

    /// The example of RFC 7677 up to the proof.
    fn proved() -> Login {
        let mut login = login(Mechanism::Scram(ScramHash::Sha256), "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(login.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge =
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(login.answer(challenge), Ok(Some(proof.into())));
        login
    }

    #[test]
    fn the_example_of_rfc_7677_passes_once() {
        let mut login = proved();
        assert_eq!(login.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(None));
        assert!(login.answer(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=").is_err());
    }

    #[test]
    fn a_server_that_does_not_know_the_user_is_not_believed() {
        for reply in [&b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="[..], b"v=", b"", b"e=other-error"] {
            assert!(proved().answer(reply).is_err(), "{reply:?}");
        }
    }

    #[test]
    fn a_challenge_that_is_not_to_us_or_without_bounds_is_not_answered() {
        let salt = "s=W22ZaJ0SNY7soEsUEjb6gQ==";
        for challenge in [
            format!("r=other,{salt},i=4096"),
            format!("r=ours,{salt},i=4096"),
            format!("r=ours+,{salt},i=4095"),
            format!("r=ours+,{salt},i=1000001"),
            format!("r=ours+,{salt},i=0"),
            format!("{salt},r=ours+,i=4096"),
            "r=ours+".into(),
            String::new(),
        ] {
            let mut login = login(Mechanism::Scram(ScramHash::Sha512), "ours");
            assert!(login.answer(challenge.as_bytes()).is_err(), "{challenge}");
        }
    }

    #[test]
    fn plain_is_one_token_and_debug_shows_no_password() {
        let mut login = login(Mechanism::Plain, "");
        assert_eq!(login.first(), b"\0user\0pencil");
        assert!(!format!("{login:?}").contains("pencil"), "{login:?}");
        assert_eq!(login.answer(b""), Ok(None));
    }
}
