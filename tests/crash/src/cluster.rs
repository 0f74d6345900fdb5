//! What the loads share: where the broker is, whose turn it is, and what went wrong.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, bail};
use flumen_client::{Client, Options, ProducerOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{RwLock, RwLockWriteGuard};

/// How long what a client asked for may take over kills, and the whole load to come to rest.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Cluster {
    bootstrap: String,
    pub(crate) seed: u64,
    /// Held for reading during each step of a load: who holds it for writing has everything at rest,
    /// and every answer known.
    gate: RwLock<()>,
    steps: AtomicU64,
    trouble: Mutex<Option<String>>,
}

impl Cluster {
    pub(crate) fn new(bootstrap: String, seed: u64) -> Cluster {
        Cluster {
            bootstrap,
            seed,
            gate: RwLock::new(()),
            steps: AtomicU64::new(0),
            trouble: Mutex::new(None),
        }
    }

    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// A client with connections of its own; waits for a broker that is down.
    pub(crate) async fn client(&self) -> Client {
        loop {
            match Client::connect(self.options()).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    fn options(&self) -> Options {
        Options { operation_timeout: PATIENCE, ..Options::new(self.bootstrap.clone()) }
    }

    pub(crate) fn producer_options() -> ProducerOptions {
        ProducerOptions { linger: Duration::ZERO, delivery_timeout: PATIENCE, ..ProducerOptions::default() }
    }

    pub(crate) fn rng(&self, of: &str) -> StdRng {
        let salt = of.bytes().fold(self.seed, |hash, byte| mix(hash ^ u64::from(byte)));
        StdRng::seed_from_u64(salt)
    }

    /// Runs `step` again and again, each time when it is allowed to. A step that fails is a finding:
    /// clients try again by themselves for as long as a broker may be away.
    pub(crate) async fn repeat(&self, name: &str, mut step: impl AsyncFnMut() -> Result<()>) {
        let mut rng = self.rng(name);
        loop {
            {
                let _running = self.gate.read().await;
                if let Err(error) = step().await {
                    self.report(format!("{name}: {error:#}"));
                    return;
                }
            }
            self.steps.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..4000))).await;
        }
    }

    /// Everything at rest until the guard goes.
    pub(crate) async fn rest(&self) -> Result<RwLockWriteGuard<'_, ()>> {
        match tokio::time::timeout(PATIENCE, self.gate.write()).await {
            Ok(guard) => Ok(guard),
            Err(_) => {
                bail!("expected every request to be answered within {PATIENCE:?}, found: one that is not")
            }
        }
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    pub(crate) fn report(&self, text: String) {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text);
    }

    /// What a load has found.
    pub(crate) fn must_be_well(&self) -> Result<()> {
        match &*self.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(trouble) => bail!("{trouble}"),
            None => Ok(()),
        }
    }
}

/// Asks again while there is no broker to answer: what the client does not do by itself.
pub(crate) async fn again<T>(
    mut ask: impl AsyncFnMut() -> flumen_client::Result<T>,
) -> flumen_client::Result<T> {
    loop {
        match ask().await {
            Err(error) if error.is_retriable() => tokio::time::sleep(Duration::from_millis(10)).await,
            done => return done,
        }
    }
}

/// A well mixed number (splitmix64): what a record's content is drawn from, without a generator.
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}
