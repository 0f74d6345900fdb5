//! Leaves out one safeguard by name, a sync or a check, in a build for tests: the suite that does not
//! notice is not good enough (tests/crash/mutants).
//!
//! Invariant: without the feature `sabotage` nothing is ever left out, and the compiler knows it.

/// Whether the safeguard of this name is the one that `FLUMEN_SABOTAGE` names.
#[cfg(feature = "sabotage")]
pub fn is_left_out(name: &str) -> bool {
    static LEFT_OUT: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    #[allow(clippy::disallowed_methods, reason = "not in any build that is used")]
    let left_out = LEFT_OUT.get_or_init(|| std::env::var("FLUMEN_SABOTAGE").unwrap_or_default());
    if left_out == name {
        eprintln!("sabotage: {name} is left out");
    }
    left_out == name
}

#[cfg(not(feature = "sabotage"))]
pub const fn is_left_out(_: &str) -> bool {
    false
}
