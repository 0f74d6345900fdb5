//! PLAIN (RFC 4616): `[authzid] NUL user NUL password`. Only for listeners that encrypt.
//!
//! No password is kept anywhere: it is checked against the user's SCRAM keys.

use std::num::NonZeroU32;

use super::{Refused, Step, Verifier};
use crate::credential::{ITERATIONS_MIN, ScramCredential, ScramHash};
use crate::identity::Identity;

pub(super) fn check(token: &[u8], verifier: &dyn Verifier) -> Result<Step, Refused> {
    let text = std::str::from_utf8(token).map_err(|_| Refused("the token is not UTF-8"))?;
    let parts: Vec<&str> = text.split('\0').collect();
    let [other, user, password] = parts[..] else { return Err(Refused("the token has not three parts")) };
    if user.is_empty() || password.is_empty() {
        return Err(Refused("no user, or no password"));
    }
    if !other.is_empty() && other != user {
        return Err(Refused("nobody may act for another"));
    }
    let known = ScramHash::ALL.into_iter().find_map(|hash| Some((hash, verifier.credential(hash, user)?)));
    let Some((hash, credential)) = known else {
        // As slow as a wrong password.
        if let Some(iterations) = NonZeroU32::new(ITERATIONS_MIN) {
            ScramCredential::of_password(ScramHash::Sha256, password, verifier.decoy(), iterations);
        }
        return Err(Refused("no such user"));
    };
    match credential.is_of(hash, password) {
        true => Ok(Step::Done {
            reply: Vec::new(),
            identity: Identity { name: user.into(), expires_at_ms: None },
        }),
        false => Err(Refused("a wrong password")),
    }
}
