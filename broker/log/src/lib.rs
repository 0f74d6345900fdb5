//! Rules of the log: what may be appended, what the files beside it say, what is to go and when.
//!
//! Invariants: every function here is told all that it goes by, the time included, and answers with a
//! value; who acts on it is `store`. Bytes and texts from a disk are never trusted: what does not read
//! is an error or `None`, never a panic.
//!
//! It lacks files, threads and clocks, and knows nothing of Kafka's protocol.

pub mod append;
pub mod checkpoint;
pub mod cleaner;
pub mod cluster_metadata;
pub mod compaction;
pub mod config;
pub mod epochs;
pub mod flush;
pub mod keys;
pub mod producers;
pub mod retention;
mod snapshot;
pub mod throttle;

pub use snapshot::SnapshotError;
