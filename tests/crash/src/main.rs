//! `tests/crash/run`: as many rounds as you like.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use flumen_crash::{Options, run};

/// Kills the broker under load, starts it again and checks every record.
#[derive(Parser)]
struct Args {
    /// How often it is killed.
    #[arg(long, default_value_t = 100)]
    rounds: u32,
    /// What draws the load, the moments and what a power cut leaves; one of the clock's if unset.
    #[arg(long)]
    seed: Option<u64>,
    /// A power cut instead of a kill: what was not synced is lost, kept or torn.
    #[arg(long)]
    power: bool,
    /// Load by librdkafka as well (needs tests/setup).
    #[arg(long)]
    foreign: bool,
    /// Few topics: the broker syncs each partition by itself.
    #[arg(long)]
    few: bool,
    /// Where the data folder is made; for power cuts /dev/shm if unset, else where temporary files are.
    #[arg(long)]
    dir: Option<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(rand::random);
    let options = Options {
        rounds: args.rounds,
        seed,
        power: args.power,
        foreign: args.foreign,
        few: args.few,
        dir: args.dir,
    };
    match run(&options) {
        Ok(summary) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Err(finding) => {
            eprintln!("{finding:#}");
            ExitCode::FAILURE
        }
    }
}
