//! How often it is said that a peer's connections were closed for what it sent.
//!
//! Invariants: one line for each address in an interval, however often it comes back; what was left
//! unsaid is counted in the next. At most `PEERS_MAX` addresses are remembered: beyond that, new ones wait
//! for the interval to end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const INTERVAL: Duration = Duration::from_secs(10);
const PEERS_MAX: usize = 1024;

#[derive(Default)]
pub(crate) struct Complaints(Mutex<HashMap<IpAddr, Said>>);

struct Said {
    at: Instant,
    unsaid: u64,
}

impl Complaints {
    /// How many complaints about the peer were left unsaid before this one; `None`: so is this one.
    pub(crate) fn of(&self, peer: IpAddr, now: Instant) -> Option<u64> {
        let mut peers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(said) = peers.get_mut(&peer) {
            if now.duration_since(said.at) < INTERVAL {
                said.unsaid += 1;
                return None;
            }
            said.at = now;
            return Some(std::mem::take(&mut said.unsaid));
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
    async fn memory_is_bounded_and_is_freed_by_time() {
        let (complaints, now) = (Complaints::default(), Instant::now());
        for n in 0..PEERS_MAX as u32 {
            assert_eq!(complaints.of(peer(n), now), Some(0));
        }
        assert_eq!(complaints.of(peer(u32::MAX), now), None);
        assert_eq!(complaints.of(peer(u32::MAX), now + INTERVAL), Some(0));
    }
}
