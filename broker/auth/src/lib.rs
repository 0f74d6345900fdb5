//! Who somebody is, what they may do, and how much.
//!
//! ```text
//! certificate -> distinguished name -> mapping rules --+
//! SASL token  -> exchange (PLAIN, SCRAM, OAUTHBEARER) -+-> principal -> authorizer -> allowed or not
//! ```
//!
//! Invariants: nothing here prints a password, a token or a key. Randomness (nonces, salts), the time
//! and the users are passed in. What a peer sends is never trusted before its proof is checked.
//!
//! Lacks Kerberos and delegation tokens.

pub mod acl;
pub mod authorizer;
pub mod credential;
mod der;
pub mod distinguished_name;
pub mod identity;
mod jwt;
pub mod mapping;
pub mod principal;
pub mod quota;
pub mod sasl;

pub use acl::{Acl, AclFilter, Operation, Pattern, PatternFilter, Permission, ResourceType};
pub use authorizer::{Acls, Authorizer, Subject, host_text};
pub use credential::{ScramCredential, ScramHash};
pub use distinguished_name::subject_of_certificate;
pub use identity::Identity;
pub use jwt::{Jwks, JwtRules};
pub use mapping::MappingRules;
pub use principal::Principal;
pub use sasl::{Exchange, Mechanism, Refused, Step, Verifier};
