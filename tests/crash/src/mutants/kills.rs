//! Power cuts of a real broker that leaves out a sync: many partitions, which it syncs together, and few.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};
use flumen_store::Site;

use super::{Noticed, Options, SABOTAGE, Suite, build};

/// Of a campaign without sabotage, of which only that it passes is asked.
const SOUND_ROUNDS: u32 = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partitions {
    Many,
    Few,
}

/// Those that nobody has noticed before.
pub(super) fn try_each(sites: &[Site], noticed: &Noticed, options: &Options) -> Result<Noticed> {
    let left: Vec<&Site> = sites.iter().filter(|site| !noticed.contains_key(site.name())).collect();
    let mut found = Noticed::new();
    if left.is_empty() || !options.asks(Suite::Kills) {
        return Ok(found);
    }
    let broker = build::broker()?;
    for partitions in [Partitions::Many, Partitions::Few] {
        let rounds = options.rounds.min(SOUND_ROUNDS);
        if let Some(finding) = campaign(partitions, &broker, "", rounds, options.seed)? {
            bail!("{partitions:?} partitions fail without any sabotage: {finding}");
        }
        for site in &left {
            if found.contains_key(site.name()) {
                continue;
            }
            if let Some(by) = campaign(partitions, &broker, site.name(), options.rounds, options.seed)? {
                println!("{}: {by}", site.name());
                found.insert(site.name(), by);
            }
        }
    }
    Ok(found)
}

/// What it found, if anything. Only a finding names its seed: whatever else ends a campaign has found nothing.
fn campaign(
    partitions: Partitions,
    broker: &Path,
    sabotage: &str,
    rounds: u32,
    seed: u64,
) -> Result<Option<String>> {
    let program = std::env::current_exe()?.with_file_name("flumen-crash");
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let mut command = Command::new(program);
    command.args(["--power", "--rounds", &rounds.to_string(), "--seed", &seed.to_string()]);
    if partitions == Partitions::Few {
        command.arg("--few");
    }
    command.arg("--dir").arg(dir.path()).env("FLUMEN_BIN", broker).env(SABOTAGE, sabotage);
    let Output { status, stdout, stderr } = command.output().context("running a campaign")?;
    let said = String::from_utf8_lossy(&stderr);
    match said.lines().find(|line| line.starts_with("seed ")) {
        Some(finding) => Ok(Some(in_short(finding))),
        None if !status.success() => {
            bail!("a campaign without {sabotage:?} ends and has found nothing: {said}")
        }
        None => {
            let stdout = String::from_utf8_lossy(&stdout);
            eprintln!("{sabotage} {partitions:?}: {}", stdout.lines().last().unwrap_or_default());
            Ok(None)
        }
    }
}

fn in_short(finding: &str) -> String {
    let round = finding.split(' ').skip_while(|word| *word != "round").nth(1).unwrap_or("?");
    let found = finding.split_once("data kept in ").and_then(|(_, rest)| rest.split_once(": "));
    format!("power cut {round}: {:.300}", found.map_or(finding, |found| found.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_told_by_its_round_and_what_it_is() {
        let line = "seed 1, round 7 of 30; the last power cut: 3 names; data kept in /dev/shm/x: t-0 ends at 4: gone";
        assert_eq!(in_short(line), "power cut 7: t-0 ends at 4: gone");
    }
}
