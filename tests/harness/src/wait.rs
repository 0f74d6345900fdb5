//! Waiting on a condition, never on time alone.

use std::net::TcpListener;
use std::time::{Duration, Instant};

/// How long a condition that should come soon may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `probe` until it answers; panics with `what` and the last thing it said after `patience`.
pub fn until_within<T>(patience: Duration, what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(2);
    loop {
        match probe() {
            Ok(value) => return value,
            Err(said) if Instant::now() > deadline => {
                panic!("waited {} s for {what}; last seen: {said}", patience.as_secs())
            }
            Err(_) => std::thread::park_timeout(pause),
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// `until_within` the usual patience.
pub fn until<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    until_within(PATIENCE, what, probe)
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port on loopback").port()
}
