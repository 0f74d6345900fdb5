//! How often the same trouble is said: that a peer's connections were closed for what it sent, that a partition's
//! disk refuses.
//!
//! Invariants: one line for each in an interval, however often it comes back; what was left
//! unsaid is counted in the next. At most `PEERS_MAX` addresses are remembered: beyond that, new ones wait
//! for the interval to end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
const PEERS_MAX: usize = 1024;

/// One trouble, of one thing.
#[derive(Default)]
pub(crate) struct Complaint(Mutex<Option<Said>>);

impl Complaint {
    /// How often it was left unsaid before; `None`: so is it now.
    pub(crate) fn again(&self, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match said.as_mut() {
            Some(said) => said.again(now),
            None => {
                *said = Some(Said { at: now, unsaid: 0 });
                Some(0)
            }
        }
    }
}

/// Of each peer.
#[derive(Default)]
pub(crate) struct Complaints(Mutex<HashMap<IpAddr, Said>>);

struct Said {
    at: Instant,
    unsaid: u64,
}

impl Said {
    fn again(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.at) < INTERVAL {
            self.unsaid += 1;
            return None;
        }
        self.at = now;
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Complaints {
    /// How many complaints about the peer were left unsaid before this one; `None`: so is this one.
    pub(crate) fn of(&self, peer: IpAddr, now: Instant) -> Option<u64> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = peers.get_mut(&peer) {
            return said.again(now);
        }
        if peers.len() >= PEERS_MAX {
            peers.retain(|_, said| now.duration_since(said.at) < INTERVAL);
            if peers.len() >= PEERS_MAX {
                return None;
            }
        }
        peers.insert(peer, Said { at: now, unsaid: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    #[tokio::test]
    async fn a_peer_that_comes_back_is_named_once_in_an_interval_and_counted() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        assert_eq!(complaints.of(peer(1), now), Some(0));
        assert_eq!(complaints.of(peer(1), now), None);
        assert_eq!(complaints.of(peer(1), now), None);
        assert_eq!(complaints.of(peer(2), now), Some(0), "another peer has its own line");
        assert_eq!(complaints.of(peer(1), now + INTERVAL), Some(2));
        assert_eq!(complaints.of(peer(1), now + INTERVAL), None);
    }

    #[tokio::test]
    async fn one_trouble_is_said_once_in_an_interval_and_counted() {
        let (complaint, now) = (Complaint::default(), Instant::now());
        let times = [0, 1, 1, 10, 10, 20].map(|seconds| now + Duration::from_secs(seconds));
        assert_eq!(times.map(|at| complaint.again(at)), [Some(0), None, None, Some(2), None, Some(1)]);
    }

    #[tokio::test]
    async fn memory_is_bounded_and_is_freed_by_time() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        for n in 0..PEERS_MAX as u32 {
            assert_eq!(complaints.of(peer(n), now), Some(0));
        }
        assert_eq!(complaints.of(peer(u32::MAX), now), None);
        assert_eq!(complaints.of(peer(u32::MAX), now + INTERVAL), Some(0));
    }
}
