//! How many connections there may be: in all, from one address, and how many an address may begin a second.
//!
//! As Kafka has it: beyond the first limit nobody is accepted until somebody leaves, beyond the second a
//! connection is closed at once, and beyond the rate it is held until the rate is right again and then closed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use flumen_auth::host_text;
use flumen_auth::quota::{Bucket, Kind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::broker::Broker;
use crate::options::Options;

pub(crate) struct ConnectionLimits {
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    max: usize,
    overrides: HashMap<IpAddr, usize>,
}

/// A connection's place; given back when it ends.
pub(crate) struct Place {
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, usize>>>,
    _one_of_all: OwnedSemaphorePermit,
}

/// Why a connection is not served.
pub(crate) enum Refused {
    /// Its address has as many as it may.
    TooMany(usize),
    /// It is closed after this: its address begins too many.
    TooFast(Duration),
}

impl ConnectionLimits {
    pub(crate) fn new(options: &Options) -> ConnectionLimits {
        ConnectionLimits {
            all: Arc::new(Semaphore::new(options.connections_max.min(Semaphore::MAX_PERMITS))),
            by_address: Arc::default(),
            max: options.connections_per_ip_max,
            overrides: options.connections_per_ip_overrides.iter().copied().collect(),
        }
    }

    /// Waits while there are as many as there may be in all.
    pub(crate) async fn admit(&self, broker: &Broker, address: IpAddr) -> Result<Place, Refused> {
        let address = address.to_canonical();
        let closed = "the semaphore is never closed";
        let one_of_all = self.all.clone().acquire_owned().await.expect(closed);
        if let Some(wait) = too_fast(broker, address) {
            return Err(Refused::TooFast(wait));
        }
        let max = self.overrides.get(&address).copied().unwrap_or(self.max);
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(address).or_default();
        if *count >= max {
            let has = *count;
            by_address.retain(|_, count| *count > 0);
            return Err(Refused::TooMany(has));
        }
        *count += 1;
        Ok(Place { address, by_address: self.by_address.clone(), _one_of_all: one_of_all })
    }
}

fn too_fast(broker: &Broker, address: IpAddr) -> Option<Duration> {
    let host = host_text(address);
    let limit = broker.security().limits(Kind::ConnectionCreation)?.of_ip(&host)?;
    let bucket = Bucket { user: host, client: String::new() };
    let wait = broker.quotas().record(Kind::ConnectionCreation, bucket.clone(), limit, 1.0);
    if wait.is_zero() {
        return None;
    }
    // It is not served, and counts for nothing.
    broker.quotas().record(Kind::ConnectionCreation, bucket, limit, -1.0);
    Some(wait)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}
