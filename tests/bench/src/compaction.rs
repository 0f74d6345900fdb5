//! How fast a compacted topic is cleaned, and with how much memory.
//!
//! Seen from outside, the same way for both: the topic is written while it is not compacted, then it is
//! told to be; the clock runs from there to the cleaner's checkpoint that has the topic.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::figures::{Figure, Table, ratio};
use crate::load::{self, Produce};
use crate::peers::{self, Durability, Peer};
use crate::{Args, proc};

pub(crate) fn table(args: &Args) -> Result<()> {
    let note = "MB of log before the pass per second of it; values of 1 KiB; segments of 64 MiB, none of it in \
the page cache. Memory: what the process held before the pass, and most during it.";
    let columns = [
        "keys",
        "codec",
        "log MB, before -> after",
        "Flumen MB/s",
        "Kafka MB/s",
        "ratio",
        "Flumen RSS MiB, before -> peak",
        "Kafka RSS MiB, before -> peak",
        "broker CPU s/GB, Flumen / Kafka",
    ];
    let mut table = Table::new("Compaction", note, &columns);
    let peers = peers::start_with(
        args,
        "log.cleaner.backoff.ms = 10",
        "log.cleaner.backoff.ms=10\nlog.cleaner.threads=1\n",
    )?;
    let records = ((args.mib as u64) << 20) / 1024;
    for (keys, codec) in [(records / 10, "none"), (records / 2, "none"), (records / 10, "lz4")] {
        let mut figures: [Passes; 2] = Default::default();
        for run in 0..args.runs.min(3) {
            // Of its own: a cleaner's checkpoint may still have the one that is gone.
            let topic = format!("compacted-{codec}-{keys}-{run}");
            for (peer, figures) in peers.iter().zip(&mut figures) {
                figures.push(&pass(args, peer, &topic, keys, codec)?);
            }
        }
        let [ours, theirs] = &figures;
        table.row(&[
            keys.to_string(),
            codec.into(),
            format!("{:.0} -> {:.0}", ours.before.median(), ours.after.median()),
            ours.mb.show(),
            theirs.mb.show(),
            ratio(&ours.mb, &theirs.mb),
            ours.memory(),
            theirs.memory(),
            format!("{} / {}", ours.cpu.show(), theirs.cpu.show()),
        ]);
    }
    table.write(args.out())
}

#[derive(Default)]
struct Passes {
    mb: Figure,
    before: Figure,
    after: Figure,
    idle: Figure,
    peak: Figure,
    cpu: Figure,
}

struct Pass {
    before: u64,
    after: u64,
    seconds: f64,
    idle_mib: f64,
    peak_mib: f64,
    cpu_seconds: f64,
}

impl Passes {
    fn push(&mut self, pass: &Pass) {
        let before = pass.before as f64;
        self.mb.push(before / 1e6 / pass.seconds);
        self.before.push(before / 1e6);
        self.after.push(pass.after as f64 / 1e6);
        self.idle.push(pass.idle_mib);
        self.peak.push(pass.peak_mib);
        self.cpu.push(pass.cpu_seconds / (before / 1e9));
    }

    fn memory(&self) -> String {
        format!("{:.0} -> {:.0}", self.idle.median(), self.peak.median())
    }
}

fn pass(args: &Args, peer: &Peer, topic: &str, keys: u64, codec: &str) -> Result<Pass> {
    let settings = [("segment.bytes", "67108864"), ("min.cleanable.dirty.ratio", "0.01")];
    peer.create(topic, 1, Durability::PageCache, &settings)?;
    let load = Produce {
        bootstrap: peer.bootstrap.clone(),
        topic: topic.into(),
        size: 1024,
        records: ((args.mib as u64) << 20) / 1024,
        partitions: 1,
        producers: 1,
        codec: codec.into(),
        keys,
        forever: false,
    };
    load::run(load.command()?)?;
    let folder = peer.data.join(format!("{topic}-0"));
    peer.chill()?;
    let before = bytes_of(&folder)?;
    proc::forget_peak(peer.pid)?;
    let cpu = proc::cpu_seconds(peer.pid)?;
    let idle_mib = proc::rss_mib(peer.pid)?;
    let began = Instant::now();
    peer.alter(topic, &[("cleanup.policy", "compact")])?;
    let checkpoint = peer.data.join("cleaner-offset-checkpoint");
    until("the cleaner to end", || {
        let done = std::fs::read_to_string(&checkpoint).unwrap_or_default();
        let busy = has(&folder, ".cleaned")? || has(&folder, ".swap")?;
        Ok(!busy && done.contains(topic))
    })?;
    let seconds = began.elapsed().as_secs_f64();
    let pass = Pass {
        before,
        after: bytes_of(&folder)?,
        seconds,
        idle_mib,
        peak_mib: proc::rss_peak_mib(peer.pid)?,
        cpu_seconds: proc::cpu_seconds(peer.pid)? - cpu,
    };
    peer.delete(topic)?;
    Ok(pass)
}

fn until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !done()? {
        ensure!(began.elapsed() < Duration::from_secs(600), "waited ten minutes for {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    Ok(())
}

fn names(folder: &Path) -> Result<Vec<(String, u64)>> {
    let entries = std::fs::read_dir(folder)?.flatten();
    // What goes away while it is looked at is not there.
    Ok(entries
        .filter_map(|entry| {
            Some((entry.file_name().to_string_lossy().into_owned(), entry.metadata().ok()?.len()))
        })
        .collect())
}

fn has(folder: &Path, suffix: &str) -> Result<bool> {
    Ok(names(folder)?.iter().any(|(name, _)| name.ends_with(suffix)))
}

fn bytes_of(folder: &Path) -> Result<u64> {
    Ok(names(folder)?.iter().filter(|(name, _)| name.ends_with(".log")).map(|(_, bytes)| bytes).sum())
}
