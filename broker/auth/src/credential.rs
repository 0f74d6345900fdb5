//! What is kept of a password: SCRAM's keys (RFC 5802), from which nobody gets it back cheaply.

use std::fmt;
use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq;

/// The hash of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ScramHash {
    Sha256,
    Sha512,
}

/// Fewer are refused, as Kafka refuses them.
pub const ITERATIONS_MIN: u32 = 4096;
pub const ITERATIONS_MAX: u32 = 16384;

impl ScramHash {
    pub const ALL: [ScramHash; 2] = [ScramHash::Sha256, ScramHash::Sha512];

    /// The number on the wire.
    pub fn number(self) -> i8 {
        match self {
            ScramHash::Sha256 => 1,
            ScramHash::Sha512 => 2,
        }
    }

    pub fn from_number(number: i8) -> Option<ScramHash> {
        ScramHash::ALL.into_iter().find(|hash| hash.number() == number)
    }

    pub fn mechanism(self) -> &'static str {
        match self {
            ScramHash::Sha256 => "SCRAM-SHA-256",
            ScramHash::Sha512 => "SCRAM-SHA-512",
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            ScramHash::Sha256 => 32,
            ScramHash::Sha512 => 64,
        }
    }

    pub(crate) fn hmac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            ScramHash::Sha256 => hmac::HMAC_SHA256,
            ScramHash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text).as_ref().to_vec()
    }

    pub(crate) fn digest(self, text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            ScramHash::Sha256 => &digest::SHA256,
            ScramHash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, text).as_ref().to_vec()
    }

    pub(crate) fn salted(self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let algorithm = match self {
            ScramHash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            ScramHash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let mut salted = vec![0; self.bytes()];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        salted
    }
}

/// One user's keys for one mechanism.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramCredential {
    pub salt: Vec<u8>,
    pub stored_key: Vec<u8>,
    pub server_key: Vec<u8>,
    pub iterations: u32,
}

impl ScramCredential {
    pub fn of_password(
        hash: ScramHash,
        password: &str,
        salt: &[u8],
        iterations: NonZeroU32,
    ) -> ScramCredential {
        let salted = hash.salted(password, salt, iterations);
        ScramCredential::of_salted(hash, &salted, salt, iterations.get())
    }

    /// From a password that the client has salted itself, as Kafka's tools do.
    pub fn of_salted(hash: ScramHash, salted: &[u8], salt: &[u8], iterations: u32) -> ScramCredential {
        ScramCredential {
            salt: salt.to_vec(),
            stored_key: hash.digest(&hash.hmac(salted, b"Client Key")),
            server_key: hash.hmac(salted, b"Server Key"),
            iterations,
        }
    }

    /// Whether it is of this password. Costs as much as deriving it.
    pub fn is_of(&self, hash: ScramHash, password: &str) -> bool {
        let Some(iterations) = NonZeroU32::new(self.iterations) else { return false };
        let other = ScramCredential::of_password(hash, password, &self.salt, iterations);
        self.stored_key.ct_eq(&other.stored_key).into()
    }

    /// `salt=...,stored_key=...,server_key=...,iterations=4096`, as Kafka writes it. What is wrong, if
    /// it is not that.
    pub fn parse(hash: ScramHash, text: &str) -> Result<ScramCredential, &'static str> {
        let value = |name: &str| {
            let mut parts = text.split(',').filter_map(|part| part.trim().split_once('='));
            parts.find(|(key, _)| *key == name).map(|(_, value)| value)
        };
        let bytes = |name| value(name).and_then(|value| BASE64.decode(value).ok());
        let found = ScramCredential {
            salt: bytes("salt").ok_or("salt")?,
            stored_key: bytes("stored_key").ok_or("stored_key")?,
            server_key: bytes("server_key").ok_or("server_key")?,
            iterations: value("iterations").and_then(|value| value.parse().ok()).ok_or("iterations")?,
        };
        let sizes = (found.stored_key.len(), found.server_key.len());
        match found {
            _ if sizes != (hash.bytes(), hash.bytes()) => Err("keys of another length"),
            _ if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&found.iterations) => {
                Err("iterations outside 4096 to 16384")
            }
            found => Ok(found),
        }
    }

    /// The text that [`ScramCredential::parse`] reads; for files that nobody else may read.
    pub fn to_text(&self) -> String {
        let text = |bytes: &[u8]| BASE64.encode(bytes);
        format!(
            "salt={},stored_key={},server_key={},iterations={}",
            text(&self.salt),
            text(&self.stored_key),
            text(&self.server_key),
            self.iterations
        )
    }
}

impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramCredential(***, {} iterations)", self.iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(hash: ScramHash) -> ScramCredential {
        ScramCredential::of_password(hash, "pencil", b"salt of 16 bytes", NonZeroU32::new(4096).unwrap())
    }

    #[test]
    fn a_credential_is_of_its_password_alone_and_survives_its_text() {
        for hash in ScramHash::ALL {
            let made = credential(hash);
            assert!(made.is_of(hash, "pencil") && !made.is_of(hash, "pencils"));
            assert_eq!(ScramCredential::parse(hash, &made.to_text()), Ok(made.clone()));
            assert!(!format!("{made:?}").contains("salt"), "{made:?}");
        }
    }

    #[test]
    fn a_text_of_another_mechanism_is_refused() {
        let text = credential(ScramHash::Sha256).to_text();
        assert!(ScramCredential::parse(ScramHash::Sha512, &text).is_err());
        assert!(ScramCredential::parse(ScramHash::Sha256, &text.replace("4096", "1")).is_err());
        assert_eq!(ScramCredential::parse(ScramHash::Sha256, "pencil"), Err("salt"));
    }
}
