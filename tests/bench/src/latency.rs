//! From the moment a record should be sent to its acknowledgement, 200 a second, open loop: records are
//! sent at their times by senders that take turns, so that one that waits for the disk holds up no other.

use std::time::{Duration, Instant};

use anyhow::Result;
use flumen_client::{Client, Options, Producer, ProducerOptions, Record};
use flumen_types::Timestamp;
use hdrhistogram::Histogram;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{JoinSet, LocalSet};

use crate::Args;
use crate::figures::{Figure, Table, ratio};
use crate::peers::{self, Durability, Peer};

const RATE: u32 = 200;
const SECONDS: u32 = 10;
/// More than can be under way at once, unless the broker stalls for `SENDERS / RATE` seconds.
const SENDERS: u32 = 32;
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

pub(crate) fn table(args: &Args) -> Result<()> {
    let note = format!(
        "{RATE} records of 1 KiB a second, each from its intended send time to its acknowledgement, {SECONDS} s a \
run, the first second left out; ms, median (range) of the runs. `late`: how far the generator itself was behind."
    );
    let columns = ["ack waits for", "broker", "p50", "p99", "p99.9", "late, p99"];
    let mut table = Table::new("Latency, open loop", &note, &columns);
    let peers = peers::start(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for durability in Durability::BOTH {
        let mut figures: Vec<[Figure; 4]> = peers.iter().map(|_| Default::default()).collect();
        for run in 0..args.runs {
            for (peer, figures) in peers.iter().zip(&mut figures) {
                let topic = format!("latency-{run}");
                peer.create(&topic, 1, durability, &[])?;
                let measured =
                    LocalSet::new().block_on(&runtime, measure(peer.bootstrap.clone(), topic.clone()))?;
                for (figure, quantile) in figures.iter_mut().zip(QUANTILES) {
                    figure.push(measured.acknowledged.value_at_quantile(quantile) as f64 / 1e3);
                }
                figures[3].push(measured.late.value_at_quantile(0.99) as f64 / 1e3);
                peer.delete(&topic)?;
            }
        }
        rows(&mut table, &peers, durability, &figures);
    }
    table.write(args.out())
}

fn rows(table: &mut Table, peers: &[Peer], durability: Durability, figures: &[[Figure; 4]]) {
    for (peer, figures) in peers.iter().zip(figures) {
        let [p50, p99, p999, late] = figures.each_ref().map(Figure::show);
        table.row(&[durability.name(), peer.name, &p50, &p99, &p999, &late]);
    }
    if let [ours, theirs] = figures {
        let [p50, p99, p999] = [0, 1, 2].map(|i| ratio(&ours[i], &theirs[i]));
        table.row(&[durability.name(), "ratio", &p50, &p99, &p999, "-"]);
    }
}

/// Both in microseconds.
struct Measured {
    acknowledged: Histogram<u64>,
    late: Histogram<u64>,
}

impl Measured {
    fn new() -> Result<Measured> {
        Ok(Measured { acknowledged: Histogram::new(3)?, late: Histogram::new(3)? })
    }
}

/// Microseconds from the intended send time: a stall counts for every record that it holds up.
async fn measure(bootstrap: String, topic: String) -> Result<Measured> {
    let mut senders = JoinSet::new();
    let mut turns = Vec::new();
    for _ in 0..SENDERS {
        let (turn, turns_of_one) = unbounded_channel();
        turns.push(turn);
        senders.spawn_local(send(bootstrap.clone(), topic.clone(), turns_of_one));
    }
    let clock = std::thread::spawn(move || tick(&turns));
    let mut all = Measured::new()?;
    while let Some(measured) = senders.join_next().await {
        let measured = measured??;
        all.acknowledged.add(measured.acknowledged)?;
        all.late.add(measured.late)?;
    }
    clock.join().map_err(|_| anyhow::anyhow!("the clock panicked"))?;
    Ok(all)
}

/// A record to be sent, and when.
struct Turn {
    record: u32,
    intended: Instant,
}

/// Gives the senders their turns. A thread of its own: the runtime's timers are a millisecond late.
fn tick(turns: &[UnboundedSender<Turn>]) {
    let started = Instant::now() + Duration::from_millis(300);
    for record in 0..RATE * SECONDS {
        let intended = started + Duration::from_secs(1) / RATE * record;
        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
        // A sender that failed has said so.
        turns[(record % SENDERS) as usize].send(Turn { record, intended }).ok();
    }
}

/// One sender's share of the records.
async fn send(bootstrap: String, topic: String, mut turns: UnboundedReceiver<Turn>) -> Result<Measured> {
    let client = Client::connect(Options::new(bootstrap)).await?;
    let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
    let mut producer = Producer::new(&client, options).await?;
    let mut measured = Measured::new()?;
    let message = Record {
        timestamp: Timestamp(1_700_000_000_000),
        key: None,
        value: Some(vec![b'x'; 1024].into()),
        headers: Vec::new(),
    };
    while let Some(Turn { record, intended }) = turns.recv().await {
        let late = intended.elapsed();
        producer.send(&topic, Some(0), message.clone()).await?;
        let flushed = producer.flush().await;
        anyhow::ensure!(flushed.failed == 0, "a record was refused: {:?}", flushed.error);
        // The first second warms up.
        if record >= RATE {
            measured.acknowledged.record(intended.elapsed().as_micros() as u64)?;
            measured.late.record(late.as_micros() as u64)?;
        }
    }
    Ok(measured)
}
