//! How many connections there may be: in all, from one address, and how many all or one address may begin a
//! second.
//!
//! As Kafka has it: beyond the first limit nobody is accepted until somebody leaves, and beyond the rate of all
//! until it is right again; beyond the limit of an address a connection is closed at once, and beyond its rate
//! it is held until that is right again and then closed.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use flumen_auth::host_text;
use flumen_auth::quota::{Bucket, Kind};
use tokio::sync::Notify;

use crate::quotas::Quotas;
use crate::security::Security;

/// How many there may be; Kafka's names are in `broker_keys`.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) all: usize,
    pub(crate) per_ip: usize,
    pub(crate) overrides: HashMap<IpAddr, usize>,
    /// Of all addresses together, in a second.
    pub(crate) rate: usize,
}

/// No limit to the rate.
const ANY_RATE: usize = i32::MAX as usize;

pub(crate) struct ConnectionLimits(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Somebody has left.
    left: Notify,
}

struct State {
    limits: Limits,
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A connection's place; given back when it ends.
pub(crate) struct Place {
    address: IpAddr,
    one: OneOfAll,
}

struct OneOfAll(Arc<Shared>);

/// Why a connection is not served.
pub(crate) enum Refused {
    /// Its address has as many as it may.
    TooMany(usize),
    /// It is closed after this: its address begins too many.
    TooFast(Duration),
}

impl ConnectionLimits {
    pub(crate) fn new(limits: Limits) -> ConnectionLimits {
        let state = Mutex::new(State { limits, all: 0, by_address: HashMap::new() });
        ConnectionLimits(Arc::new(Shared { state, left: Notify::new() }))
    }

    /// From now on these hold; nobody is sent away because of them.
    pub(crate) fn set(&self, limits: Limits) {
        self.0.state().limits = limits;
        self.0.left.notify_waiters();
    }

    /// Waits while there are as many as there may be in all, or came too fast.
    pub(crate) async fn admit(
        &self,
        quotas: &Quotas,
        security: &Security,
        address: IpAddr,
    ) -> Result<Place, Refused> {
        let address = address.to_canonical();
        let one = self.one_of_all().await;
        let wait = all_too_fast(quotas, self.0.state().limits.rate);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        if let Some(wait) = too_fast(quotas, security, address) {
            return Err(Refused::TooFast(wait));
        }
        self.0.state().take(address).map_err(Refused::TooMany)?;
        Ok(Place { address, one })
    }

    async fn one_of_all(&self) -> OneOfAll {
        loop {
            // Before looking: who leaves in between is heard of.
            let mut left = std::pin::pin!(self.0.left.notified());
            left.as_mut().enable();
            if self.0.state().take_one() {
                return OneOfAll(self.0.clone());
            }
            left.await;
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_one(&mut self) -> bool {
        let free = self.all < self.limits.all;
        self.all += usize::from(free);
        free
    }

    /// An error is how many the address has.
    fn take(&mut self, address: IpAddr) -> Result<(), usize> {
        let max = self.limits.overrides.get(&address).copied().unwrap_or(self.limits.per_ip);
        let has = self.by_address.get(&address).copied().unwrap_or_default();
        if has >= max {
            return Err(has);
        }
        self.by_address.insert(address, has + 1);
        Ok(())
    }
}

/// How long the next connection waits, whoever's it is.
fn all_too_fast(quotas: &Quotas, rate: usize) -> Duration {
    if rate >= ANY_RATE {
        return Duration::ZERO;
    }
    // No address is called so.
    let bucket = Bucket { user: String::new(), client: String::new() };
    quotas.record(Kind::ConnectionCreation, bucket, rate as f64, 1.0)
}

fn too_fast(quotas: &Quotas, security: &Security, address: IpAddr) -> Option<Duration> {
    let host = host_text(address);
    let limit = security.limits(Kind::ConnectionCreation)?.of_ip(&host)?;
    let bucket = Bucket { user: host, client: String::new() };
    let wait = quotas.record(Kind::ConnectionCreation, bucket.clone(), limit, 1.0);
    if wait.is_zero() {
        return None;
    }
    // It is not served, and counts for nothing.
    quotas.record(Kind::ConnectionCreation, bucket, limit, -1.0);
    Some(wait)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.one.0.state();
        if let Some(count) = state.by_address.get_mut(&self.address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                state.by_address.remove(&self.address);
            }
        }
    }
}

impl Drop for OneOfAll {
    fn drop(&mut self) {
        self.0.state().all -= 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(all: usize, per_ip: usize) -> Limits {
        Limits { all, per_ip, overrides: HashMap::new(), rate: ANY_RATE }
    }

    #[tokio::test]
    async fn who_waits_gets_a_place_when_somebody_leaves_or_more_are_allowed() {
        let connections = ConnectionLimits::new(limits(1, 9));
        let first = connections.one_of_all().await;
        let mut second = std::pin::pin!(connections.one_of_all());
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        let second = second.await;
        let mut third = std::pin::pin!(connections.one_of_all());
        assert!(futures::poll!(third.as_mut()).is_pending());
        connections.set(limits(2, 9));
        drop((second, third.await));
        assert_eq!(connections.0.state().all, 0);
    }

    #[test]
    fn an_address_has_no_more_than_its_own_limit() {
        let (a, b): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut limits = limits(9, 1);
        limits.overrides.insert(b, 2);
        let connections = ConnectionLimits::new(limits);
        let mut state = connections.0.state();
        assert_eq!((state.take(a), state.take(a)), (Ok(()), Err(1)));
        assert_eq!((state.take(b), state.take(b), state.take(b)), (Ok(()), Ok(()), Err(2)));
    }
}
