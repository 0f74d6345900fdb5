//! `tests/crash/mutants`: every safeguard is left out once, and something must notice.

use std::process::ExitCode;

use clap::Parser;
use flumen_crash::mutants::{Options, Suite, run};

/// Leaves out one sync or one CRC check after another; each time a suite must fail.
#[derive(Parser)]
struct Args {
    /// Only these (`ActiveRecords`, `SentBatch`, …); all if none is named.
    names: Vec<String>,
    /// The only one to ask about syncs; else one after another, until one of them notices.
    #[arg(long, value_enum)]
    by: Option<Suite>,
    /// Power cuts that a mutant may survive, at most.
    #[arg(long, default_value_t = 150)]
    rounds: u32,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    let Args { names, by, rounds, seed } = Args::parse();
    match run(&Options { names, by, rounds, seed }) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
