//! The same load against Flumen and against Apache Kafka, in the same run, and the ratios.
//!
//! Load comes from librdkafka (by `kcat`) where throughput is asked for, and from an open-loop client
//! of our own, scheduled by intended send time, where latency is. Absolute figures are this machine's
//! of this minute; what counts are the ratios of one run.

mod cpu;
mod latency;
mod pipeline;
mod throughput;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use flumen_harness::{Flumen, Kafka, tools};

/// Compares Flumen with Apache Kafka 4.3.1 under the same load, one after the other.
#[derive(Parser)]
struct Args {
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_values = ["produce", "fetch", "latency", "pipeline", "idle"])]
    only: Vec<Part>,
    /// How much to produce in each run, in MiB.
    #[arg(long, default_value_t = 512)]
    mib: usize,
    /// How often each is measured, Flumen and Kafka in turn; medians are printed.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Rows of the pipeline's CSV file.
    #[arg(long, default_value_t = 1_000_000)]
    rows: usize,
    /// Where data goes; on the device that is to be measured.
    #[arg(long, default_value = "target/bench")]
    dir: PathBuf,
    /// Without Kafka, for a quick look.
    #[arg(long)]
    alone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Produce,
    Fetch,
    Latency,
    Pipeline,
    Idle,
}

/// One of the two brokers under load.
struct Peer {
    name: &'static str,
    bootstrap: String,
    pid: u32,
}

fn main() -> Result<()> {
    let args = Args::parse();
    std::fs::create_dir_all(&args.dir)?;
    // SAFETY: no other thread has been started.
    unsafe { std::env::set_var("TMPDIR", args.dir.canonicalize()?) };
    println!("{} runs each, medians; data in {}", args.runs, args.dir.display());
    if args.only.contains(&Part::Idle) {
        idle()?;
    }
    let mut flumen = Flumen::start("");
    let kafka = (!args.alone).then(|| Kafka::start(&args.dir));
    let mut peers = vec![Peer { name: "flumen", bootstrap: flumen.bootstrap(), pid: flumen.process().id() }];
    if let Some(kafka) = &kafka {
        peers.push(Peer { name: "kafka flushed", bootstrap: kafka.bootstrap(), pid: kafka.pid() });
    }
    if args.only.contains(&Part::Produce) {
        for (size, what) in [(100, "produce 100 B"), (1024, "produce 1 KiB")] {
            throughput::produce(&peers, &args, size, what)?;
        }
    }
    if args.only.contains(&Part::Fetch) {
        throughput::fetch(&peers, &args)?;
    }
    if args.only.contains(&Part::Latency) {
        latency::compare(&peers, args.runs)?;
    }
    drop((flumen, kafka));
    if args.only.contains(&Part::Pipeline) {
        pipeline::run(args.rows, args.runs)?;
    }
    Ok(())
}

/// Memory at rest and time to the first connection, with no plugin.
fn idle() -> Result<()> {
    let mut flumen = Flumen::prepare("");
    flumen.up();
    let cold = flumen.stop();
    anyhow::ensure!(cold == Some(0), "the broker stopped with {cold:?}");
    let started = std::time::Instant::now();
    flumen.up();
    let start_ms = started.elapsed().as_secs_f64() * 1e3;
    let rss = cpu::rss_mib(flumen.process().id())?;
    println!("idle: {rss:.1} MiB resident; listening after {start_ms:.0} ms ({})", tools::flumen().display());
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// A row a peer, and the first peer's ratio to the second.
fn report(what: &str, unit: &str, figures: &[(&str, Vec<f64>, Vec<f64>)]) {
    let mut medians = Vec::new();
    for (name, values, cpu) in figures {
        let (low, high) = values.iter().fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(*v), h.max(*v)));
        let (mid, cpu) = (median(values.clone()), median(cpu.clone()));
        println!("{what:16} {name:14} {mid:10.0} {unit} ({low:.0} to {high:.0}); broker CPU {cpu:.2} s/GB");
        medians.push(mid);
    }
    if let [ours, theirs] = medians[..] {
        println!("{what:16} ratio          {:10.2} x", ours / theirs);
    }
}
