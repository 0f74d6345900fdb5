//! Ports for servers that are told theirs, and come back to it after a kill.
//!
//! Invariant: no port is named twice, and none is of those that the kernel gives to whoever asks for any or connects
//! to somewhere, or another test would have it while the server is away.

use std::fs::File;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

const FIRST: u32 = 10_000;

/// Locked for as long as this process lives: a port of ours is free in between, and other processes of tests ask too.
static NAMED: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port that nobody listens on.
pub fn free() -> u16 {
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    let count = kernels().saturating_sub(FIRST).max(1000);
    // Two processes seldom look at the same ones.
    let begin = std::process::id().wrapping_mul(211).wrapping_add(named.len() as u32);
    let mut ports = (0..count).map(|n| (FIRST + begin.wrapping_add(n) % count) as u16);
    let (port, lock) = ports.find_map(|port| Some((port, take(port)?))).expect("a free port on loopback");
    named.push(lock);
    port
}

/// `None` if somebody has it. A second handle of this process is refused like another's.
fn take(port: u16) -> Option<File> {
    let lock = File::create(locks().join(port.to_string())).expect("a file to lock");
    lock.try_lock().ok()?;
    TcpListener::bind(("127.0.0.1", port)).ok()?;
    Some(lock)
}

fn locks() -> PathBuf {
    let locks = std::env::temp_dir().join("flumen-ports");
    std::fs::create_dir_all(&locks).expect("a folder for locks");
    locks
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
        assert!(ports.iter().all(|port| take(*port).is_none()), "nor to another process");
    }
}
