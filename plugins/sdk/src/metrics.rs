//! A plugin's own numbers; the host serves them beside those that it keeps. Nothing in a native test.

/// Adds to a counter.
pub fn counter(name: &str, delta: u64) {
    #[cfg(target_family = "wasm")]
    crate::bindings::metrics::counter(name, delta);
    #[cfg(not(target_family = "wasm"))]
    let _ = (name, delta);
}

/// Sets a gauge.
pub fn gauge(name: &str, value: f64) {
    #[cfg(target_family = "wasm")]
    crate::bindings::metrics::gauge(name, value);
    #[cfg(not(target_family = "wasm"))]
    let _ = (name, value);
}
