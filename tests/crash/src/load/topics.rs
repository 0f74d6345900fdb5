//! Topics that come and go under the same few names: one that was created is there with its records and
//! its settings, one that was deleted stays away, and a new one of the same name has nothing of the old.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, bail};
use flumen_client::{Change, Client, Error, NewTopic, Producer};
use flumen_types::{Offset, TopicPartition};
use rand::RngExt;
use rand::rngs::StdRng;
use tokio::task::JoinSet;

use super::Pace;
use crate::cluster::{Cluster, again};
use crate::read::{View, to_end};
use crate::records::{record, send, text, what};

const NAMES: usize = 8;
const NAMES_FEW: usize = 3;
/// So many that the broker syncs them all at once.
const MANY: i32 = 40;

/// One topic of a name.
#[derive(Clone, Debug, Default)]
struct Life {
    /// Counts the topics that the name has had.
    number: usize,
    state: State,
    partitions: i32,
    retention_ms: i64,
    /// Records of partition 0, as far as they were sent and acknowledged.
    sent: usize,
    acked: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Gone,
    /// An answer is missing: creation, deletion or a change is under way.
    Unsure,
    There,
}

type Book = Mutex<Vec<Life>>;

pub(crate) struct Topics {
    book: Arc<Book>,
}

fn lock(book: &Book) -> MutexGuard<'_, Vec<Life>> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(n: usize) -> String {
    format!("short-lived-{n}")
}

impl Topics {
    pub(crate) fn start(cluster: &Arc<Cluster>, few: bool, tasks: &mut JoinSet<()>) -> Topics {
        let names = if few { NAMES_FEW } else { NAMES };
        let book: Arc<Book> = Arc::new(Mutex::new(vec![Life::default(); names]));
        let (cluster, shared) = (cluster.clone(), book.clone());
        tasks.spawn_local(async move {
            let client = cluster.client().await;
            let mut rng = cluster.rng("topics");
            cluster.repeat("topics", async || step(&client, &shared, &mut rng).await).await;
        });
        Topics { book }
    }

    pub(crate) async fn check(&self, client: &Client, pace: Pace) -> Result<()> {
        let names = lock(&self.book).len();
        for n in 0..names {
            let before = lock(&self.book)[n].clone();
            let found = look(client, n, &before).await;
            let after = lock(&self.book)[n].clone();
            // Changed while we looked: the next check sees it.
            if before.state == State::Unsure || after.state != before.state || after.number != before.number {
                if pace == Pace::Rest {
                    bail!("{}: expected nothing under way at rest, found {before:?}", name(n));
                }
                continue;
            }
            found.and_then(|found| judge(found, &before, &after)).with_context(|| name(n))?;
        }
        Ok(())
    }

    pub(crate) fn tally(&self) -> String {
        format!("{} topics", lock(&self.book).iter().map(|life| life.number).sum::<usize>())
    }
}

/// What is there of a name.
struct Found {
    partitions: i32,
    retention_ms: Option<String>,
    records: Vec<String>,
}

async fn look(client: &Client, n: usize, life: &Life) -> Result<Option<Found>> {
    let topics = client.topics().await?;
    let Some(topic) = topics.iter().find(|topic| *topic.name == *name(n)) else { return Ok(None) };
    if life.state == State::Gone {
        return Ok(Some(Found {
            partitions: topic.partitions.len() as i32,
            retention_ms: None,
            records: vec![],
        }));
    }
    let configs = client.topic_configs(&name(n)).await?;
    let retention = configs.into_iter().find(|config| config.name == "retention.ms");
    let (records, _) =
        to_end(client, &TopicPartition::new(name(n), 0), Offset::ZERO, View::Committed).await?;
    let records =
        records.iter().map(|received| Ok(what(&received.record)?.to_owned())).collect::<Result<_>>()?;
    Ok(Some(Found {
        partitions: topic.partitions.len() as i32,
        retention_ms: retention.and_then(|config| config.value),
        records,
    }))
}

fn judge(found: Option<Found>, before: &Life, after: &Life) -> Result<()> {
    let found = match (found, before.state) {
        (None, State::Gone) => return Ok(()),
        (Some(found), State::Gone) => {
            bail!(
                "expected a topic that was deleted to stay away, found it with {} partitions",
                found.partitions
            )
        }
        (None, _) => bail!("expected a topic that was created ({before:?}), found none"),
        (Some(found), _) => found,
    };
    if !(before.partitions..=after.partitions).contains(&found.partitions) {
        bail!("expected {} partitions, found {}", before.partitions, found.partitions);
    }
    let retention = before.retention_ms.to_string();
    if before.retention_ms == after.retention_ms && found.retention_ms.as_deref() != Some(&*retention) {
        bail!("expected retention.ms = {retention}, found {:?}", found.retention_ms);
    }
    for (index, record) in found.records.iter().enumerate() {
        if *record != format!("{} {index}", before.number) {
            bail!(
                "at {index}: expected the record of topic {} of this name, found \"{record}\"",
                before.number
            );
        }
    }
    if found.records.len() < before.acked || found.records.len() > after.sent {
        bail!("expected {} to {} records, found {}", before.acked, after.sent, found.records.len());
    }
    Ok(())
}

async fn step(client: &Client, book: &Book, rng: &mut StdRng) -> Result<()> {
    let names = lock(book).len();
    let few = names == NAMES_FEW;
    let n = rng.random_range(0..names);
    let life = lock(book)[n].clone();
    let life = match (life.state, rng.random_range(0..10)) {
        (State::Gone, _) => {
            let next = Life {
                number: life.number + 1,
                partitions: match rng.random_range(0..10) {
                    _ if few => 1,
                    0 => MANY,
                    _ => rng.random_range(1..4),
                },
                retention_ms: rng.random_range(1_000_000_000..2_000_000_000),
                state: State::There,
                ..Life::default()
            };
            lock(book)[n] = Life { state: State::Unsure, ..next.clone() };
            create(client, n, &next).await?;
            next
        }
        (_, 0..3) => {
            lock(book)[n].state = State::Unsure;
            delete(client, n).await?;
            Life { state: State::Gone, ..life }
        }
        (_, 3) if !few && (life.partitions < 5 || life.partitions == MANY) => {
            let next = Life { partitions: life.partitions + 1, ..life };
            lock(book)[n].state = State::Unsure;
            grow(client, n, next.partitions).await?;
            next
        }
        (_, 4..6) => {
            let next = Life { retention_ms: life.retention_ms + 1, ..life };
            lock(book)[n].state = State::Unsure;
            again(async || {
                let change = Change::Set("retention.ms".into(), next.retention_ms.to_string());
                client.alter_topic(&name(n), &[change], false).await
            })
            .await?;
            next
        }
        _ => write(client, book, n, rng).await?,
    };
    lock(book)[n] = life;
    Ok(())
}

fn refused(error: &Error, code: &str) -> bool {
    error.code().is_some_and(|found| format!("{found:?}") == code)
}

async fn create(client: &Client, n: usize, life: &Life) -> Result<()> {
    let topic = NewTopic {
        name: name(n),
        partitions: Some(life.partitions),
        replication: Some(1),
        configs: BTreeMap::from([("retention.ms".to_owned(), life.retention_ms.to_string())]),
    };
    let mut tries = 0;
    let created = again(async || {
        tries += 1;
        client.create_topic(&topic, false).await
    });
    match created.await {
        // An earlier try has done it.
        Err(error) if tries > 1 && refused(&error, "TopicAlreadyExists") => Ok(()),
        done => Ok(done?),
    }
}

async fn delete(client: &Client, n: usize) -> Result<()> {
    let mut tries = 0;
    loop {
        tries += 1;
        match client.delete_topic(&name(n)).await {
            // "Unknown" is retriable to Kafka: but here it is the answer.
            Err(error) if refused(&error, "UnknownTopicOrPartition") => {
                return if tries > 1 { Ok(()) } else { Err(error.into()) };
            }
            Err(error) if error.is_retriable() => {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await
            }
            done => return Ok(done?),
        }
    }
}

async fn grow(client: &Client, n: usize, partitions: i32) -> Result<()> {
    let mut tries = 0;
    let grown = again(async || {
        tries += 1;
        client.grow_topic(&name(n), partitions, false).await
    });
    match grown.await {
        Err(error) if tries > 1 && refused(&error, "InvalidPartitions") => Ok(()),
        done => Ok(done?),
    }
}

async fn write(client: &Client, book: &Book, n: usize, rng: &mut StdRng) -> Result<Life> {
    let count = rng.random_range(1..10);
    let mut producer = again(async || Producer::new(client, Cluster::producer_options()).await).await?;
    for _ in 0..count {
        let what = {
            let life = &mut lock(book)[n];
            life.sent += 1;
            format!("{} {}", life.number, life.sent - 1)
        };
        send(&mut producer, &name(n), 0, record(None, Some(text(&what)))).await?;
    }
    let flushed = producer.flush().await;
    if flushed.written != count {
        bail!("{}: expected {count} records to be written, found {flushed:?}", name(n));
    }
    let life = lock(book)[n].clone();
    Ok(Life { acked: life.sent, ..life })
}
