//! An idempotent producer that writes 0, 1, 2, … to each partition of a topic of small segments, so that
//! they roll and retention takes them all the time. Nothing else is in the topic: the record at offset
//! n is n, there is no gap, and what is asked of DeleteRecords stays away.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use anyhow::{Context, Result, bail};
use flumen_client::{At, Client, Producer, Received};
use flumen_types::{Offset, TopicPartition};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use super::{Depth, Pace, create};
use crate::cluster::{Cluster, again};
use crate::read::{View, place, to_end};
use crate::records::{record, send, text, what};

pub(crate) const TOPIC: &str = "numbers";
pub(crate) const PARTITIONS: i32 = 3;
const SEGMENT: &str = "40000";
const RETAINED: i64 = 600_000;

/// How far a partition is, in numbers.
#[derive(Default)]
struct Progress {
    asked: AtomicI64,
    acked: AtomicI64,
    /// DeleteRecords, as far as it was asked for and acknowledged.
    cut_asked: AtomicI64,
    cut_acked: AtomicI64,
}

pub(crate) struct Numbers {
    progress: Arc<Vec<Progress>>,
    checked: Vec<Offset>,
}

fn partition(n: usize) -> TopicPartition {
    TopicPartition::new(TOPIC, n as i32)
}

impl Numbers {
    pub(crate) async fn start(
        cluster: &Arc<Cluster>,
        client: &Client,
        tasks: &mut JoinSet<()>,
    ) -> Result<Numbers> {
        let configs = [
            ("internal.segment.bytes", SEGMENT),
            ("index.interval.bytes", "1000"),
            ("retention.bytes", &RETAINED.to_string()),
        ];
        create(client, TOPIC, PARTITIONS, &configs).await?;
        let progress: Arc<Vec<Progress>> = Arc::new((0..PARTITIONS).map(|_| Progress::default()).collect());
        let (cluster, shared) = (cluster.clone(), progress.clone());
        tasks.spawn_local(async move {
            let client = cluster.client().await;
            let mut rng = cluster.rng(TOPIC);
            let mut producer = None;
            cluster.repeat(TOPIC, async || step(&client, &mut producer, &shared, &mut rng).await).await;
        });
        Ok(Numbers { progress, checked: vec![Offset::ZERO; PARTITIONS as usize] })
    }

    pub(crate) async fn check(&mut self, client: &Client, pace: Pace, depth: Depth) -> Result<()> {
        for n in 0..self.progress.len() {
            self.check_one(client, n, pace, depth).await?;
        }
        Ok(())
    }

    async fn check_one(&mut self, client: &Client, n: usize, pace: Pace, depth: Depth) -> Result<()> {
        let (partition, progress) = (partition(n), &self.progress[n]);
        let (acked, cut) = (progress.acked.load(SeqCst), progress.cut_acked.load(SeqCst));
        let start = place(client, &partition, At::Start).await?;
        if start.0 < cut {
            bail!(
                "{partition}: expected records before {cut} to stay deleted, found the log to start at {start}"
            );
        }
        let from = if depth == Depth::All { start } else { self.checked[n].max(start) };
        let (records, end) = to_end(client, &partition, from, View::Uncommitted).await?;
        let mut expected = from;
        for received in &records {
            // Retention and DeleteRecords may be ahead of the reader, never of where the log starts.
            if received.offset > expected && received.offset > place(client, &partition, At::Start).await? {
                bail!(
                    "{partition}: expected the record at {expected}, found {} behind a gap",
                    received.offset
                );
            }
            let found =
                what(&received.record).with_context(|| format!("{partition} at {}", received.offset))?;
            if received.offset < expected || found != format!("{n} {}", received.offset) {
                bail!("{partition} at {}: expected \"{n} {expected}\", found \"{found}\"", received.offset);
            }
            expected = received.offset.next();
        }
        if end > expected && end > place(client, &partition, At::Start).await? {
            bail!("{partition}: expected the record at {expected}, found the end at {end} behind a gap");
        }
        check_times(client, &partition, &records).await?;
        let asked = progress.asked.load(SeqCst);
        if end.0 < acked || end.0 > asked || (pace == Pace::Rest && end.0 != acked) {
            bail!(
                "{partition}: expected to end from {acked} (acknowledged) to {asked} (sent), {pace:?}; found {end}"
            );
        }
        self.check_retained(n, start, acked)?;
        self.checked[n] = end;
        Ok(())
    }

    /// Retention leaves as much as it was told to, in whole segments; half of it is left room for.
    fn check_retained(&self, n: usize, start: Offset, acked: i64) -> Result<()> {
        if start.0 <= self.progress[n].cut_asked.load(SeqCst) {
            return Ok(());
        }
        let bytes = |from: i64| (from..acked).map(|at| text(&format!("{n} {at}")).len() as i64).sum::<i64>();
        match bytes(start.0) {
            kept if kept >= RETAINED / 2 => Ok(()),
            kept => bail!(
                "{}: expected {RETAINED} bytes to be retained, found {kept} from {start} to {acked}",
                partition(n)
            ),
        }
    }

    pub(crate) fn tally(&self) -> String {
        let sum: i64 = self.progress.iter().map(|one| one.acked.load(SeqCst)).sum();
        format!("{sum} numbers")
    }
}

/// The index by time finds what is there: some record's own time leads to the first of that time.
async fn check_times(client: &Client, partition: &TopicPartition, records: &[Received]) -> Result<()> {
    for at in [records.len() / 4, records.len() / 2, records.len() * 3 / 4] {
        let Some(time) = records.get(at).map(|received| received.record.timestamp) else { continue };
        let first = records.partition_point(|received| received.record.timestamp < time);
        if first == 0 {
            continue;
        }
        let found = place(client, partition, At::Time(time)).await?;
        // Retention may be ahead of the reader.
        let gone = records[first].offset < found && found <= place(client, partition, At::Start).await?;
        if found != records[first].offset && !gone {
            bail!("{partition}: expected {} for time {time:?}, found {found}", records[first].offset);
        }
    }
    Ok(())
}

/// A burst to all partitions; now and then a deletion.
async fn step(
    client: &Client,
    producer: &mut Option<Producer>,
    progress: &[Progress],
    rng: &mut StdRng,
) -> Result<()> {
    let producer = match producer {
        Some(producer) => producer,
        None => {
            let new = again(async || Producer::new(client, Cluster::producer_options()).await).await?;
            producer.insert(new)
        }
    };
    let mut sent = 0;
    for (n, one) in progress.iter().enumerate() {
        for _ in 0..rng.random_range(0..20) {
            let number = one.asked.fetch_add(1, SeqCst);
            let value = text(&format!("{n} {number}"));
            send(producer, TOPIC, n as i32, record(None, Some(value))).await?;
            sent += 1;
        }
    }
    let flushed = producer.flush().await;
    if flushed.written != sent {
        bail!("expected {sent} records to be written, found {flushed:?}");
    }
    for one in progress {
        one.acked.store(one.asked.load(SeqCst), SeqCst);
    }
    if rng.random_ratio(1, 60) {
        let n = rng.random_range(0..progress.len());
        let before = rng.random_range(0..=progress[n].acked.load(SeqCst));
        progress[n].cut_asked.fetch_max(before, SeqCst);
        // Where the log starts already, deleting less changes nothing.
        match client.delete_records(&partition(n), Offset(before)).await {
            Ok(_) => drop(progress[n].cut_acked.fetch_max(before, SeqCst)),
            Err(error) => bail!("DeleteRecords before {before}: {error}"),
        }
    }
    Ok(())
}
