//! Telemetry (KIP-714): which of its metrics each client is to push, and what it has pushed.
//!
//! What is wanted is in the client-metrics resources (`client_metrics`); the handlers of the two APIs ask here,
//! and so does whoever tells Prometheus. Kafka hands all that is pushed to a plugin, if there is one; here
//! what was asked for is always taken.
//!
//! Invariants: pushed bytes are unpacked to no more than `telemetry.max.bytes`. What clients say of themselves
//! takes no more memory than [`EXPORTED_BYTES_MAX`], however many they are.

mod client;
mod exported;
mod instance;
mod instances;
mod wanted;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use flumen_protocol::ErrorCode;
use flumen_records::{Compression, decompress};
use flumen_types::{Millis, Timestamp};
use tokio::time::Instant;

use crate::client_metrics::Subscription;
use exported::{Exported, Said};
use instances::Instances;

pub(crate) use client::Client;
pub use exported::ClientMetric;
pub(crate) use instance::Push;
pub(crate) use wanted::Wanted;

/// As many instances as Kafka remembers.
const INSTANCES_MAX: usize = 16_384;
const EXPORTED_BYTES_MAX: usize = 16 << 20;

pub struct Telemetry {
    since: Instant,
    bytes_max: usize,
    instances: Mutex<Instances>,
    exported: Mutex<Exported>,
    pushes: AtomicU64,
    refused: AtomicU64,
}

/// How much has been pushed, and of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TelemetryCounts {
    /// Instances that asked or pushed lately.
    pub instances: usize,
    /// Clients whose metrics are kept.
    pub clients: usize,
    pub pushes: u64,
    /// Pushes that were answered with an error.
    pub refused: u64,
    /// Numbers that nobody asked for or had no room, or are histograms or summaries.
    pub left_out: u64,
}

impl Telemetry {
    /// `bytes_max`: the most that a push may have, packed and unpacked.
    pub(crate) fn new(bytes_max: usize) -> Telemetry {
        Telemetry {
            since: Instant::now(),
            bytes_max,
            instances: Mutex::new(Instances::new(INSTANCES_MAX)),
            exported: Mutex::new(Exported::new(EXPORTED_BYTES_MAX)),
            pushes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What is wanted of a client that asks.
    pub(crate) fn ask(
        &self,
        client: &Client,
        subscriptions: &[Arc<Subscription>],
    ) -> Result<Wanted, ErrorCode> {
        let (wanted, now) = (Wanted::of(client, subscriptions), self.now());
        self.instances().of(client, wanted.clone(), now).ask(now)?;
        Ok(wanted)
    }

    /// Takes what a client pushes.
    pub(crate) fn push(
        &self,
        client: &Client,
        subscriptions: &[Arc<Subscription>],
        push: Push,
        metrics: Bytes,
    ) -> Result<(), ErrorCode> {
        let (wanted, now) = (Wanted::of(client, subscriptions), self.now());
        let judged = self.instances().of(client, wanted.clone(), now).push(push, self.bytes_max, now);
        let taken = judged.and_then(|compression| self.take(client, &wanted, compression, metrics, now));
        self.pushes.fetch_add(1, Ordering::Relaxed);
        self.refused.fetch_add(u64::from(taken.is_err()), Ordering::Relaxed);
        taken
    }

    fn take(
        &self,
        client: &Client,
        wanted: &Wanted,
        compression: Compression,
        metrics: Bytes,
        now: Timestamp,
    ) -> Result<(), ErrorCode> {
        if metrics.is_empty() {
            return Ok(());
        }
        let unpacked = decompress(compression, metrics, self.bytes_max).map_err(|error| error.to_string());
        let taken = unpacked.and_then(|metrics| {
            let (said, done) = Said::read(&metrics, |name| wanted.has(name));
            self.exported().push(client, wanted.interval, said, now);
            done.map_err(|error| error.to_string())
        });
        taken.map_err(|reason| {
            tracing::debug!(client_id = client.client_id, reason, "pushed metrics cannot be read");
            if let Some(instance) = self.instances().known(client.id) {
                instance.end(ErrorCode::InvalidRecord);
            }
            ErrorCode::InvalidRecord
        })
    }

    pub(crate) fn disconnected(&self, connection: u64) {
        self.instances().disconnected(connection);
    }

    /// What clients have pushed lately.
    pub fn metrics(&self) -> Vec<ClientMetric> {
        let mut exported = self.exported();
        exported.forget(self.now());
        exported.all()
    }

    pub fn counts(&self) -> TelemetryCounts {
        let instances = self.instances().len();
        let exported = self.exported();
        TelemetryCounts {
            instances,
            clients: exported.clients(),
            pushes: self.pushes.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            left_out: exported.left_out(),
        }
    }

    /// Nobody's clock is set back.
    fn now(&self) -> Timestamp {
        Timestamp(Millis::from(self.since.elapsed()).0)
    }

    fn instances(&self) -> MutexGuard<'_, Instances> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn exported(&self) -> MutexGuard<'_, Exported> {
        self.exported.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
