//! From the moment a record should be sent to its acknowledgement, 200 a second, open loop: records are
//! sent at their times by senders that take turns, so that one that waits for the disk holds up no other.

use std::time::Duration;

use anyhow::Result;
use flumen_client::{Client, NewTopic, Options, Producer, ProducerOptions, Record};
use flumen_types::Timestamp;
use hdrhistogram::Histogram;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::Instant;

use crate::{Peer, median};

const RATE: u32 = 200;
const SECONDS: u32 = 10;
/// More than can be under way at once, unless the broker stalls for `SENDERS / RATE` seconds.
const SENDERS: u32 = 32;

pub(crate) fn compare(peers: &[Peer], runs: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = vec![Vec::new(); peers.len()];
    for run in 0..runs {
        for (peer, figures) in peers.iter().zip(&mut figures) {
            figures.push(LocalSet::new().block_on(&runtime, measure(peer, run))?);
        }
    }
    let quantiles = [0.5, 0.99, 0.999];
    let mut medians = Vec::new();
    for (peer, figures) in peers.iter().zip(&figures) {
        let at = |q: f64| median(figures.iter().map(|h| h.value_at_quantile(q) as f64 / 1e3).collect());
        let [p50, p99, p999] = quantiles.map(at);
        println!("latency {RATE}/s    {:14} p50 {p50:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms", peer.name);
        medians.push([p50, p99, p999]);
    }
    if let [ours, theirs] = medians[..] {
        let [p50, p99, p999] = [0, 1, 2].map(|i| ours[i] / theirs[i]);
        println!("latency {RATE}/s    ratio          p50 {p50:.2} x, p99 {p99:.2} x, p99.9 {p999:.2} x");
    }
    Ok(())
}

/// Microseconds from the intended send time: a stall counts for every record that it holds up.
async fn measure(peer: &Peer, run: usize) -> Result<Histogram<u64>> {
    let client = Client::connect(Options::new(peer.bootstrap.clone())).await?;
    let name = format!("latency-{run}");
    let topic = NewTopic {
        name: name.to_owned(),
        partitions: Some(1),
        replication: Some(1),
        configs: [("flush.messages".to_owned(), "1".to_owned())].into(),
    };
    client.create_topic(&topic, false).await?;
    let started = Instant::now() + Duration::from_millis(100);
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (bootstrap, name) = (peer.bootstrap.clone(), name.clone());
        senders.spawn_local(async move { send(bootstrap, name, sender, started).await });
    }
    let mut all = Histogram::new(3)?;
    while let Some(histogram) = senders.join_next().await {
        all.add(histogram??)?;
    }
    Ok(all)
}

/// One sender's share of the records.
async fn send(bootstrap: String, topic: String, sender: u32, started: Instant) -> Result<Histogram<u64>> {
    let client = Client::connect(Options::new(bootstrap)).await?;
    let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
    let mut producer = Producer::new(&client, options).await?;
    let mut histogram = Histogram::new(3)?;
    let record = Record {
        timestamp: Timestamp(0),
        key: None,
        value: Some(vec![b'x'; 1024].into()),
        headers: Vec::new(),
    };
    for i in (sender..RATE * SECONDS).step_by(SENDERS as usize) {
        let intended = started + Duration::from_secs(1) / RATE * i;
        tokio::time::sleep_until(intended).await;
        producer.send(&topic, Some(0), record.clone()).await?;
        let flushed = producer.flush().await;
        anyhow::ensure!(flushed.failed == 0, "a record was refused: {:?}", flushed.error);
        // The first second warms up.
        if i >= RATE {
            histogram.record(intended.elapsed().as_micros() as u64)?;
        }
    }
    Ok(histogram)
}
