//! `flumen dlq redrive`: refused records go back to where they came from.
//!
//! Invariants: a transaction holds some records and the progress past them, so that a record is sent
//! back once or not at all. Each goes to the partition it came from, if there is one, in its order. A
//! second redrive of the topic fences the first.

use std::collections::{BTreeMap, HashMap};

use flumen_client::{Client, Fetched, Received, Record, Transactions, partitioner};
use flumen_types::{Offset, TopicPartition};
use serde_json::json;

use super::letter::{Letter, is_shortened, original};
use super::stretch::Stretch;
use crate::cli::kafka::{self, failed};
use crate::cli::{Failure, Out, Outcome};

/// One transaction takes this many records at most.
const RECORDS_MAX: usize = 500;

pub(super) async fn run(
    client: &Client,
    name: &str,
    to: Option<String>,
    max: Option<u64>,
    out: &Out,
) -> Outcome {
    let topic = kafka::topic(client, name).await?;
    let what = || format!("cannot redrive \"{name}\"");
    let group = super::group(name);
    let transactions = Transactions::begin(client, &group).await.map_err(failed(what()))?;
    // Looked up behind the fence: nobody else moves it any more.
    let waiting = super::waiting(client, &topic).await?;
    let count = waiting.values().map(|waiting| waiting.count() as u64).sum::<u64>();
    let bar = out.progress("redriving", count.min(max.unwrap_or(u64::MAX)));
    let mut redrive = Redrive {
        client,
        transactions,
        group,
        to,
        partitions: HashMap::new(),
        left: max.unwrap_or(u64::MAX),
        done: 0,
    };
    let mut stretch = Stretch::new(client, waiting.iter().map(|(p, w)| (p.clone(), w.next, w.end)));
    while let Some(read) = stretch.next().await.map_err(failed(what()))? {
        for fetched in read {
            let sent = redrive.send(&fetched).await;
            sent.map_err(|failure| match failure.todo {
                Some(_) => failure,
                None => {
                    failure.todo(format!("{} records were redriven; run it again for the rest", redrive.done))
                }
            })?;
            bar.set_position(redrive.done);
        }
        if redrive.left == 0 {
            break;
        }
    }
    bar.finish_and_clear();
    if out.json() {
        return Ok(out.document(&json!({ "topic": name, "redriven": redrive.done }))?);
    }
    Ok(out.line(format!("{} records of \"{name}\" redriven", redrive.done))?)
}

/// One redrive under way.
struct Redrive<'a> {
    client: &'a Client,
    transactions: Transactions,
    group: String,
    to: Option<String>,
    /// How many partitions each target has.
    partitions: HashMap<String, i32>,
    left: u64,
    done: u64,
}

impl Redrive<'_> {
    /// Some transactions, and the progress past all that was fetched, or past the last that may go.
    async fn send(&mut self, fetched: &Fetched) -> Outcome {
        let take = fetched.records.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let taken = &fetched.records[..take];
        for batch in taken.chunks(RECORDS_MAX) {
            let last = batch.last().map_or(fetched.next, |last| last.offset.next());
            // Behind the last one there may be markers, which nobody needs to look at again.
            let is_all = last > fetched.records.last().map_or(last, |last| last.offset);
            let progress = if is_all { fetched.next } else { last };
            if let Err(failure) = self.transaction(&fetched.partition, batch, progress).await {
                // What cannot be aborted now is aborted by the next redrive, which fences this one.
                let _ = self.transactions.end(false).await;
                return Err(failure);
            }
            self.done += batch.len() as u64;
            self.left -= batch.len() as u64;
        }
        Ok(())
    }

    async fn transaction(&mut self, from: &TopicPartition, batch: &[Received], progress: Offset) -> Outcome {
        let mut targets: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
        for received in batch {
            let target = self.target(from, received).await?;
            targets.entry(target).or_default().push(original(&received.record));
        }
        for (target, records) in &targets {
            let what = format!("cannot write to {target}");
            self.transactions.send(target, records).await.map_err(failed(what))?;
        }
        let what = || format!("cannot commit the redrive of {from}");
        let offsets = BTreeMap::from([(from.clone(), progress)]);
        self.transactions.offsets(&self.group, &offsets).await.map_err(failed(what()))?;
        self.transactions.end(true).await.map_err(failed(what()))
    }

    /// Where a record belongs.
    async fn target(
        &mut self,
        from: &TopicPartition,
        received: &Received,
    ) -> Result<TopicPartition, Failure> {
        let letter = Letter::of(&received.record).unwrap_or_default();
        if self.to.is_none() && is_shortened(&received.record) {
            let what = format!("{from} at offset {} is only the beginning of its record", received.offset);
            let todo =
                format!("the whole may still be at {}; see to it, then drop the letter", letter.from());
            return Err(Failure::new(what).todo(todo));
        }
        let topic = match &self.to {
            Some(to) => to.clone(),
            None if !letter.topic.is_empty() => letter.topic.clone(),
            None => {
                let at = received.offset;
                let what = match letter.origin.as_str() {
                    "" => format!("{from} at offset {at} does not say which topic it came from"),
                    origin => {
                        format!("{from} at offset {at} is input that a source could not read: {origin}")
                    }
                };
                return Err(Failure::new(what).todo("name a topic with --to"));
            }
        };
        let partitions = match self.partitions.get(&topic) {
            Some(partitions) => *partitions,
            None => {
                let partitions = kafka::topic(self.client, &topic).await?.partitions.len().max(1) as i32;
                self.partitions.insert(topic.clone(), partitions);
                partitions
            }
        };
        let is_home = self.to.is_none();
        let same = letter.partition.filter(|partition| is_home && (0..partitions).contains(partition));
        let by_key = || received.record.key.as_deref().map(|key| partitioner::for_key(key, partitions));
        Ok(TopicPartition::new(topic, same.or_else(by_key).unwrap_or(0)))
    }
}
