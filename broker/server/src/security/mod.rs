//! Who may connect, who may do what, and how much.
//!
//! ```text
//! listener -> tls (handshake, certificate's principal) -> gate (SASL) -> session -> Ctx::may -> authorizer
//! ```
//!
//! Invariants: what the configuration declares wins over what came through the API, which cannot change
//! it. A change is durable before anybody is judged by it. No password is kept: its SCRAM keys are.

mod failures;
pub(crate) mod gate;
mod options;
mod reloaded;
pub(crate) mod session;
mod stored;
pub(crate) mod tls;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use flumen_auth::credential::ITERATIONS_MIN;
use flumen_auth::quota::{Entity, Kind, Limits};
use flumen_auth::{Acl, Authorizer, Jwks, JwtRules, ScramCredential, ScramHash, Verifier};
use flumen_store::FileError;
use thiserror::Error;
use tokio::sync::Mutex;
use uuid::Uuid;

use crate::clock;
use failures::Failures;
pub use options::{
    BearerOptions, ClientAuth, DeclaredAcl, DeclaredQuota, DeclaredUser, SecurityOptions, TlsOptions,
};
use reloaded::Reloaded;
pub use stored::StoredError;
pub(crate) use stored::{Credentials, QuotaValues, Stored};
use tls::Tls;

/// Why there is no security, and so no broker.
#[derive(Debug, Error)]
pub enum SecurityError {
    #[error(transparent)]
    Stored(#[from] StoredError),
    #[error("TLS cannot be offered: {0}")]
    Tls(String),
    #[error("the keys of bearer tokens cannot be used: {0}")]
    Bearer(String),
}

/// Users, rules, quotas, certificates and the count of those who were none of it.
pub struct Security {
    options: SecurityOptions,
    dir: PathBuf,
    state: RwLock<Arc<State>>,
    /// One change at a time.
    changes: Mutex<()>,
    tls: Option<Tls>,
    bearer: Option<Reloaded<JwtRules>>,
    decoy: Vec<u8>,
    failures: Failures,
    /// Whether there is any quota: most often there is none to be looked for.
    limited: AtomicBool,
}

/// What holds at one moment.
pub(crate) struct State {
    pub(crate) stored: Stored,
    pub(crate) declared: Arc<Declared>,
    authorizer: Authorizer,
    limits: Limits,
}

/// What the configuration says, each with its place.
#[derive(Default)]
pub(crate) struct Declared {
    pub(crate) acls: BTreeMap<Acl, String>,
    pub(crate) users: BTreeMap<String, (Credentials, String)>,
    pub(crate) quotas: BTreeMap<Entity, (QuotaValues, String)>,
}

impl State {
    fn new(stored: Stored, declared: Arc<Declared>, options: &SecurityOptions) -> State {
        let acls = declared.acls.keys().chain(&stored.acls).cloned().collect();
        let super_users = options.super_users.iter().cloned().collect();
        let authorizer = Authorizer { acls, super_users, allow_everyone: options.allow_everyone };
        let mut state = State { stored, declared, authorizer, limits: Limits::default() };
        state.limits = Limits::new(state.quotas());
        state
    }

    /// Everybody's quotas; the declared ones alone, of those that are declared.
    pub(crate) fn quotas(&self) -> BTreeMap<&Entity, &QuotaValues> {
        let declared = self.declared.quotas.iter().map(|(entity, (quotas, _))| (entity, quotas));
        self.stored.quotas.iter().chain(declared).collect()
    }

    /// A user's keys; the declared ones alone, if the user is declared.
    pub(crate) fn credentials(&self, user: &str) -> Option<&Credentials> {
        let declared = self.declared.users.get(user).map(|(keys, _)| keys);
        declared.or_else(|| self.stored.users.get(user))
    }
}

impl Security {
    /// Reads files: not for a thread that has other things to do.
    pub(crate) fn open(options: SecurityOptions, dir: PathBuf) -> Result<Security, SecurityError> {
        let stored = Stored::load(&dir)?;
        let declared = Arc::new(declare(&options.users, &options.acls, &options.quotas));
        let tls = options.tls.clone().map(Tls::new).transpose().map_err(SecurityError::Tls)?;
        let bearer = options.bearer.clone().map(bearer).transpose().map_err(SecurityError::Bearer)?;
        let state = State::new(stored, declared, &options);
        Ok(Security {
            limited: AtomicBool::new(!state.quotas().is_empty()),
            state: RwLock::new(Arc::new(state)),
            changes: Mutex::new(()),
            tls,
            bearer,
            decoy: [Uuid::new_v4(), Uuid::new_v4()].map(Uuid::into_bytes).concat(),
            failures: Failures::default(),
            dir,
            options,
        })
    }

    pub(crate) fn options(&self) -> &SecurityOptions {
        &self.options
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `None`: nothing is forbidden to anybody.
    pub(crate) fn authorizer(&self) -> Option<Judge> {
        self.options.authorizer.then(|| Judge(self.state()))
    }

    /// `None`: nobody's use of this is limited.
    pub(crate) fn limits(&self, kind: Kind) -> Option<Quota> {
        if !self.limited.load(Ordering::Relaxed) {
            return None;
        }
        Some(Quota(self.state())).filter(|quota| quota.limits(kind))
    }

    /// How many have failed to say who they are since the start.
    pub fn failed_authentications(&self) -> u64 {
        self.failures.total()
    }

    /// Counts a failure; how long its answer is to wait.
    pub(crate) fn failed(&self, from: IpAddr) -> Duration {
        self.failures.count(from, self.options.failure_delay, Instant::now())
    }

    /// What the configuration declares from now on. Sessions go on as they are.
    pub async fn declare(
        &self,
        users: Vec<DeclaredUser>,
        acls: Vec<DeclaredAcl>,
        quotas: Vec<DeclaredQuota>,
    ) {
        let _one_at_a_time = self.changes.lock().await;
        // Keys of passwords take their time.
        let declaring = tokio::task::spawn_blocking(move || declare(&users, &acls, &quotas));
        let declared = match declaring.await {
            Ok(declared) => Arc::new(declared),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        self.put(State::new(self.state().stored.clone(), declared, &self.options));
    }

    /// Changes what came through the API: durable, and then in force.
    pub(crate) async fn edit<R>(
        &self,
        edit: impl FnOnce(&mut Stored, &Declared) -> R,
    ) -> Result<R, FileError> {
        let _one_at_a_time = self.changes.lock().await;
        let before = self.state();
        let mut stored = before.stored.clone();
        let result = edit(&mut stored, &before.declared);
        if stored == before.stored {
            return Ok(result);
        }
        let dir = self.dir.clone();
        let saving = tokio::task::spawn_blocking(move || stored.save(&dir).map(|()| stored));
        let stored = match saving.await {
            Ok(saved) => saved?,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        self.put(State::new(stored, before.declared.clone(), &self.options));
        Ok(result)
    }

    fn put(&self, state: State) {
        self.limited.store(!state.quotas().is_empty(), Ordering::Relaxed);
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
    }
}

/// The rules of one moment.
pub(crate) struct Judge(Arc<State>);

impl std::ops::Deref for Judge {
    type Target = Authorizer;

    fn deref(&self) -> &Authorizer {
        &self.0.authorizer
    }
}

/// The quotas of one moment.
pub(crate) struct Quota(Arc<State>);

impl std::ops::Deref for Quota {
    type Target = Limits;

    fn deref(&self) -> &Limits {
        &self.0.limits
    }
}

/// What an exchange asks, as it is at one moment.
struct Answers<'a> {
    security: &'a Security,
    state: Arc<State>,
    jwt: Option<Arc<JwtRules>>,
}

impl<'a> Answers<'a> {
    fn now(security: &'a Security) -> Answers<'a> {
        let jwt = security.bearer.as_ref().map(Reloaded::get);
        Answers { security, state: security.state(), jwt }
    }
}

impl Verifier for Answers<'_> {
    fn credential(&self, hash: ScramHash, user: &str) -> Option<ScramCredential> {
        self.state.credentials(user)?.get(&hash).cloned()
    }

    fn jwt(&self) -> Option<&JwtRules> {
        self.jwt.as_deref()
    }

    fn decoy(&self) -> &[u8] {
        &self.security.decoy
    }

    fn now_ms(&self) -> i64 {
        clock::now().0
    }
}

fn declare(users: &[DeclaredUser], acls: &[DeclaredAcl], quotas: &[DeclaredQuota]) -> Declared {
    let user = |user: &DeclaredUser| {
        let mut keys: Credentials = user.credentials.iter().cloned().collect();
        if let (Some(password), Some(iterations)) = (&user.password, NonZeroU32::new(ITERATIONS_MIN)) {
            let salt = Uuid::new_v4().into_bytes();
            for hash in ScramHash::ALL {
                keys.entry(hash)
                    .or_insert_with(|| ScramCredential::of_password(hash, password, &salt, iterations));
            }
        }
        (user.name.clone(), (keys, user.place.clone()))
    };
    Declared {
        acls: acls.iter().map(|one| (one.acl.clone(), one.place.clone())).collect(),
        users: users.iter().map(user).collect(),
        quotas: quotas.iter().map(DeclaredQuota::entry).collect(),
    }
}

fn bearer(options: BearerOptions) -> Result<Reloaded<JwtRules>, String> {
    let files = vec![options.keys.clone()];
    Reloaded::new("keys of bearer tokens", files, move || {
        let path = options.keys.display();
        let text = std::fs::read_to_string(&options.keys).map_err(|error| format!("{path}: {error}"))?;
        Ok(JwtRules {
            keys: Jwks::parse(&text).map_err(|error| format!("{path}: {error}"))?,
            issuer: options.issuer.clone(),
            audiences: options.audiences.clone(),
            principal_claim: options.principal_claim.clone(),
            skew_s: i64::try_from(options.skew.as_secs()).unwrap_or(i64::MAX),
        })
    })
}
