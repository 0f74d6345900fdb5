//! One instance of a component, and what it may touch.
//!
//! Invariants: a store serves one task; after a trap, a missed deadline or an answer that lies it is never
//! called again; nothing but what was granted is reachable; every call has a deadline, a memory limit and
//! an output limit.

mod calls;
mod http;
mod instance;
mod limits;
mod lines;
mod reports;
mod sql;
mod state;
mod thread;

pub(crate) use calls::{Broken, CallError, Cause};
pub(crate) use http::is_origin;
pub(crate) use instance::{BadInput, Instance, Polled, Processed, Recipe, Rejects, Step, about, rehearse};
pub(crate) use state::{State, linker};
pub(crate) use thread::{Gone, Guest};
