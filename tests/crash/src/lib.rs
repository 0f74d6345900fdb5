//! Kills the broker under the load of real clients, starts it again, and checks every record.
//!
//! A campaign is a number of rounds over one data folder: load for a moment, SIGKILL, start, check.
//! Each [`load`] keeps a list of what was asked and what was acknowledged, and says what must be there
//! and what may be. With [`power`] the kill takes away what was not synced, as a power cut does.
//!
//! Invariants: a check never relies on a pause; what is asked for while it runs may be there or not,
//! and what was acknowledged before it must be. A finding names the seed, what was expected and what
//! was found, and keeps the data folder.
//!
//! Lacks: the same schedule from the same seed. The seed draws what is written, when the kill comes and
//! what a power cut leaves; what the threads of a broker did in that moment is theirs.

mod broker;
mod campaign;
mod cluster;
mod load;
pub mod mutants;
mod power;
mod read;
mod records;

pub use campaign::{Options, Summary, run};
