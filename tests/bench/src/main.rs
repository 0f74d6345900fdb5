//! The same load against Flumen and against Apache Kafka, in the same run, and the ratios.
//!
//! Throughput is asked for by librdkafka (`librdkafka.rs`), latency and single operations by our own client.
//! The brokers take turns, run by run. Absolute figures are this machine's of this minute; what counts
//! are the ratios of one run, and the broker's CPU beside them.

mod big_log;
mod compaction;
mod cost;
mod fetch;
mod figures;
mod latency;
mod librdkafka;
mod load;
mod peers;
mod pipeline;
mod proc;
mod produce;
mod raw;
mod start;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Compares Flumen with Apache Kafka 4.3.1 under the same load, and with the bare device.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    args: Args,
}

#[derive(clap::Args, Clone)]
struct Args {
    /// How much each run writes or reads, in MiB.
    #[arg(long, global = true, default_value_t = 512)]
    mib: usize,
    /// How often each is measured, the brokers in turn; medians and ranges are shown.
    #[arg(long, global = true, default_value_t = 5)]
    runs: usize,
    /// Of `produce`: every combination, which takes hours.
    #[arg(long, global = true)]
    full: bool,
    /// Of `sustained`: gigabytes.
    #[arg(long, global = true, default_value_t = 10)]
    gb: u64,
    /// Of `start` and `cost`: the most partitions.
    #[arg(long, global = true, default_value_t = 10_000)]
    partitions: i32,
    /// Of `start` and `cost`: segments of 1 GiB in the largest log.
    #[arg(long, global = true, default_value_t = 100)]
    segments: u64,
    /// Rows of the pipeline's CSV file.
    #[arg(long, global = true, default_value_t = 1_000_000)]
    rows: usize,
    /// Where data goes; on the device that is to be measured.
    #[arg(long, global = true, default_value = "target/bench")]
    dir: PathBuf,
    /// Also writes the tables behind this file's end.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    /// Without Kafka, for a quick look.
    #[arg(long, global = true)]
    alone: bool,
}

impl Args {
    fn dir(&self) -> Result<PathBuf> {
        self.dir.canonicalize().with_context(|| format!("the folder {}", self.dir.display()))
    }

    fn out(&self) -> Option<&Path> {
        self.out.as_deref()
    }
}

#[derive(Subcommand)]
enum What {
    /// Sizes, durability, partitions, producers and codecs.
    Produce,
    /// Produce on end for 10 GB.
    Sustained,
    /// Fetch, hot and cold.
    Fetch,
    /// A cold reader beside a producer.
    Beside,
    /// Open-loop latency.
    Latency,
    /// Compaction.
    Compaction,
    /// Start with nothing, with 10,000 partitions, with 100 GB.
    Start,
    /// One produce and one fetch while log, partitions and consumers grow.
    Cost,
    /// A file through a transform to SQLite.
    Pipeline,
    /// Every table.
    All,
    /// Replaces a stopped broker's partition by a sparse log: `make-log DATA TOPIC SEGMENTS`.
    MakeLog { data: PathBuf, topic: String, segments: u64 },
    /// One load, as the tables start it.
    #[command(subcommand, hide = true)]
    Load(load::Load),
}

type TableOf = fn(&Args) -> Result<()>;
const TABLES: [TableOf; 9] = [
    produce::table,
    produce::sustained,
    fetch::table,
    fetch::beside,
    latency::table,
    compaction::table,
    start::table,
    cost::table,
    pipeline::table,
];

fn main() -> Result<()> {
    let Cli { what, mut args } = Cli::parse();
    let tables: &[TableOf] = match what {
        What::Load(load) => return load.run(),
        What::MakeLog { data, topic, segments } => return make_log(&data, &topic, segments),
        What::All => &TABLES,
        What::Produce => &TABLES[0..1],
        What::Sustained => &TABLES[1..2],
        What::Fetch => &TABLES[2..3],
        What::Beside => &TABLES[3..4],
        What::Latency => &TABLES[4..5],
        What::Compaction => &TABLES[5..6],
        What::Start => &TABLES[6..7],
        What::Cost => &TABLES[7..8],
        What::Pipeline => &TABLES[8..9],
    };
    std::fs::create_dir_all(&args.dir)?;
    if tables.len() > 1 && args.out.is_none() {
        args.out = Some(args.dir()?.join("tables.md"));
    }
    // SAFETY: no other thread has been started.
    unsafe { std::env::set_var("TMPDIR", args.dir()?) };
    println!(
        "{} runs each; data in {}; librdkafka {}",
        args.runs,
        args.dir.display(),
        load::library_version()?
    );
    tables.iter().try_for_each(|table| table(&args))?;
    if let Some(out) = args.out() {
        println!("\nwritten to {}", out.display());
    }
    Ok(())
}

fn make_log(data: &Path, topic: &str, segments: u64) -> Result<()> {
    let log = big_log::make(&data.join(format!("{topic}-0")), segments, 1 << 30)?;
    big_log::note_end(data, topic, &log)?;
    println!("{topic}-0: {} bytes in {} segments, offsets 0 to {}", log.bytes, log.segments, log.end());
    Ok(())
}
