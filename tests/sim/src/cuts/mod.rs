//! The power goes at every step of a short story, and leaves every state that it can.
//!
//! A [`Scenario`] is told again and again. Each time the power goes right before another of the calls that change
//! something or make it durable; and of what was not synced by then each thing by itself, and each two, is there
//! alone or lacks alone (`disk/outcomes.rs`), all combinations where they are few. Then the store is opened, and
//! has to be what anybody was told.
//!
//! So whether a sync is needed is no matter of luck: one that is left out is missed here, or by nobody.

mod recovery;
mod script;
mod tools;
mod topics;
mod upkeep;
mod writing;

use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, ensure};
use flumen_store::Site;

use crate::disk::Atom;
use crate::message;
use crate::world::Doubt;
use script::{Script, Told};

/// A short story of a store.
#[derive(Clone, Copy)]
pub struct Scenario {
    pub name: &'static str,
    /// From so many dirty partitions on one sync is for all.
    syncfs_over: usize,
    /// What came before, in which the power stays.
    before: fn(&mut Script) -> Result<()>,
    act: fn(&mut Script) -> Result<()>,
    /// What holds behind a power cut.
    look: fn(&mut Script) -> Result<()>,
}

/// How a power cut went wrong.
#[derive(Debug)]
pub struct Finding {
    pub scenario: &'static str,
    /// The call before which the power went; `None`: at the end.
    pub call: Option<u64>,
    /// What had not reached the device.
    pub lost: Vec<String>,
    pub what: String,
    /// Empty unless it was asked for.
    pub trace: Vec<String>,
}

/// What a story comes by.
#[derive(Debug)]
pub struct Outline {
    pub moments: usize,
    pub sites: BTreeSet<Site>,
}

/// How many moments, and states behind them, were looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    pub moments: usize,
    pub states: usize,
}

/// Up to so many things all combinations are tried.
const COMBINED_MAX: usize = 6;

impl Scenario {
    pub fn all() -> Vec<Scenario> {
        [
            writing::scenarios(),
            topics::scenarios(),
            upkeep::scenarios(),
            recovery::scenarios(),
            tools::scenarios(),
        ]
        .concat()
    }

    const fn new(
        name: &'static str,
        before: fn(&mut Script) -> Result<()>,
        act: fn(&mut Script) -> Result<()>,
    ) -> Scenario {
        Scenario { name, syncfs_over: 32, before, act, look: opens }
    }

    pub fn outline(&self) -> Result<Outline> {
        let disk = self.tell(None, None, false)?.world.disk.clone();
        Ok(Outline { moments: disk.take_moments().len(), sites: disk.reached() })
    }

    /// Every operation and call of it, without a power cut.
    pub fn calls(&self) -> Result<Vec<String>> {
        Ok(self.tell(None, None, true)?.world.disk.take_trace())
    }

    /// Tells it with a power cut at every step; `left_out` is a sync that does nothing.
    pub fn run(&self, left_out: Option<Site>, traced: bool) -> Result<Tried, Finding> {
        let mut tried = Tried::default();
        let (mut seen, mut last) = (HashSet::new(), None);
        let moments = self.guarded(None, || {
            let script = self.tell(left_out, None, false)?;
            Ok(script.world.disk.take_moments())
        })?;
        for call in moments.into_iter().map(Some).chain([None]) {
            tried.moments += 1;
            let script = self.guarded(call, || {
                let mut script = self.tell(left_out, call, false)?;
                script.go_down()?;
                Ok(script)
            })?;
            let (atoms, promises) = (script.world.disk.atoms(), script.promises());
            let balance = (script.state(), in_the_balance(&atoms), promises.clone());
            if last.replace(balance.clone()).is_some_and(|last| last == balance) {
                continue;
            }
            for kept in choices(&atoms) {
                let clock = script.world.clock.fork();
                let disk = script.world.disk.after(&atoms, &kept, clock.clone());
                let mut after = script.fork(script.world.fork(disk, clock));
                if !seen.insert((after.state(), promises.clone())) {
                    continue;
                }
                tried.states += 1;
                self.guarded(call, || (self.look)(&mut after)).map_err(|mut finding| {
                    drop(after);
                    finding.lost = lost(&atoms, &kept);
                    finding.trace =
                        if traced { self.trace(left_out, call, &atoms, &kept) } else { Vec::new() };
                    finding
                })?;
            }
        }
        Ok(tried)
    }

    /// Up to the call before which the power goes.
    fn tell(&self, left_out: Option<Site>, cut_before: Option<u64>, traced: bool) -> Result<Script> {
        let mut script = Script::new(self.syncfs_over);
        script.world.leave_out(left_out);
        if traced {
            script.world.disk.trace();
        }
        (self.before)(&mut script)?;
        script.world.disk.note_moments();
        if let Some(call) = cut_before {
            script.world.disk.cut_before(call);
        }
        (self.act)(&mut script)?;
        Ok(script)
    }

    /// The same once more, with every call of it.
    fn trace(&self, left_out: Option<Site>, call: Option<u64>, atoms: &[Atom], kept: &[bool]) -> Vec<String> {
        let Ok(mut script) = self.tell(left_out, call, true) else { return Vec::new() };
        let clock = script.world.clock.fork();
        let disk = script.world.disk.after(atoms, kept, clock.clone());
        disk.note(|| "== the power is back".to_string());
        let _ = script.go_down();
        let mut after = script.fork(script.world.fork(disk.clone(), clock));
        let _ = self.guarded(call, || (self.look)(&mut after));
        disk.take_trace()
    }

    fn guarded<T>(&self, call: Option<u64>, act: impl FnOnce() -> Result<T>) -> Result<T, Finding> {
        let what = match catch_unwind(AssertUnwindSafe(act)) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => format!("panic: {}", message(&*panic)),
        };
        Err(Finding { scenario: self.name, call, lost: Vec::new(), what, trace: Vec::new() })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { scenario, call, lost, what, .. } = self;
        match call {
            Some(call) => write!(f, "{scenario}, power cut before call {call}")?,
            None => write!(f, "{scenario}, power cut at the end")?,
        }
        if !lost.is_empty() {
            write!(f, ", without {}", lost.join(", "))?;
        }
        write!(f, ": {what}")
    }
}

/// The store opens and is what it should be.
fn opens(script: &mut Script) -> Result<()> {
    let marked = script.world.disk.peek("/data/.kafka_cleanshutdown").is_some();
    let was_open = script.told.remove(&Told::Open);
    ensure!(!(marked && was_open), "an open store has the mark of a clean stop");
    script.look_for_kept()?;
    let created = script.world.doubts.values().flatten().any(|doubt| matches!(doubt, Doubt::New(_)));
    script.open()?;
    // Of a topic that did not come to be a folder may be left, which is nobody's.
    ensure!(created || !script.has_strays(), "a folder of ours was taken for nobody's");
    script.look_around()?;
    script.look_for_kept()
}

fn lost(atoms: &[Atom], kept: &[bool]) -> Vec<String> {
    let lost = atoms.iter().zip(kept).filter(|(atom, kept)| !**kept && !is_beside(&atom.what));
    lost.map(|(atom, _)| atom.what.clone()).collect()
}

/// But for what is beside the point.
fn in_the_balance(atoms: &[Atom]) -> Vec<String> {
    atoms.iter().map(|atom| atom.what.clone()).filter(|what| !is_beside(what)).collect()
}

/// What is there, of all that is in the balance.
fn choices(atoms: &[Atom]) -> Vec<Vec<bool>> {
    let variables = variables(atoms);
    let count = variables.len();
    let spread = |chosen: &dyn Fn(usize) -> bool| {
        let mut kept = vec![false; atoms.len()];
        for (n, variable) in variables.iter().enumerate() {
            variable.iter().for_each(|at| kept[*at] = chosen(n));
        }
        kept
    };
    if count <= COMBINED_MAX {
        return (0..1_u32 << count).map(|bits| spread(&|n| bits & (1 << n) != 0)).collect();
    }
    let mut choices = Vec::new();
    for usual in [true, false] {
        choices.push(spread(&|_| usual));
        for a in 0..count {
            // With itself: alone.
            choices.extend((a..count).map(|b| spread(&|n| (n == a || n == b) != usual)));
        }
    }
    choices
}

/// What is decided by itself. The other partitions are there to be many, and who has the lock is nobody's matter:
/// all of that is one.
fn variables(atoms: &[Atom]) -> Vec<Vec<usize>> {
    let (others, own): (Vec<usize>, Vec<usize>) =
        (0..atoms.len()).partition(|at| is_beside(&atoms[*at].what));
    let mut variables: Vec<Vec<usize>> = own.into_iter().map(|at| vec![at]).collect();
    variables.extend((!others.is_empty()).then_some(others));
    variables
}

fn is_beside(what: &str) -> bool {
    if what.ends_with("/.lock") {
        return true;
    }
    let number = what.split("/t-").nth(1).map(|rest| rest.split(['/', ' ']).next().unwrap_or_default());
    number.is_some_and(|number| number != "0" && number.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scenario_holds_without_a_power_cut_and_every_site_is_reached() {
        let mut missing: BTreeSet<Site> = Site::ALL.iter().copied().collect();
        for scenario in Scenario::all() {
            let outline = scenario.outline().unwrap_or_else(|error| panic!("{}: {error:#}", scenario.name));
            missing.retain(|site| !outline.sites.contains(site));
        }
        assert_eq!(missing, BTreeSet::new(), "write a scenario that comes by them");
    }
}
