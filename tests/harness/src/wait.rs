//! Waiting on a condition, never on time alone.

use std::time::{Duration, Instant};

/// How long a condition that should come soon may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `probe` until it answers; panics with `what` and the last thing it said after `patience`.
pub fn until_within<T>(patience: Duration, what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    asked_within(patience, probe)
        .unwrap_or_else(|said| panic!("waited {} s for {what}; last seen: {said}", patience.as_secs()))
}

/// Asks `probe` until it answers; the last thing it said after `patience`.
pub fn asked_within<T, E>(patience: Duration, mut probe: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_millis(2);
    loop {
        match probe() {
            Err(_) if Instant::now() <= deadline => std::thread::park_timeout(pause),
            answered => return answered,
        }
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// `until_within` the usual patience.
pub fn until<T>(what: &str, probe: impl FnMut() -> Result<T, String>) -> T {
    until_within(PATIENCE, what, probe)
}
