//! Plugins: compile, instance, limits, capabilities, pumps, reload.
//!
//! A [`Host`] runs the plugins of a configuration over a [`Log`]. wasmtime is named in this crate only,
//! and the bindings to `flumen:plugin` are generated in one file of it, `bindings.rs`.
//!
//! A plugin's way: [`PluginSpec`] → compiled (`component`, cached by `cache`) → checked against what it
//! is granted (`check`) → an instance on a thread of its own (`guest`) → a pump on the runtime (`pump`),
//! which reads, calls, writes and commits.
//!
//! Never here: Kafka's wire protocol, files of the log, the configuration file.

mod backoff;
mod bindings;
mod cache;
mod check;
mod chunk;
mod component;
mod dead_letter;
mod done;
mod engine;
mod guest;
mod host;
mod io;
mod plugin;
pub mod probe;
mod pump;
mod route;
mod section;
mod spec;
mod sql;
mod status;

pub use check::{CheckError, Need};
pub use component::{ComponentError, PluginInfo};
pub use done::Done;
pub use engine::EngineError;
pub use host::{Host, Options, ReplaceError, StartError};
pub use io::{GroupOffset, IoError, Log, Packed, Producer, Read};
pub use spec::{
    Access, BatchSize, ContentHash, Errors, Folder, Grants, Kind, Limits, PluginSpec, Policy, WasmRef,
};
pub use sql::{Database, DatabaseError, Databases};
pub use status::{PluginStatus, State, Trouble};

/// A lock whose holder has panicked guards plain values all the same.
fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
