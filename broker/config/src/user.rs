//! `[users.NAME]`: who clients of SASL listeners may be.
//!
//! A user is declared by a password, or by SCRAM keys, from which nobody gets the password back. Users
//! that are made through the API (`kafka-configs.sh`) need no table here; one that has a table is changed
//! here alone.

use flumen_auth::{ScramCredential, ScramHash};

use crate::secret::Secret;
use crate::section::section;

section! {
    /// A user of SASL listeners.
    pub struct User {
        /// Never printed. What the broker keeps of it is SCRAM keys.
        pub password: Option<Secret> = ["password", null],
        /// Keys in Kafka's notation, instead of a password: `salt=...,stored_key=...,server_key=...,iterations=4096`.
        pub scram_sha_256: Option<Secret> = ["SCRAM-SHA-256", null],
        /// The same for the longer hash.
        pub scram_sha_512: Option<Secret> = ["SCRAM-SHA-512", null],
    }
}

impl User {
    /// The keys that are written in the file; `Err` is what is wrong with one.
    pub(crate) fn keys(&self) -> Vec<(ScramHash, Result<ScramCredential, &'static str>)> {
        let written = [(ScramHash::Sha256, &self.scram_sha_256), (ScramHash::Sha512, &self.scram_sha_512)];
        let keys = written.into_iter().filter_map(|(hash, keys)| Some((hash, keys.as_ref()?)));
        keys.map(|(hash, keys)| (hash, ScramCredential::parse(hash, keys.reveal()))).collect()
    }

    /// The keys that are written in the file.
    pub fn credentials(&self) -> Vec<(ScramHash, ScramCredential)> {
        self.keys().into_iter().filter_map(|(hash, keys)| Some((hash, keys.ok()?))).collect()
    }
}

/// Whether a user may have this name.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=249).contains(&text.len()) && text != "*" && !text.contains(char::is_control)
}

pub(crate) const NAME_EXPECTED: &str = "expected a user's name, at most 249 long, and not \"*\"";
