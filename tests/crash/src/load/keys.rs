//! A compacted topic: each key's last acknowledged value is there, and a deleted key stays away.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use flumen_client::{Client, Producer};
use flumen_types::{Offset, TopicPartition};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use super::{Pace, create};
use crate::cluster::{Cluster, PATIENCE, again};
use crate::read::{View, to_end};
use crate::records::{record, send, text, what};

const TOPIC: &str = "latest";
const PARTITIONS: i32 = 2;
const KEYS: usize = 150;
/// A reader that takes longer may miss a tombstone that was there when it began.
const TOMBSTONES: Duration = Duration::from_millis(1500);

/// What was written for one key, by version; true where the version deletes it.
#[derive(Default)]
struct History {
    deletes: Vec<bool>,
    /// How many of them are acknowledged.
    acked: usize,
}

type Book = Mutex<Vec<History>>;

pub(crate) struct Keys {
    book: Arc<Book>,
}

fn partition_of(key: usize) -> i32 {
    key as i32 % PARTITIONS
}

impl Keys {
    pub(crate) async fn start(
        cluster: &Arc<Cluster>,
        client: &Client,
        tasks: &mut JoinSet<()>,
    ) -> Result<Keys> {
        let configs = [
            ("cleanup.policy", "compact"),
            ("internal.segment.bytes", "20000"),
            ("index.interval.bytes", "1000"),
            ("min.cleanable.dirty.ratio", "0.1"),
            ("delete.retention.ms", &TOMBSTONES.as_millis().to_string()),
        ];
        create(client, TOPIC, PARTITIONS, &configs).await?;
        let book: Arc<Book> = Arc::new(Mutex::new((0..KEYS).map(|_| History::default()).collect()));
        let (cluster, shared) = (cluster.clone(), book.clone());
        tasks.spawn_local(async move {
            let client = cluster.client().await;
            let mut rng = cluster.rng(TOPIC);
            let mut producer = None;
            cluster.repeat(TOPIC, async || step(&client, &mut producer, &shared, &mut rng).await).await;
        });
        Ok(Keys { book })
    }

    pub(crate) async fn check(&self, client: &Client, pace: Pace) -> Result<()> {
        let acked: Vec<usize> = self.with(|history| history.acked);
        let mut found = BTreeMap::new();
        for partition in 0..PARTITIONS {
            self.read(client, partition, &mut found).await?;
        }
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, (history, acked)) in book.iter().zip(acked).enumerate() {
            let asked = history.deletes.len();
            // The versions that may be the last one: the acknowledged one and those after it.
            let least = if pace == Pace::Rest { asked } else { acked };
            let fits = match found.get(&key) {
                Some(Some(version)) => (least..=asked).contains(&(version + 1)) && !history.deletes[*version],
                // Its tombstone, or nothing any more.
                Some(None) | None => least == 0 || history.deletes[least - 1..].contains(&true),
            };
            if !fits {
                bail!(
                    "{TOPIC}, key k{key}: expected the version {} or one up to {asked} ({pace:?}, the last deletes: {:?}), found {:?}",
                    acked as i64 - 1,
                    &history.deletes[least.saturating_sub(1)..],
                    found.get(&key)
                );
            }
        }
        Ok(())
    }

    fn with<T>(&self, of: impl Fn(&History) -> T) -> Vec<T> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner).iter().map(of).collect()
    }

    /// The last version of each key, `None` for a tombstone; each key's versions must rise.
    async fn read(
        &self,
        client: &Client,
        partition: i32,
        last: &mut BTreeMap<usize, Option<usize>>,
    ) -> Result<()> {
        let at = TopicPartition::new(TOPIC, partition);
        let deadline = Instant::now() + PATIENCE;
        let records = loop {
            let began = Instant::now();
            let (records, _) = to_end(client, &at, Offset::ZERO, View::Committed).await?;
            if began.elapsed() < TOMBSTONES {
                break records;
            }
            if Instant::now() > deadline {
                bail!("{at}: expected to read it all within {TOMBSTONES:?}, found {:?}", began.elapsed());
            }
        };
        let mut versions: BTreeMap<usize, usize> = BTreeMap::new();
        for received in &records {
            let wrong = || format!("{at} at {}", received.offset);
            let key = received.record.key.as_deref().unwrap_or_default();
            let key =
                std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix('k')?.parse::<usize>().ok());
            let key = key.filter(|key| *key < KEYS && partition_of(*key) == partition);
            let key = key.context("expected a key of ours").with_context(wrong)?;
            let version = match &received.record.value {
                None => None,
                Some(_) => {
                    let found = what(&received.record).with_context(wrong)?;
                    let version =
                        found.strip_prefix(&format!("k{key} ")).and_then(|text| text.parse::<usize>().ok());
                    Some(version.context("expected a value of this key").with_context(wrong)?)
                }
            };
            if let Some(version) = version
                && versions.insert(key, version).is_some_and(|before| before >= version)
            {
                bail!("{}: expected newer versions of k{key} behind older ones, found {version}", wrong());
            }
            last.insert(key, version);
        }
        Ok(())
    }

    pub(crate) fn tally(&self) -> String {
        format!("{} versions", self.with(|history| history.acked).iter().sum::<usize>())
    }
}

async fn step(client: &Client, producer: &mut Option<Producer>, book: &Book, rng: &mut StdRng) -> Result<()> {
    let producer = match producer {
        Some(producer) => producer,
        None => {
            let new = again(async || Producer::new(client, Cluster::producer_options()).await).await?;
            producer.insert(new)
        }
    };
    let count = rng.random_range(1..30);
    for _ in 0..count {
        let key = rng.random_range(0..KEYS);
        let deletes = rng.random_ratio(1, 5);
        let version = {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            book[key].deletes.push(deletes);
            book[key].deletes.len() - 1
        };
        let value = (!deletes).then(|| text(&format!("k{key} {version}")));
        let new = record(Some(&format!("k{key}")), value);
        send(producer, TOPIC, partition_of(key), new).await?;
    }
    let flushed = producer.flush().await;
    if flushed.written != count {
        bail!("expected {count} records to be written, found {flushed:?}");
    }
    for history in book.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
        history.acked = history.deletes.len();
    }
    Ok(())
}
