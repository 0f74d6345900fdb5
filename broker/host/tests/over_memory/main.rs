//! The host over a log in memory, with real guests: `plugins/build` makes them.

mod hostile;
mod kills;
mod memory;
mod sinks;
mod sources;
mod streams;
mod swaps;
