//! Mutants: the store without one of its syncs, the broker without one of its CRC checks, and the suite that
//! must notice.
//!
//! The list is the store's [`Site::ALL`] and the records' [`Check::ALL`]: what is added there is tried here. A sync
//! is left out by the simulated disk, at run time; first the short stories are asked, then the seeds, and if neither
//! misses it, power cuts of the real broker. For those, and for the checks, there is one build with
//! `flumen-types/sabotage`, which leaves out what `FLUMEN_SABOTAGE` names.
//!
//! Invariants: each suite passes without sabotage first, or its failing would say nothing. What fails otherwise than
//! by finding something is an error of this, and no mutant that was noticed. One that survives fails the run.

mod build;
mod kills;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use flumen_records::Check;
use flumen_sim::{Outline, Scenario};
use flumen_store::Site;

pub(crate) const SABOTAGE: &str = "FLUMEN_SABOTAGE";

/// Of the simulation, for a sync that no story misses.
const SEEDS: u64 = 2000;
/// Of the simulation, without sabotage.
const SOUND_SEEDS: u64 = 100;

pub struct Options {
    /// All if empty.
    pub names: Vec<String>,
    /// The only one that is asked about syncs.
    pub by: Option<Suite>,
    /// Of power cuts.
    pub rounds: u32,
    pub seed: u64,
}

/// Who is asked about a sync, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Suite {
    /// The simulation's short stories, with a power cut at every step.
    Stories,
    /// The simulation's seeds.
    Seeds,
    /// Power cuts of the real broker.
    Kills,
}

/// Whose tests miss a check.
fn package_of(check: Check) -> &'static str {
    match check {
        Check::SentMessage | Check::ConvertedBatch => "flumen-records",
        Check::SentBatch | Check::CleanedBatch | Check::Snapshot | Check::ClusterMetadata => "flumen-log",
        Check::ReadBatch | Check::RecoveredBatch | Check::LastBatch | Check::BatchBehind => "flumen-store",
    }
}

/// Tries every mutant; false if one survives.
pub fn run(options: &Options) -> Result<bool> {
    let began = Instant::now();
    let sites: Vec<Site> = Site::ALL.iter().copied().filter(|site| options.wants(site.name())).collect();
    let checks: Vec<Check> = Check::ALL.iter().copied().filter(|check| options.wants(check.name())).collect();
    options.refuse_unknown()?;
    let mut noticed = left_out_of_the_simulation(&sites, options)?;
    noticed.extend(kills::try_each(&sites, &noticed, options)?);
    noticed.extend(unchecked(&checks)?);
    let names = sites.iter().map(|site| site.name()).chain(checks.iter().map(|check| check.name()));
    let (found, survivors): (Vec<_>, Vec<_>) = names.partition(|name| noticed.contains_key(name));
    survivors.iter().for_each(|name| println!("{name}: SURVIVED"));
    let seconds = began.elapsed().as_secs();
    println!("{} were noticed, {} survived, in {seconds} s", found.len(), survivors.len());
    Ok(survivors.is_empty())
}

/// By name, who noticed.
type Noticed = BTreeMap<&'static str, String>;

impl Options {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }

    fn refuse_unknown(&self) -> Result<()> {
        let known = || {
            let sites = Site::ALL.iter().map(|site| site.name());
            sites.chain(Check::ALL.iter().map(|check| check.name()))
        };
        match self.names.iter().find(|name| !known().any(|known| known == *name)) {
            Some(unknown) => {
                bail!("no safeguard is called {unknown}; there are {:?}", known().collect::<Vec<_>>())
            }
            None => Ok(()),
        }
    }

    pub(crate) fn asks(&self, suite: Suite) -> bool {
        self.by.is_none_or(|by| by == suite)
    }
}

/// Each sync in turn, on all cores.
fn left_out_of_the_simulation(sites: &[Site], options: &Options) -> Result<Noticed> {
    if sites.is_empty() || options.by == Some(Suite::Kills) {
        return Ok(Noticed::new());
    }
    // A panic is a finding, and told as one.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let tried = Stories::new().and_then(|stories| {
        if options.asks(Suite::Stories) {
            stories.must_hold()?;
        }
        if options.asks(Suite::Seeds)
            && let Some(failure) = (0..SOUND_SEEDS).find_map(|seed| flumen_sim::run(seed, None, false).err())
        {
            bail!("seed {} fails without any sabotage: {}", failure.seed, failure.what);
        }
        Ok(stories.without_each(sites, options))
    });
    std::panic::set_hook(hook);
    tried
}

/// Each with what it comes by, the short ones first.
struct Stories(Vec<(Scenario, Outline)>);

impl Stories {
    fn new() -> Result<Stories> {
        let outlined = |scenario: Scenario| {
            let outline = scenario.outline().with_context(|| scenario.name)?;
            Ok((scenario, outline))
        };
        let mut stories: Vec<_> = Scenario::all().into_iter().map(outlined).collect::<Result<_>>()?;
        stories.sort_by_key(|(_, outline)| outline.moments);
        Ok(Stories(stories))
    }

    fn must_hold(&self) -> Result<()> {
        let findings = in_parallel(&self.0, |(scenario, _)| scenario.run(None, false).err());
        match findings.into_iter().flatten().next() {
            Some(finding) => bail!("without any sabotage: {finding}"),
            None => Ok(()),
        }
    }

    fn without_each(&self, sites: &[Site], options: &Options) -> Noticed {
        let noticed = in_parallel(sites, |site| {
            let by = self.without(*site, options)?;
            println!("{}: {by:.300}", site.name());
            Some((site.name(), by))
        });
        noticed.into_iter().flatten().collect()
    }

    /// Who misses it.
    fn without(&self, site: Site, options: &Options) -> Option<String> {
        if options.asks(Suite::Stories) {
            let missed = self.0.iter().filter(|(_, outline)| outline.sites.contains(&site));
            let found = missed.filter_map(|(scenario, _)| scenario.run(Some(site), false).err()).next();
            if let Some(finding) = found {
                return Some(format!("story: {finding}"));
            }
        }
        if options.asks(Suite::Seeds) {
            let failure = (0..SEEDS).find_map(|seed| flumen_sim::run(seed, Some(site), false).err())?;
            return Some(format!("seed {}: {}", failure.seed, failure.what));
        }
        None
    }
}

/// In the order of what it is done to.
fn in_parallel<T: Sync, R: Send>(all: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(one) = all.get(at) else { break };
                    let result = act(one);
                    done.lock().expect("nobody panics with it").push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("nobody panics with it");
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Each check in turn, by the tests of the package that needs it.
fn unchecked(checks: &[Check]) -> Result<Noticed> {
    let mut packages: Vec<&str> = checks.iter().map(|check| package_of(*check)).collect();
    packages.sort_unstable();
    packages.dedup();
    let mut noticed = Noticed::new();
    for package in packages {
        let programs = build::tests(package)?;
        if let Some(failed) = failed_test(&programs, "")? {
            bail!("{package} fails without any sabotage: {failed}");
        }
        for check in checks.iter().filter(|check| package_of(**check) == package) {
            if let Some(by) = failed_test(&programs, check.name())? {
                println!("{}: test of {package}: {by}", check.name());
                noticed.insert(check.name(), by);
            }
        }
    }
    Ok(noticed)
}

/// The first test that fails, and how many more.
fn failed_test(programs: &[PathBuf], sabotage: &str) -> Result<Option<String>> {
    ensure!(!programs.is_empty(), "there are no tests");
    for program in programs {
        let mut command = Command::new(program);
        // What proptest finds in a sabotaged build is no regression to keep.
        command.env(SABOTAGE, sabotage).env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        let output = command.output().context("running tests")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let failed =
                text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            let failed: Vec<&str> = failed.collect();
            let (first, others) = failed
                .split_first()
                .with_context(|| format!("{} fails, and names no test: {text}", program.display()))?;
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            return Ok(Some(format!("{first}{more}")));
        }
    }
    Ok(None)
}
