//! What `flumen status` shows of a running plugin. In a native test troubles go to standard error.

/// A condition that lasts, until [`clear`]ed; the plugin goes on meanwhile.
pub fn trouble(key: &str, reason: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::status::trouble(key, Some(reason));
    #[cfg(not(target_family = "wasm"))]
    eprintln!("trouble with {key}: {reason}");
}

/// The condition is over.
pub fn clear(key: &str) {
    #[cfg(target_family = "wasm")]
    crate::bindings::status::trouble(key, None);
    #[cfg(not(target_family = "wasm"))]
    eprintln!("no more trouble with {key}");
}

/// How far a finite piece of work is, in bytes.
pub fn progress(done: u64, total: u64) {
    #[cfg(target_family = "wasm")]
    crate::bindings::status::progress(done, total);
    #[cfg(not(target_family = "wasm"))]
    let _ = (done, total);
}
