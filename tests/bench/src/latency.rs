//! From the moment a record should be sent to its acknowledgement, 200 a second, open loop.

use std::time::Duration;

use anyhow::Result;
use flumen_client::{Client, NewTopic, Options, Producer, ProducerOptions, Record};
use flumen_types::Timestamp;
use hdrhistogram::Histogram;
use tokio::time::Instant;

use crate::{Peer, median};

const RATE: u32 = 200;
const SECONDS: u32 = 10;

pub(crate) fn compare(peers: &[Peer], runs: usize) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut figures = vec![Vec::new(); peers.len()];
    for run in 0..runs {
        for (peer, figures) in peers.iter().zip(&mut figures) {
            figures.push(runtime.block_on(measure(peer, run))?);
        }
    }
    for (peer, figures) in peers.iter().zip(&figures) {
        let at = |q: f64| median(figures.iter().map(|h| h.value_at_quantile(q) as f64 / 1e3).collect());
        println!(
            "latency {RATE}/s    {:14} p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms",
            peer.name,
            at(0.5),
            at(0.99),
            at(0.999)
        );
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
    let mut producer = Producer::new(&client, ProducerOptions::default()).await?;
    let mut histogram = Histogram::new(3)?;
    let record = Record {
        timestamp: Timestamp(0),
        key: None,
        value: Some(vec![b'x'; 1024].into()),
        headers: Vec::new(),
    };
    let started = Instant::now();
    for i in 0..RATE * SECONDS {
        let intended = started + Duration::from_secs(1) / RATE * i;
        tokio::time::sleep_until(intended).await;
        producer.send(&name, Some(0), record.clone()).await?;
        let flushed = producer.flush().await;
        anyhow::ensure!(flushed.failed == 0, "a record was refused: {:?}", flushed.error);
        // The first second warms up.
        if i >= RATE {
            histogram.record(intended.elapsed().as_micros() as u64)?;
        }
    }
    Ok(histogram)
}
