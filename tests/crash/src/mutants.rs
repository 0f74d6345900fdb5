//! Mutants: the broker without one of its syncs or CRC checks, and the suite that must notice.
//!
//! The list is the store's [`Site::ALL`] and the records' [`Check::ALL`]: what is added there is tried
//! here. A build with `flumen-types/sabotage` leaves out what `FLUMEN_SABOTAGE` names.
//!
//! Invariants: each suite passes without sabotage first, or its failing would say nothing. A mutant that
//! survives fails the run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use flumen_harness::tools;
use flumen_records::Check;
use flumen_store::Site;

const SABOTAGE: &str = "FLUMEN_SABOTAGE";

pub struct Options {
    /// All if empty.
    pub names: Vec<String>,
    /// Of power cuts.
    pub rounds: u32,
    pub seed: u64,
}

/// What must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Suite {
    /// A campaign of power cuts over many partitions.
    Power,
    /// The same over few.
    PowerFew,
    /// A package's own tests.
    Tests(&'static str),
}

/// The smallest suite that must fail without this sync.
fn of_site(site: Site) -> Suite {
    match site {
        Site::CleanStop
        | Site::Distrusted
        | Site::RecoveredRecords
        | Site::RecoveredIndex
        | Site::RecoveredAborted
        | Site::RecoveredSnapshot
        | Site::RecoveredNames => Suite::PowerFew,
        // Power cuts find it too, in one campaign of many.
        Site::ReplacedSegments => Suite::Tests("flumen-store"),
        _ => Suite::Power,
    }
}

/// The same, for a check.
fn of_check(check: Check) -> Suite {
    match check {
        Check::SentMessage | Check::ConvertedBatch => Suite::Tests("flumen-records"),
        Check::SentBatch | Check::CleanedBatch | Check::Snapshot | Check::ClusterMetadata => {
            Suite::Tests("flumen-log")
        }
        Check::ReadBatch | Check::RecoveredBatch | Check::LastBatch | Check::BatchBehind => {
            Suite::Tests("flumen-store")
        }
    }
}

fn all() -> Vec<(&'static str, Suite)> {
    let sites = Site::ALL.iter().map(|site| (site.name(), of_site(*site)));
    sites.chain(Check::ALL.iter().map(|check| (check.name(), of_check(*check)))).collect()
}

/// Tries every mutant; false if one survives.
pub fn run(options: &Options) -> Result<bool> {
    let mut mutants = all();
    if let Some(unknown) = options.names.iter().find(|name| !mutants.iter().any(|(known, _)| known == name)) {
        bail!(
            "no safeguard is called {unknown}; there are {:?}",
            mutants.iter().map(|one| one.0).collect::<Vec<_>>()
        );
    }
    mutants.retain(|(name, _)| options.names.is_empty() || options.names.iter().any(|wanted| wanted == name));
    mutants.sort_by_key(|(_, suite)| *suite);
    let (mut built, mut survivors): (Option<(Suite, Vec<PathBuf>)>, Vec<&str>) = (None, Vec::new());
    for (name, suite) in mutants {
        let programs = match &built {
            Some((of, programs)) if *of == suite => programs.clone(),
            _ => {
                let programs = build(suite)?;
                if let Some(failed) = attempt(suite, &programs, "", options)? {
                    bail!("{suite:?} fails without any sabotage: {failed}");
                }
                built = Some((suite, programs.clone()));
                programs
            }
        };
        match attempt(suite, &programs, name, options)? {
            Some(by) => println!("{name}: killed by {by}"),
            None => {
                println!("{name}: SURVIVED {suite:?}");
                survivors.push(name);
            }
        }
    }
    println!("{} survived {survivors:?}", survivors.len());
    Ok(survivors.is_empty())
}

/// Builds what the suite runs, able to be sabotaged.
fn build(suite: Suite) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(tools::root()).stderr(Stdio::inherit());
    match suite {
        Suite::Power | Suite::PowerFew => cargo.args(["build", "-p", "flumen"]),
        Suite::Tests(package) => cargo.args(["test", "--no-run", "--tests", "-p", package]),
    };
    cargo.args(["--features", "flumen-types/sabotage", "--message-format", "json-render-diagnostics"]);
    let Output { status, stdout, .. } = cargo.output().context("running cargo")?;
    if !status.success() {
        bail!("cargo cannot build {suite:?}");
    }
    let stdout = String::from_utf8(stdout)?;
    let programs = stdout.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    let programs: Vec<PathBuf> = programs.collect();
    match suite {
        Suite::Tests(_) => Ok(programs),
        // Put aside: the next plain build takes its place.
        Suite::Power | Suite::PowerFew => {
            let sabotaged = tools::target().join("sabotaged-flumen");
            let broker = programs.last().context("expected cargo to name the broker")?;
            let beside = sabotaged.with_extension(std::process::id().to_string());
            std::fs::copy(broker, &beside).with_context(|| broker.display().to_string())?;
            std::fs::rename(&beside, &sabotaged)?;
            Ok(vec![sabotaged])
        }
    }
}

/// What failed, if anything did.
fn attempt(suite: Suite, programs: &[PathBuf], name: &str, options: &Options) -> Result<Option<String>> {
    match suite {
        Suite::Power | Suite::PowerFew => power(suite, &programs[0], name, options),
        Suite::Tests(_) => tests(programs, name),
    }
}

fn power(suite: Suite, broker: &Path, name: &str, options: &Options) -> Result<Option<String>> {
    let campaign = std::env::current_exe()?.with_file_name("flumen-crash");
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    // Without sabotage only that it passes is asked.
    let rounds = if name.is_empty() { options.rounds.min(30) } else { options.rounds };
    let mut command = Command::new(campaign);
    command.args(["--power", "--rounds", &rounds.to_string(), "--seed", &options.seed.to_string()]);
    if suite == Suite::PowerFew {
        command.arg("--few");
    }
    command.arg("--dir").arg(dir.path()).env("FLUMEN_BIN", broker).env(SABOTAGE, name);
    let Output { status, stdout, stderr } = command.output().context("running a campaign")?;
    if !status.success() {
        let text = String::from_utf8_lossy(&stderr);
        let found = text.lines().find(|line| line.starts_with("seed ")).unwrap_or(&text);
        let round = found.split(' ').skip_while(|word| *word != "round").nth(1).unwrap_or("?");
        let found = found
            .split_once("data kept in ")
            .and_then(|(_, rest)| rest.split_once(": "))
            .map_or(found, |found| found.1);
        return Ok(Some(format!("power cut {round}: {found:.300}")));
    }
    if !name.is_empty() {
        eprintln!("{name}: {}", String::from_utf8_lossy(&stdout).lines().last().unwrap_or_default());
    }
    Ok(None)
}

fn tests(programs: &[PathBuf], name: &str) -> Result<Option<String>> {
    for program in programs {
        let mut command = Command::new(program);
        // What proptest finds in a sabotaged build is no regression to keep.
        command.env(SABOTAGE, name).env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        let output = command.output().context("running tests")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let failed =
                text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
            let failed: Vec<&str> = failed.collect();
            let (first, others) = failed.split_first().context("expected a failed test to be named")?;
            let more = if others.is_empty() { String::new() } else { format!(" and {} more", others.len()) };
            return Ok(Some(format!("{first}{more}")));
        }
    }
    Ok(None)
}
