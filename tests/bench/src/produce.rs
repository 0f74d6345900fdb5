//! How fast records are written, and what that costs the broker.

use anyhow::Result;

use crate::figures::{Figure, Table, ratio};
use crate::load::{self, Produce};
use crate::peers::{self, Durability, Peer};
use crate::raw::{self, Raw};
use crate::{Args, proc};

/// One row.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    size: usize,
    durability: Durability,
    partitions: i32,
    producers: u64,
    codec: &'static str,
}

const CODECS: [&str; 3] = ["none", "lz4", "zstd"];
const PARTITIONS: [i32; 3] = [1, 100, 10_000];
const PRODUCERS: [u64; 2] = [1, 16];
const SIZES: [usize; 3] = [100, 1024, 10_240];

/// The sizes, and from 1 KiB the other axes one by one; or every combination.
fn cells(full: bool) -> Vec<Cell> {
    let mut cells = Vec::new();
    for size in SIZES {
        for durability in Durability::BOTH {
            for partitions in PARTITIONS {
                for producers in PRODUCERS {
                    for codec in CODECS {
                        let off = [partitions != 1, producers != 1, codec != "none"];
                        let axes = off.into_iter().filter(|off| *off).count();
                        if full || axes == 0 || (axes == 1 && size == 1024) {
                            cells.push(Cell { size, durability, partitions, producers, codec });
                        }
                    }
                }
            }
        }
    }
    cells
}

const COLUMNS: [&str; 11] = [
    "record",
    "ack waits for",
    "partitions",
    "producers",
    "codec",
    "Flumen MB/s",
    "records/s",
    "Kafka MB/s",
    "ratio",
    "broker CPU s/GB, Flumen / Kafka",
    "ratio",
];
const NOTE: &str = "MB/s of values as the client hands them over, from the first record sent to the last one \
acknowledged, by librdkafka in a process of its own on the same machine; median (range). `raw`: the device, 1 MiB \
at a time.";

pub(crate) fn table(args: &Args) -> Result<()> {
    let mut table = Table::new("Produce", NOTE, &COLUMNS);
    let peers = peers::start(args)?;
    for cell in cells(args.full) {
        let bytes = (args.mib as u64) << 20;
        // Where every batch is small, as many bytes take minutes and say no more.
        let bytes = if cell.partitions > 1000 { bytes / 4 } else { bytes };
        measure(args, &peers, &cell, bytes, &mut table)?;
    }
    raw_rows(args, (args.mib as u64) << 20, &mut table)?;
    table.write(args.out())
}

/// The same for long, so that no cache hides the device.
pub(crate) fn sustained(args: &Args) -> Result<()> {
    let mut table = Table::new(&format!("Produce, {} GB on end", args.gb), NOTE, &COLUMNS);
    let args = &Args { runs: args.runs.min(3), ..args.clone() };
    let peers = peers::start(args)?;
    for durability in Durability::BOTH {
        let cell = Cell { size: 1024, durability, partitions: 1, producers: 1, codec: "none" };
        measure(args, &peers, &cell, args.gb * 1_000_000_000, &mut table)?;
    }
    raw_rows(args, args.gb * 1_000_000_000, &mut table)?;
    table.write(args.out())
}

#[derive(Default)]
struct Figures {
    mb: Figure,
    records: Figure,
    cpu: Figure,
}

fn measure(args: &Args, peers: &[Peer], cell: &Cell, bytes: u64, table: &mut Table) -> Result<()> {
    let mut figures: [Figures; 2] = Default::default();
    for run in 0..args.runs {
        for (peer, figures) in peers.iter().zip(&mut figures) {
            let topic = format!("produce-{run}");
            peer.create(&topic, cell.partitions, cell.durability, &[])?;
            let load = Produce {
                bootstrap: peer.bootstrap.clone(),
                topic: topic.clone(),
                size: cell.size,
                records: bytes / cell.size as u64,
                partitions: cell.partitions,
                producers: cell.producers,
                codec: cell.codec.into(),
                keys: 0,
                forever: false,
            };
            let before = proc::cpu_seconds(peer.pid)?;
            let done = load::run(load.command()?)?;
            figures.cpu.push((proc::cpu_seconds(peer.pid)? - before) / done.gb());
            figures.mb.push(done.gb() * 1e3 / done.seconds);
            figures.records.push(done.records as f64 / done.seconds);
            // Room for the next, and the files' names are of no interest any more.
            peer.delete(&topic)?;
        }
    }
    let [ours, theirs] = &figures;
    table.row(&[
        format!("{} B", cell.size),
        cell.durability.name().into(),
        cell.partitions.to_string(),
        cell.producers.to_string(),
        cell.codec.into(),
        ours.mb.show(),
        format!("{:.0} k", ours.records.median() / 1e3),
        theirs.mb.show(),
        ratio(&ours.mb, &theirs.mb),
        format!("{} / {}", ours.cpu.show(), theirs.cpu.show()),
        ratio(&ours.cpu, &theirs.cpu),
    ]);
    Ok(())
}

fn raw_rows(args: &Args, bytes: u64, table: &mut Table) -> Result<()> {
    for way in Raw::ALL {
        let (mut mb, mut cpu) = (Figure::default(), Figure::default());
        for _ in 0..args.runs {
            let run = raw::write(&args.dir()?.join("raw"), way, bytes)?;
            mb.push(bytes as f64 / 1e6 / run.seconds);
            cpu.push(run.cpu_seconds / (bytes as f64 / 1e9));
        }
        let dash = || "-".to_string();
        let name = format!("raw: {}", way.name());
        table.row(&[
            name,
            dash(),
            dash(),
            dash(),
            dash(),
            mb.show(),
            dash(),
            dash(),
            dash(),
            cpu.show(),
            dash(),
        ]);
    }
    Ok(())
}
