//! What a broker is told of users, rules and certificates.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use flumen_auth::quota::Entity;
use flumen_auth::{Acl, MappingRules, Mechanism, Principal, ScramCredential, ScramHash};

/// Kafka's name of a setting is in its comment.
#[derive(Clone, Debug)]
pub struct SecurityOptions {
    /// `sasl.enabled.mechanisms`
    pub mechanisms: Vec<Mechanism>,
    /// `connections.max.reauth.ms`; `None`: once is enough.
    pub reauthentication: Option<Duration>,
    /// `connection.failed.authentication.delay.ms`
    pub failure_delay: Duration,
    /// `authorizer.class.name`: whether anything is forbidden to anybody.
    pub authorizer: bool,
    /// `super.users`
    pub super_users: Vec<Principal>,
    /// `allow.everyone.if.no.acl.found`
    pub allow_everyone: bool,
    /// For listeners that encrypt.
    pub tls: Option<TlsOptions>,
    /// For OAUTHBEARER.
    pub bearer: Option<BearerOptions>,
    /// Users and rules of the configuration, which no request changes.
    pub users: Vec<DeclaredUser>,
    pub acls: Vec<DeclaredAcl>,
    pub quotas: Vec<DeclaredQuota>,
}

impl Default for SecurityOptions {
    fn default() -> SecurityOptions {
        SecurityOptions {
            mechanisms: ScramHash::ALL.map(Mechanism::Scram).into(),
            reauthentication: None,
            failure_delay: Duration::from_millis(100),
            authorizer: false,
            super_users: Vec::new(),
            allow_everyone: false,
            tls: None,
            bearer: None,
            users: Vec::new(),
            acls: Vec::new(),
            quotas: Vec::new(),
        }
    }
}

/// `ssl.client.auth`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    None,
    Requested,
    Required,
}

/// Files in PEM; read anew when they change.
#[derive(Clone, Debug)]
pub struct TlsOptions {
    /// `ssl.keystore.location`: the broker's certificate, and those between it and its authority.
    pub certificate: PathBuf,
    /// Its key; may be the same file.
    pub key: PathBuf,
    /// `ssl.truststore.location`: the authorities of clients' certificates.
    pub clients: Option<PathBuf>,
    pub client_auth: ClientAuth,
    /// `ssl.principal.mapping.rules`
    pub rules: MappingRules,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BearerOptions {
    /// `sasl.oauthbearer.jwks.endpoint.url`: a file; read anew when it changes.
    pub keys: PathBuf,
    pub issuer: Option<String>,
    pub audiences: Vec<String>,
    pub principal_claim: String,
    pub skew: Duration,
}

/// A user of the configuration.
#[derive(Clone)]
pub struct DeclaredUser {
    pub name: String,
    /// Where it is declared, for a person who tries to change it otherwise.
    pub place: String,
    pub password: Option<String>,
    pub credentials: Vec<(ScramHash, ScramCredential)>,
}

impl fmt::Debug for DeclaredUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeclaredUser({}, {})", self.name, self.place)
    }
}

/// A rule of the configuration.
#[derive(Clone, Debug)]
pub struct DeclaredAcl {
    pub acl: Acl,
    pub place: String,
}

/// Quotas of the configuration: all that one entity has.
#[derive(Clone, Debug)]
pub struct DeclaredQuota {
    pub entity: Entity,
    /// By Kafka's names.
    pub quotas: BTreeMap<String, f64>,
    pub place: String,
}

impl DeclaredQuota {
    pub(super) fn entry(&self) -> (Entity, (BTreeMap<String, f64>, String)) {
        (self.entity.clone(), (self.quotas.clone(), self.place.clone()))
    }
}
