//! How fast records are read: from the page cache, from the device, and beside somebody who writes.

use std::process::{Command, Stdio};

use anyhow::Result;

use crate::figures::{Figure, Table, number, ratio};
use crate::load::{self, Fetch, Produce};
use crate::peers::{self, Durability, Peer};
use crate::{Args, proc};

const TOPIC: &str = "fetch";
/// Less than Flumen keeps in the page cache.
const HOT_BYTES: u64 = 96 << 20;

fn produce(peer: &Peer, topic: &str, size: usize, bytes: u64) -> Produce {
    Produce {
        bootstrap: peer.bootstrap.clone(),
        topic: topic.into(),
        size,
        records: bytes / size as u64,
        partitions: 1,
        producers: 1,
        codec: "none".into(),
        keys: 0,
        forever: false,
    }
}

fn fetch(peer: &Peer, topic: &str, records: u64) -> Fetch {
    let (bootstrap, topic) = (peer.bootstrap.clone(), topic.into());
    Fetch { bootstrap, topic, records, partitions: 1, passes: 1, forever: false }
}

/// Hot and cold, for each size of record.
pub(crate) fn table(args: &Args) -> Result<()> {
    let note = "MB/s of values from the first request to the last record, one partition, one connected librdkafka consumer; \
`hot`: 96 MiB written just before, read again and again; `cold`: dropped from the page cache before each run.";
    let columns = [
        "record",
        "bytes are",
        "Flumen MB/s",
        "Kafka MB/s",
        "ratio",
        "broker CPU s/GB, Flumen / Kafka",
        "ratio",
    ];
    let mut table = Table::new("Fetch", note, &columns);
    let peers = peers::start(args)?;
    for size in [100, 1024, 10_240] {
        for cold in [false, true] {
            let bytes = if cold { (args.mib as u64) << 20 } else { HOT_BYTES };
            for peer in &peers {
                peer.create(TOPIC, 1, Durability::Synced, &[])?;
                load::run(produce(peer, TOPIC, size, bytes).command()?)?;
            }
            row(args, &peers, size, cold, &mut table)?;
            peers.iter().try_for_each(|peer| peer.delete(TOPIC))?;
        }
    }
    table.write(args.out())
}

fn row(args: &Args, peers: &[Peer], size: usize, cold: bool, table: &mut Table) -> Result<()> {
    let mut speeds: [(Figure, Figure); 2] = Default::default();
    let bytes = (args.mib as u64) << 20;
    let (records, passes) =
        if cold { (bytes / size as u64, 1) } else { (HOT_BYTES / size as u64, bytes.div_ceil(HOT_BYTES)) };
    for _ in 0..args.runs {
        for (peer, (speed, cpu)) in peers.iter().zip(&mut speeds) {
            if cold {
                peer.chill()?;
            }
            let before = proc::cpu_seconds(peer.pid)?;
            let done = load::run(Fetch { passes, ..fetch(peer, TOPIC, records) }.command()?)?;
            speed.push(done.gb() * 1e3 / done.seconds);
            cpu.push((proc::cpu_seconds(peer.pid)? - before) / done.gb());
        }
    }
    let [(ours, our_cpu), (theirs, their_cpu)] = &speeds;
    table.row(&[
        format!("{size} B"),
        if cold { "cold" } else { "hot" }.into(),
        ours.show(),
        theirs.show(),
        ratio(ours, theirs),
        format!("{} / {}", our_cpu.show(), their_cpu.show()),
        ratio(our_cpu, their_cpu),
    ]);
    Ok(())
}

/// How much slower a producer is while somebody reads old records at full speed, and the other way round.
pub(crate) fn beside(args: &Args) -> Result<()> {
    let note = "1 KiB records, one partition each. The reader goes over cold records again and again; slow-down of \
the producer's median. Both clients share the broker's cores, so the reader runs at the lowest priority (nice 19): \
what is left is what the broker and the device do.";
    let columns = ["broker", "ack waits for", "alone MB/s", "beside a cold reader MB/s", "slow-down"];
    let mut table = Table::new("A cold reader beside a producer", note, &columns);
    let peers = peers::start(args)?;
    let cold_bytes = (args.mib as u64) << 22;
    for peer in &peers {
        peer.create("cold", 1, Durability::PageCache, &[])?;
        load::run(produce(peer, "cold", 1024, cold_bytes).command()?)?;
    }
    for durability in Durability::BOTH {
        let mut figures: [(Figure, Figure); 2] = Default::default();
        for _ in 0..args.runs {
            for (peer, (alone, beside)) in peers.iter().zip(&mut figures) {
                alone.push(produce_once(args, peer, durability)?);
                peer.chill()?;
                let reader = Fetch { forever: true, ..fetch(peer, "cold", cold_bytes / 1024) };
                let mut reader = Background::start(reader.command()?)?;
                beside.push(produce_once(args, peer, durability)?);
                reader.end();
            }
        }
        for (peer, (alone, beside)) in peers.iter().zip(&figures) {
            let slower = 100.0 * (1.0 - beside.median() / alone.median());
            let slower = format!("{} %", number(slower));
            table.row(&[peer.name.into(), durability.name().into(), alone.show(), beside.show(), slower]);
        }
    }
    table.write(args.out())
}

fn produce_once(args: &Args, peer: &Peer, durability: Durability) -> Result<f64> {
    const BESIDE: &str = "beside";
    peer.create(BESIDE, 1, durability, &[])?;
    let done = load::run(produce(peer, BESIDE, 1024, (args.mib as u64) << 20).command()?)?;
    peer.delete(BESIDE)?;
    Ok(done.gb() * 1e3 / done.seconds)
}

/// A load that goes on until it is ended.
struct Background(std::process::Child);

impl Background {
    fn start(command: Command) -> Result<Background> {
        // At the lowest priority: what the reader takes of the cores is not the broker's doing.
        let mut nice = Command::new("nice");
        nice.args(["-n", "19"]).arg(command.get_program()).args(command.get_args());
        Ok(Background(nice.stdout(Stdio::null()).spawn()?))
    }

    fn end(&mut self) {
        // `nice` has become the load itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.end();
    }
}
