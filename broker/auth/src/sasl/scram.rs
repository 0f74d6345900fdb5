//! SCRAM (RFC 5802, RFC 7677), without channel binding.
//!
//! ```text
//! C: n,,n=user,r=cnonce
//! S: r=cnonce+nonce,s=salt,i=iterations
//! C: c=biws,r=cnonce+nonce,p=proof
//! S: v=signature
//! ```
//!
//! Invariant: an unknown user is asked for a proof as a known one is, with a salt that stays the same,
//! and then fails.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use subtle::ConstantTimeEq;

use super::{Refused, Step, Verifier};
use crate::credential::{ITERATIONS_MIN, ScramCredential, ScramHash};
use crate::identity::Identity;

#[derive(Debug)]
pub struct Scram {
    hash: ScramHash,
    nonce: String,
    state: State,
}

#[derive(Debug)]
enum State {
    Start,
    Asked(Box<Asked>),
    Over,
}

/// A proof was asked for.
#[derive(Debug)]
struct Asked {
    user: String,
    /// `None`: there is no such user.
    credential: Option<ScramCredential>,
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

impl Scram {
    pub(super) fn new(hash: ScramHash, nonce: String) -> Scram {
        Scram { hash, nonce, state: State::Start }
    }

    pub(super) fn step(&mut self, token: &[u8], verifier: &dyn Verifier) -> Result<Step, Refused> {
        let text = std::str::from_utf8(token).map_err(|_| Refused("the token is not UTF-8"))?;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start => {
                let asked = self.ask(text, verifier)?;
                let challenge = asked.server_first.clone().into_bytes();
                self.state = State::Asked(Box::new(asked));
                Ok(Step::Continue(challenge))
            }
            State::Asked(asked) => self.check(*asked, text),
            State::Over => Err(Refused("the exchange is over")),
        }
    }

    fn ask(&self, text: &str, verifier: &dyn Verifier) -> Result<Asked, Refused> {
        let malformed = Refused("the first message is malformed");
        let (flag, rest) = text.split_once(',').ok_or(malformed)?;
        let (other, bare) = rest.split_once(',').ok_or(malformed)?;
        if !matches!(flag, "n" | "y") {
            return Err(Refused("channel binding is not known here"));
        }
        let mut fields = bare.split(',');
        let user = fields.next().and_then(|field| field.strip_prefix("n=")).ok_or(malformed)?;
        let user = saslname(user).filter(|user| !user.is_empty()).ok_or(malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(malformed)?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| matches!(byte, 0x21..=0x7e)) {
            return Err(malformed);
        }
        if fields.any(|extension| extension.starts_with("m=") || extension == "tokenauth=true") {
            return Err(Refused("an extension that is not known, or a delegation token"));
        }
        let other = other.strip_prefix("a=").map(|other| saslname(other).ok_or(malformed)).transpose()?;
        if other.is_some_and(|other| other != user) {
            return Err(Refused("nobody may act for another"));
        }
        let credential = verifier.credential(self.hash, &user);
        let (salt, iterations) = match &credential {
            Some(credential) => (credential.salt.clone(), credential.iterations),
            None => {
                let made = self.hash.hmac(verifier.decoy(), user.as_bytes());
                (made[..16].to_vec(), ITERATIONS_MIN)
            }
        };
        let nonce = format!("{nonce}{}", self.nonce);
        Ok(Asked {
            user,
            credential,
            gs2_header: text[..text.len() - bare.len()].into(),
            client_first_bare: bare.into(),
            server_first: format!("r={nonce},s={},i={iterations}", BASE64.encode(salt)),
            nonce,
        })
    }

    fn check(&self, asked: Asked, text: &str) -> Result<Step, Refused> {
        let malformed = Refused("the last message is malformed");
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(malformed)?;
        let proof = BASE64.decode(proof).map_err(|_| malformed)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|field| field.strip_prefix("c=")).ok_or(malformed)?;
        let nonce = fields.next().and_then(|field| field.strip_prefix("r=")).ok_or(malformed)?;
        if BASE64.decode(binding).ok().as_deref() != Some(asked.gs2_header.as_bytes()) || nonce != asked.nonce
        {
            return Err(Refused("the last message does not belong to the first"));
        }
        let credential = asked.credential.ok_or(Refused("no such user"))?;
        if proof.len() != self.hash.bytes() {
            return Err(malformed);
        }
        let message = format!("{},{},{without_proof}", asked.client_first_bare, asked.server_first);
        let signature = self.hash.hmac(&credential.stored_key, message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(proof, signed)| proof ^ signed).collect();
        if !bool::from(self.hash.digest(&client_key).ct_eq(&credential.stored_key)) {
            return Err(Refused("a wrong password"));
        }
        let signature = self.hash.hmac(&credential.server_key, message.as_bytes());
        let reply = format!("v={}", BASE64.encode(signature)).into_bytes();
        Ok(Step::Done { reply, identity: Identity { name: asked.user, expires_at_ms: None } })
    }
}

/// `=2C` is a comma, `=3D` an equals sign; nothing else may follow one.
fn saslname(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_string();
    for part in parts {
        let (letter, rest) = match part.split_at_checked(2)? {
            ("2C", rest) => (',', rest),
            ("3D", rest) => ('=', rest),
            _ => return None,
        };
        name.push(letter);
        name.push_str(rest);
    }
    Some(name)
}
