//! The server's side of a SASL exchange: tokens in, tokens out, and in the end a name.
//!
//! Invariants: an exchange ends with its first refusal. Why it was refused is for the broker's log and
//! says nothing of what the peer sent; the peer learns that it failed, not why.

pub mod login;
mod oauthbearer;
mod plain;
mod scram;

use crate::credential::{ScramCredential, ScramHash};
use crate::identity::Identity;
use crate::jwt::JwtRules;

/// A way to say who one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mechanism {
    Plain,
    Scram(ScramHash),
    OauthBearer,
}

impl Mechanism {
    pub const ALL: [Mechanism; 4] = [
        Mechanism::Plain,
        Mechanism::Scram(ScramHash::Sha256),
        Mechanism::Scram(ScramHash::Sha512),
        Mechanism::OauthBearer,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram(hash) => hash.mechanism(),
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }

    pub fn from_name(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }
}

/// What an exchange has to ask.
pub trait Verifier {
    /// A user's keys; `None` if there is no such user, or none for this mechanism.
    fn credential(&self, hash: ScramHash, user: &str) -> Option<ScramCredential>;
    /// The rules for bearer tokens, if they are taken.
    fn jwt(&self) -> Option<&JwtRules>;
    /// A secret that never changes while the broker runs: what an unknown user is answered is made of
    /// it, so that nobody finds out who exists.
    fn decoy(&self) -> &[u8];
    fn now_ms(&self) -> i64;
}

/// What comes of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The peer is to answer this.
    Continue(Vec<u8>),
    Done {
        reply: Vec<u8>,
        identity: Identity,
    },
}

/// The exchange has failed, for this reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused(pub &'static str);

/// An exchange that has begun.
#[derive(Debug)]
pub enum Exchange {
    Plain,
    Scram(scram::Scram),
    OauthBearer(oauthbearer::OauthBearer),
}

impl Exchange {
    /// `nonce`: printable, without commas, and never the same twice.
    pub fn begin(mechanism: Mechanism, nonce: String) -> Exchange {
        match mechanism {
            Mechanism::Plain => Exchange::Plain,
            Mechanism::Scram(hash) => Exchange::Scram(scram::Scram::new(hash, nonce)),
            Mechanism::OauthBearer => Exchange::OauthBearer(oauthbearer::OauthBearer::default()),
        }
    }

    pub fn step(&mut self, token: &[u8], verifier: &dyn Verifier) -> Result<Step, Refused> {
        match self {
            Exchange::Plain => plain::check(token, verifier),
            Exchange::Scram(scram) => scram.step(token, verifier),
            Exchange::OauthBearer(bearer) => bearer.step(token, verifier),
        }
    }
}

#[cfg(test)]
mod tests;
