//! Ports for servers that are told theirs, and come back to it after a kill.
//!
//! Invariant: no port is named twice, and none is of those that the kernel gives to whoever asks for any or connects
//! to somewhere, or another test would have it while the server is away.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

const FIRST: u32 = 10_000;

/// A port that nobody listens on.
pub fn free() -> u16 {
    static NAMED: AtomicU32 = AtomicU32::new(0);
    let count = kernels().saturating_sub(FIRST).max(1000);
    // Other processes of tests begin elsewhere.
    let begin = std::process::id().wrapping_mul(211);
    let next = || FIRST + begin.wrapping_add(NAMED.fetch_add(1, Ordering::Relaxed)) % count;
    let mut ports = (0..count).map(|_| next() as u16);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port on loopback")
}

/// The first of the kernel's own.
fn kernels() -> u32 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_port_is_named_twice() {
        let ports: Vec<u16> = (0..200).map(|_| free()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 200);
        assert!(ports.iter().all(|port| u32::from(*port) < kernels().max(FIRST + 1000)));
    }
}
