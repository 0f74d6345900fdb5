//! Programs that can be sabotaged.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use flumen_harness::tools;

/// The test programs of a package.
pub(super) fn tests(package: &str) -> Result<Vec<PathBuf>> {
    build(&["test", "--no-run", "--tests", "-p", package])
}

/// The broker, put aside: the next plain build takes its place.
pub(super) fn broker() -> Result<PathBuf> {
    let built = build(&["build", "-p", "flumen"])?;
    let broker = built.last().context("expected cargo to name the broker")?;
    let sabotaged = tools::target().join("sabotaged-flumen");
    let beside = sabotaged.with_extension(std::process::id().to_string());
    std::fs::copy(broker, &beside).with_context(|| broker.display().to_string())?;
    std::fs::rename(&beside, &sabotaged)?;
    Ok(sabotaged)
}

fn build(arguments: &[&str]) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(tools::root()).stderr(Stdio::inherit()).args(arguments);
    cargo.args(["--features", "flumen-types/sabotage", "--message-format", "json-render-diagnostics"]);
    let Output { status, stdout, .. } = cargo.output().context("running cargo")?;
    ensure!(status.success(), "cargo {arguments:?} fails");
    let stdout = String::from_utf8(stdout)?;
    let programs = stdout.lines().filter_map(|line| {
        let (_, rest) = line.split_once("\"executable\":\"")?;
        rest.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    Ok(programs.collect())
}
