//! OAUTHBEARER (RFC 7628): `n,[a=user], ^A auth=Bearer TOKEN ^A [key=value ^A]... ^A`.
//!
//! A refused token is answered with a status, which the client takes note of with one more message.

use super::{Refused, Step, Verifier};
use crate::identity::Identity;

const SEPARATOR: char = '\u{1}';
const STATUS: &[u8] = br#"{"status":"invalid_token"}"#;

#[derive(Debug, Default)]
pub struct OauthBearer {
    refused: Option<Refused>,
}

impl OauthBearer {
    pub(super) fn step(&mut self, message: &[u8], verifier: &dyn Verifier) -> Result<Step, Refused> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let rules = verifier.jwt().ok_or(Refused("no keys are configured"))?;
        let text = std::str::from_utf8(message).map_err(|_| Refused("the message is not UTF-8"))?;
        let (user, token) = parse(text).ok_or(Refused("the message is malformed"))?;
        let checked = rules.check(token, verifier.now_ms()).and_then(|identity| is_own(user, identity));
        match checked {
            Ok(identity) => Ok(Step::Done { reply: Vec::new(), identity }),
            Err(why) => {
                self.refused = Some(Refused(why));
                Ok(Step::Continue(STATUS.to_vec()))
            }
        }
    }
}

fn is_own(user: &str, identity: Identity) -> Result<Identity, &'static str> {
    match user.is_empty() || user == identity.name {
        true => Ok(identity),
        false => Err("nobody may act for another"),
    }
}

/// Who is named, if somebody is, and the token.
fn parse(text: &str) -> Option<(&str, &str)> {
    let (header, fields) = text.split_once(SEPARATOR)?;
    let user = header.strip_prefix("n,")?.strip_suffix(',')?;
    let user = if user.is_empty() { "" } else { user.strip_prefix("a=")? };
    let auth = fields.split(SEPARATOR).find_map(|field| field.strip_prefix("auth="))?;
    let (kind, token) = auth.split_once(' ')?;
    kind.eq_ignore_ascii_case("bearer").then_some((user, token.trim()))
}
