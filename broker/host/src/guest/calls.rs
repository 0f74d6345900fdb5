//! How a call may end other than well.

use std::time::Duration;

use thiserror::Error;
use wasmtime::Trap;
use wasmtime::component::ResourceTableError;

use super::limits::{HANDLES_MAX, MemoryLimit};
use crate::route::shortened;

/// Its Display is what a person reads in `status`.
#[derive(Clone, Debug, Error)]
pub(crate) enum CallError {
    /// The world is at fault, says the guest or the host's own driver.
    #[error("{reason}")]
    Retry { reason: String, after: Option<Duration> },
    /// The database will never take what one of the records says; which of them is not known.
    #[error("{0}")]
    Refused(String),
    /// The configuration cannot work.
    #[error("{0}")]
    Fatal(String),
    /// The instance is dead.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// A newer instance writes to the same database.
    #[error("a newer instance has taken over")]
    Fenced,
}

impl CallError {
    pub(crate) fn retry(reason: impl Into<String>) -> CallError {
        CallError::Retry { reason: reason.into(), after: None }
    }
}

#[derive(Clone, Debug, Error)]
#[error("{reason}")]
pub(crate) struct Broken {
    pub cause: Cause,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Trap,
    /// It computed for longer than a call may.
    Deadline,
    /// Its call took too long, and it was waiting: for a service, a file, the clock.
    Waited,
    Memory,
    /// It returned too much, or what cannot be.
    Answer,
    /// Our side of the instance is gone.
    Host,
}

impl Broken {
    pub(crate) fn new(cause: Cause, reason: impl Into<String>) -> Broken {
        Broken { cause, reason: shortened(reason.into()) }
    }

    /// A call that took too long, whatever it did meanwhile.
    pub(crate) fn late(cause: Cause, limit: Duration) -> Broken {
        Broken::new(cause, format!("a call took longer than {} ms (limits.call)", limit.as_millis()))
    }
}

/// Raised in a guest whose time is over; so long it was seen at work of its own.
#[derive(Clone, Copy, Debug, Error)]
#[error("the call's deadline has passed")]
pub(crate) struct DeadlinePassed {
    pub computed: Duration,
}

/// A guest that has computed for this part of its time was computing. It is a small one, because on a busy
/// machine a guest is seldom seen; one that waits has a moment of its own now and then.
const COMPUTING: u32 = 10;

/// Why a call ended in an error of the engine.
pub(crate) fn classify(error: &wasmtime::Error, limit: Duration) -> Broken {
    if let Some(passed) = error.downcast_ref::<DeadlinePassed>() {
        let computing = passed.computed >= limit / COMPUTING;
        return Broken::late(if computing { Cause::Deadline } else { Cause::Waited }, limit);
    }
    if let Some(memory) = error.downcast_ref::<MemoryLimit>() {
        return Broken::new(Cause::Memory, memory.to_string());
    }
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return Broken::new(Cause::Trap, format!("it trapped: {}", describe(*trap)));
    }
    if let Some(ResourceTableError::Full) = error.root_cause().downcast_ref::<ResourceTableError>() {
        return Broken::new(
            Cause::Memory,
            format!("it holds on to more of the host's handles than it may ({HANDLES_MAX})"),
        );
    }
    let said = format!("{:#}", error.root_cause_or_self());
    let cause = if said.contains("hostcall") { Cause::Answer } else { Cause::Trap };
    Broken::new(cause, format!("the call failed: {said}"))
}

fn describe(trap: Trap) -> String {
    match trap {
        Trap::UnreachableCodeReached => {
            "it gave up (a panic or an abort; its last words are in the log)".into()
        }
        Trap::StackOverflow => "its stack overflowed".into(),
        Trap::MemoryOutOfBounds => {
            "it reached outside of its memory (a recursion without end does, where its stack lies first)"
                .into()
        }
        other => other.to_string(),
    }
}

trait RootCause {
    fn root_cause_or_self(&self) -> String;
}

impl RootCause for wasmtime::Error {
    /// Without the backtrace of the guest, which stands in the context around it.
    fn root_cause_or_self(&self) -> String {
        self.root_cause().to_string()
    }
}
