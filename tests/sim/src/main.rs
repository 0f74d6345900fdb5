//! `tests/sim/run`: so many seeds, on all cores; the first that fails is told with its trace.

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use flumen_sim::{Failure, Scenario, run};
use flumen_store::Site;

/// Runs the store on a simulated disk that loses power at every step.
#[derive(Parser)]
struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// This one alone.
    #[arg(long)]
    seed: Option<u64>,
    /// With --seed: prints every operation and call, also if nothing fails.
    #[arg(long)]
    trace: bool,
    /// Short stories in place of seeds, each with a power cut at every step of it.
    #[arg(long)]
    cuts: bool,
    /// With --cuts: those whose name has this in it.
    #[arg(long, default_value = "")]
    story: String,
    /// Goes on behind a failure, and prints one line of each.
    #[arg(long)]
    all: bool,
    /// Leaves out one of the store's syncs by name, to see that it is missed; "list" names them.
    #[arg(long)]
    sabotage: Option<String>,
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, usize::from))]
    threads: usize,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if args.sabotage.as_deref() == Some("list") {
        Site::ALL.iter().for_each(|site| println!("{}", site.name()));
        return Ok(ExitCode::SUCCESS);
    }
    let find = |name: &String| Site::ALL.iter().copied().find(|site| site.name() == name);
    let left_out = args.sabotage.as_ref().map(|name| find(name).context("no such site; see --sabotage list"));
    let left_out = left_out.transpose()?;
    // A panic is told with its seed; and who wants to see more, sees where.
    if !args.trace {
        std::panic::set_hook(Box::new(|_| {}));
    }
    if args.cuts {
        return Ok(cuts(&args, left_out));
    }
    if let Some(seed) = args.seed {
        return Ok(one(seed, left_out, args.trace));
    }
    let began = Instant::now();
    let failures = many(&args, left_out);
    let seconds = began.elapsed().as_secs_f64();
    println!("{} seeds from {} in {seconds:.1} s: {} failed", args.seeds, args.from, failures.len());
    let Some(first) = failures.iter().min_by_key(|failure| failure.seed) else {
        return Ok(ExitCode::SUCCESS);
    };
    if !args.all {
        one(first.seed, left_out, true);
    }
    Ok(ExitCode::FAILURE)
}

fn cuts(args: &Args, left_out: Option<Site>) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for scenario in Scenario::all().into_iter().filter(|scenario| scenario.name.contains(&args.story)) {
        let began = Instant::now();
        match scenario.run(left_out, args.trace) {
            Ok(tried) if args.trace => {
                scenario.calls().into_iter().flatten().for_each(|line| println!("{line}"));
                println!("{}: {tried:?}", scenario.name);
            }
            Ok(tried) => println!("{}: {tried:?} in {:.1} s", scenario.name, began.elapsed().as_secs_f64()),
            Err(finding) => {
                finding.trace.iter().for_each(|line| println!("{line}"));
                println!("{finding}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

fn one(seed: u64, left_out: Option<Site>, trace: bool) -> ExitCode {
    let (failed, trace) = match run(seed, left_out, trace) {
        Ok(tally) => {
            println!("seed {seed}: {tally:?}");
            return ExitCode::SUCCESS;
        }
        Err(failure) => (failure.what, failure.trace),
    };
    trace.iter().for_each(|line| println!("{line}"));
    println!("seed {seed} failed: {failed}");
    println!("again: tests/sim/run --seed {seed} --trace");
    ExitCode::FAILURE
}

fn many(args: &Args, left_out: Option<Site>) -> Vec<Failure> {
    let (next, stop) = (AtomicU64::new(args.from), AtomicBool::new(false));
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= args.from + args.seeds {
                        break;
                    }
                    if let Err(failure) = run(seed, left_out, false) {
                        println!("seed {seed}: {}", failure.what);
                        stop.store(!args.all, Ordering::Relaxed);
                        failures.lock().expect("nobody panics here").push(failure);
                    }
                }
            });
        }
    });
    failures.into_inner().expect("nobody panics here")
}
