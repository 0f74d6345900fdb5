//! The host over a log in memory, with real guests: `plugins/build` makes them.

mod hostile;
mod memory;
mod streams;
mod swaps;
