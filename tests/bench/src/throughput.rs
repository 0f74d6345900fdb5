//! How fast librdkafka, by `kcat`, writes to and reads from each broker.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};
use flumen_client::{Client, NewTopic, Options};
use flumen_harness::clients::kcat;
use flumen_harness::process;

use crate::{Args, Peer, cpu, report};

/// Lines of `size` bytes with their line end, printable and not compressible to nothing.
fn lines(dir: &Path, size: usize, mib: usize) -> Result<(PathBuf, usize)> {
    let path = dir.join(format!("lines-{size}-{mib}"));
    let count = mib * (1 << 20) / size;
    let mut out = BufWriter::new(File::create(&path)?);
    let mut state = 1_u64;
    let mut line = vec![b'x'; size];
    line[size - 1] = b'\n';
    for _ in 0..count {
        for byte in &mut line[..size.min(64) - 1] {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = b'a' + (state >> 33) as u8 % 26;
        }
        out.write_all(&line)?;
    }
    // On the disk before anybody is measured, who would wait for it at the first sync.
    out.into_inner()?.sync_all()?;
    Ok((path, count))
}

/// A fresh topic of one partition; Kafka is told to flush each batch before it answers, as Flumen does.
fn topic(peer: &Peer, name: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client = Client::connect(Options::new(peer.bootstrap.clone())).await?;
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: Some(1),
            replication: Some(1),
            configs: [("flush.messages".to_owned(), "1".to_owned())].into(),
        };
        client.create_topic(&topic, false).await?;
        Ok(())
    })
}

fn write(peer: &Peer, topic: &str, file: &Path) -> Result<()> {
    let file = file.display().to_string();
    let args = [
        "-P",
        "-b",
        &peer.bootstrap,
        "-t",
        topic,
        "-p",
        "0",
        "-l",
        &file,
        "-X",
        "acks=all",
        "-X",
        "linger.ms=5",
        "-X",
        "batch.size=1000000",
        "-X",
        "queue.buffering.max.messages=2000000",
        "-X",
        "queue.buffering.max.kbytes=262144",
    ];
    process::run("kcat -P", &mut kcat(&args));
    Ok(())
}

pub(crate) fn produce(peers: &[Peer], args: &Args, size: usize, what: &str) -> Result<()> {
    let (file, count) = lines(&args.dir, size, args.mib)?;
    let gb = (count * size) as f64 / 1e9;
    let mut figures: Vec<_> = peers.iter().map(|p| (p.name, Vec::new(), Vec::new())).collect();
    for run in 0..args.runs {
        for (peer, (_, speeds, cpus)) in peers.iter().zip(&mut figures) {
            let name = format!("produce-{size}-{run}");
            topic(peer, &name)?;
            let (cpu_before, started) = (cpu::seconds(peer.pid)?, Instant::now());
            write(peer, &name, &file)?;
            let seconds = started.elapsed().as_secs_f64();
            speeds.push(if size < 1000 { count as f64 / seconds / 1e3 } else { gb * 1e3 / seconds });
            cpus.push((cpu::seconds(peer.pid)? - cpu_before) / gb);
        }
    }
    std::fs::remove_file(file).context("the input file")?;
    report(what, if size < 1000 { "k/s " } else { "MB/s" }, &figures);
    Ok(())
}

pub(crate) fn fetch(peers: &[Peer], args: &Args) -> Result<()> {
    let (file, count) = lines(&args.dir, 1024, args.mib)?;
    let gb = (count * 1024) as f64 / 1e9;
    let mut figures: Vec<_> = peers.iter().map(|p| (p.name, Vec::new(), Vec::new())).collect();
    for peer in peers {
        topic(peer, "fetch")?;
        write(peer, "fetch", &file)?;
    }
    for _ in 0..args.runs {
        for (peer, (_, speeds, cpus)) in peers.iter().zip(&mut figures) {
            let (cpu_before, started) = (cpu::seconds(peer.pid)?, Instant::now());
            let mut read = kcat(&[
                "-C",
                "-q",
                "-e",
                "-b",
                &peer.bootstrap,
                "-t",
                "fetch",
                "-p",
                "0",
                "-o",
                "beginning",
                "-X",
                "check.crcs=false",
                "-X",
                "fetch.message.max.bytes=8000000",
                "-f",
                "",
            ]);
            let status = read.stdout(Stdio::null()).status()?;
            anyhow::ensure!(status.success(), "kcat -C ended with {status}");
            let seconds = started.elapsed().as_secs_f64();
            speeds.push(gb * 1e3 / seconds);
            cpus.push((cpu::seconds(peer.pid)? - cpu_before) / gb);
        }
    }
    std::fs::remove_file(file).context("the input file")?;
    report("fetch 1 KiB", "MB/s", &figures);
    Ok(())
}
