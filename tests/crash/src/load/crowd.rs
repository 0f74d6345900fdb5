//! Several idempotent producers on one partition of very small segments: appends are under way while a
//! segment rolls and while the one before is synced. Each one's numbers are there in order, once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::SeqCst};

use anyhow::{Context, Result, bail};
use flumen_client::{At, Client, Producer};
use flumen_types::{Offset, TopicPartition};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use super::{Depth, Pace, create};
use crate::cluster::{Cluster, again};
use crate::read::{View, place, to_end};
use crate::records::{record, send, text, what};

const TOPIC: &str = "crowd";
const PRODUCERS: usize = 6;

/// How far one producer is.
#[derive(Default)]
struct Progress {
    asked: AtomicI64,
    acked: AtomicI64,
}

pub(crate) struct Crowd {
    progress: Arc<Vec<Progress>>,
    checked: Offset,
    /// The number that each producer goes on with; unknown where retention was ahead of the reader.
    next: Vec<Option<i64>>,
}

impl Crowd {
    pub(crate) async fn start(
        cluster: &Arc<Cluster>,
        client: &Client,
        tasks: &mut JoinSet<()>,
    ) -> Result<Crowd> {
        let configs = [
            ("internal.segment.bytes", "4000"),
            ("index.interval.bytes", "500"),
            ("retention.bytes", "1500000"),
        ];
        create(client, TOPIC, 1, &configs).await?;
        let progress: Arc<Vec<Progress>> = Arc::new((0..PRODUCERS).map(|_| Progress::default()).collect());
        for n in 0..PRODUCERS {
            let (cluster, progress) = (cluster.clone(), progress.clone());
            tasks.spawn_local(async move {
                let name = format!("{TOPIC} {n}");
                let client = cluster.client().await;
                let mut rng = cluster.rng(&name);
                let mut producer = None;
                cluster
                    .repeat(&name, async || step(&client, &mut producer, n, &progress[n], &mut rng).await)
                    .await;
            });
        }
        Ok(Crowd { progress, checked: Offset::ZERO, next: vec![Some(0); PRODUCERS] })
    }

    pub(crate) async fn check(&mut self, client: &Client, pace: Pace, depth: Depth) -> Result<()> {
        let at = TopicPartition::new(TOPIC, 0);
        let acked: Vec<i64> = self.progress.iter().map(|one| one.acked.load(SeqCst)).collect();
        let start = place(client, &at, At::Start).await?;
        if depth == Depth::All || start > self.checked {
            self.checked = start;
            self.next = vec![if start == Offset::ZERO { Some(0) } else { None }; PRODUCERS];
        }
        let (records, end) = to_end(client, &at, self.checked, View::Uncommitted).await?;
        let mut expected = self.checked;
        for received in &records {
            let wrong = || format!("{at} at {}", received.offset);
            // Retention may be ahead of the reader, here or at the end. Another gap is offsets that nobody was told of: two
            // segments after one another were begun, and a cut took all that was in the first.
            if received.offset > expected && received.offset <= place(client, &at, At::Start).await? {
                self.next.fill(None);
            }
            expected = received.offset.next();
            self.note(what(&received.record).with_context(wrong)?).with_context(wrong)?;
        }
        if end > expected && end <= place(client, &at, At::Start).await? {
            self.next.fill(None);
        }
        self.checked = end;
        for (n, (one, acked)) in self.progress.iter().zip(acked).enumerate() {
            let (Some(next), asked) = (self.next[n], one.asked.load(SeqCst)) else { continue };
            if next < acked || next > asked || (pace == Pace::Rest && next != acked) {
                bail!(
                    "{at}: expected from {acked} (acknowledged) to {asked} (sent) numbers of producer {n}, {pace:?}; found {next}"
                );
            }
        }
        Ok(())
    }

    fn note(&mut self, found: &str) -> Result<()> {
        let numbers =
            found.split_once(' ').and_then(|(n, number)| Some((n.parse().ok()?, number.parse().ok()?)));
        let Some((n, number)): Option<(usize, i64)> = numbers.filter(|(n, _)| *n < PRODUCERS) else {
            bail!("expected a record of ours, found \"{found}\"");
        };
        if let Some(next) = self.next[n].filter(|next| *next != number) {
            bail!("expected the number {next} of producer {n}, found {number}");
        }
        self.next[n] = Some(number + 1);
        Ok(())
    }

    pub(crate) fn tally(&self) -> String {
        let sum: i64 = self.progress.iter().map(|one| one.acked.load(SeqCst)).sum();
        format!("{sum} of a crowd")
    }
}

async fn step(
    client: &Client,
    producer: &mut Option<Producer>,
    n: usize,
    progress: &Progress,
    rng: &mut StdRng,
) -> Result<()> {
    let producer = match producer {
        Some(producer) => producer,
        None => {
            let new = again(async || Producer::new(client, Cluster::producer_options()).await).await?;
            producer.insert(new)
        }
    };
    let count = rng.random_range(1..5);
    for _ in 0..count {
        let number = progress.asked.fetch_add(1, SeqCst);
        send(producer, TOPIC, 0, record(None, Some(text(&format!("{n} {number}"))))).await?;
    }
    let flushed = producer.flush().await;
    if flushed.written != count {
        bail!("expected {count} records to be written, found {flushed:?}");
    }
    progress.acked.fetch_add(count as i64, SeqCst);
    Ok(())
}
