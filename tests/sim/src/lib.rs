//! A deterministic simulation of the store and of what stands on it: a run is a pure function of its seed.
//!
//! The store's file system (`disk`), clock and threads are the simulation's. A run makes topics, appends,
//! ends transactions, trims, compacts, lets time pass, and loses power at a call that the seed chose: in the
//! midst of an append, of a recovery, of a clean stop. After each start all of it is held against a list of
//! what was written and what was promised (`model`).
//!
//! Beside power cuts there are, by seed: reads, writes and syncs that fail, a full disk, short reads and
//! writes, and media faults.

mod catalogue;
mod clock;
mod coordinators;
mod cuts;
mod disk;
mod model;
mod operations;
mod plan;
mod rng;
mod rot;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use cuts::{Finding, Outline, Scenario, Tried};
pub use disk::Trouble;
use flumen_store::Site;
pub use world::Tally;
use world::World;

/// How a run went wrong.
#[derive(Debug)]
pub struct Failure {
    pub seed: u64,
    pub what: String,
    /// Empty unless it was asked for.
    pub trace: Vec<String>,
}

/// One run; `left_out` is a sync that does nothing.
pub fn run(seed: u64, left_out: Option<Site>, traced: bool) -> Result<Tally, Failure> {
    let mut world = World::new(seed);
    world.leave_out(left_out);
    if traced {
        world.disk.trace();
    }
    let disk = world.disk.clone();
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let what = match ran {
        Ok(Ok(tally)) => return Ok(tally),
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => format!("panic: {}", message(&*panic)),
    };
    Err(Failure { seed, what, trace: disk.take_trace() })
}

/// Every operation and call of a run, for who wants to know whether a seed decides them all.
pub fn calls_of(seed: u64) -> Vec<String> {
    let mut world = World::new(seed);
    world.disk.trace();
    let disk = world.disk.clone();
    // How it ends is in what it did.
    let _ = catch_unwind(AssertUnwindSafe(|| world.run()));
    disk.take_trace()
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
}
