//! Two groups that commit: one by hand, as often as it can, and a member that reads the numbers. What
//! was committed never goes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, bail};
use flumen_client::{Client, ConsumerOptions, GroupConsumer, OutOfRange};
use flumen_types::{Offset, TopicPartition};
use rand::RngExt;
use tokio::task::JoinSet;

use super::{Pace, numbers};
use crate::cluster::Cluster;

const BY_HAND: &str = "by-hand";
const READERS: &str = "readers";

type Places = BTreeMap<TopicPartition, Offset>;

/// A group's offsets: the least and the most that may be found.
#[derive(Default)]
struct Span {
    acked: Places,
    asked: Places,
}

#[derive(Default)]
struct Book(Mutex<Span>);

impl Book {
    fn asked(&self, places: &Places) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).asked.extend(places.clone());
    }

    fn acked(&self, places: &Places) -> Result<()> {
        let mut span = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (partition, offset) in places {
            let before = span.acked.insert(partition.clone(), *offset);
            if before > Some(*offset) {
                bail!("{partition}: expected the committed offset {before:?} or a later one, found {offset}");
            }
        }
        Ok(())
    }

    fn now(&self) -> (Places, Places) {
        let span = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (span.acked.clone(), span.asked.clone())
    }
}

pub(crate) struct Offsets {
    by_hand: Arc<Book>,
    readers: Arc<Book>,
}

impl Offsets {
    pub(crate) fn start(cluster: &Arc<Cluster>, tasks: &mut JoinSet<()>) -> Offsets {
        let offsets = Offsets { by_hand: Arc::default(), readers: Arc::default() };
        tasks.spawn_local(commit_by_hand(cluster.clone(), offsets.by_hand.clone()));
        tasks.spawn_local(read(cluster.clone(), offsets.readers.clone()));
        offsets
    }

    pub(crate) async fn check(&self, client: &Client, pace: Pace) -> Result<()> {
        for (group, book) in [(BY_HAND, &self.by_hand), (READERS, &self.readers)] {
            let (acked, _) = book.now();
            let found = client.committed(group, None).await?;
            let (at_rest, asked) = book.now();
            // At rest nothing is under way, and by hand every answer is known.
            let least = if pace == Pace::Rest { &at_rest } else { &acked };
            for (partition, least) in least {
                let (found, most) = (found.get(partition), asked.get(partition));
                if found < Some(least) || found > most {
                    bail!(
                        "group {group}, {partition}: expected an offset from {least} to {most:?}, {pace:?}; found {found:?}"
                    );
                }
            }
        }
        Ok(())
    }

    pub(crate) fn tally(&self) -> String {
        let (acked, _) = self.by_hand.now();
        format!("{} commits", acked.values().map(|offset| offset.0).sum::<i64>())
    }
}

async fn commit_by_hand(cluster: Arc<Cluster>, book: Arc<Book>) {
    let client = cluster.client().await;
    let mut rng = cluster.rng(BY_HAND);
    let mut next = Places::new();
    cluster
        .repeat(BY_HAND, async || {
            // Any partition will do: an offset is but a number to the coordinator.
            let partition = TopicPartition::new(numbers::TOPIC, rng.random_range(0..numbers::PARTITIONS));
            let offset = next.entry(partition.clone()).or_default();
            *offset = offset.next();
            let places = Places::from([(partition, *offset)]);
            book.asked(&places);
            client.commit(BY_HAND, &places).await?;
            book.acked(&places)
        })
        .await;
}

/// A member of a group over the numbers. It may lose its place in the group with a kill and read again,
/// never skip.
async fn read(cluster: Arc<Cluster>, book: Arc<Book>) {
    let client = cluster.client().await;
    let mut member = None;
    cluster
        .repeat(READERS, async || {
            let member = member.get_or_insert_with(|| {
                let options = ConsumerOptions {
                    wait_max: std::time::Duration::from_millis(20),
                    out_of_range: OutOfRange::Start,
                    ..ConsumerOptions::default()
                };
                GroupConsumer::new(&client, READERS, vec![numbers::TOPIC.to_owned()], options)
            });
            match member.poll().await {
                // It joined while the broker was away: it joins again.
                Err(error) if error.is_retriable() => return Ok(()),
                polled => drop(polled?),
            }
            if let Some(places) = member.positions() {
                book.asked(places);
            }
            member.commit().await?;
            // A commit of a generation that is over is dropped without a word: what counts is what is seen.
            book.acked(&client.committed(READERS, None).await?)
        })
        .await;
}
