//! The store as a whole, against real files.

mod bad_directory;
mod checkpoint;
mod cleaners;
mod disk;
mod found;
mod log;
mod model;
mod recover;
mod rot;
pub(crate) mod testing;
mod upkeep;
