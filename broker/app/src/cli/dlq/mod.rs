//! `flumen dlq`: what plugins could not do.
//!
//! A dead-letter topic is a plain topic. Each of its records has the key, value and headers of the one
//! that was refused, and headers `flumen.error.*` that say where it came from and why. What has been
//! redriven is the offset of group `flumen.dlq.<topic>`, committed in the same transaction as the
//! records themselves: nothing is redriven twice, whenever it stops.

mod letter;
mod redrive;
mod stretch;

use std::collections::BTreeMap;

use clap::Subcommand;
use flumen_client::{At, Client, Topic};
use flumen_types::{Offset, TopicPartition};
use serde_json::json;

use super::kafka::{self, Broker, failed};
use super::out::Value;
use super::{Failure, Out, Outcome, block_on, format};
use letter::Letter;
use stretch::Stretch;

/// List, show, redrive and drop records that plugins have refused
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    broker: Broker,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List dead-letter topics with what waits in them
    List,
    /// Show records of a dead-letter topic with what was wrong with them
    Show {
        topic: String,
        /// No more than this many
        #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 20)]
        max: usize,
        /// Those that have been redriven too
        #[arg(long)]
        all: bool,
        /// Their values too
        #[arg(long)]
        values: bool,
    },
    /// Send records back to the topics they came from, each once
    Redrive {
        topic: String,
        /// To this topic instead
        #[arg(long, value_name = "TOPIC")]
        to: Option<String>,
        /// No more than this many
        #[arg(long, short = 'n', value_name = "COUNT")]
        max: Option<u64>,
    },
    /// Delete records of a dead-letter topic; shows what would go, and does it with --execute
    Drop(DropArgs),
}

#[derive(clap::Args)]
struct DropArgs {
    topic: String,
    #[command(flatten)]
    what: What,
    /// Only this partition
    #[arg(long, short)]
    partition: Option<i32>,
    /// Do it; without this the plan is only shown
    #[arg(long)]
    execute: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// What has been redriven
    #[arg(long)]
    redriven: bool,
    /// Everything
    #[arg(long)]
    all: bool,
    /// What lies before this offset of --partition
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    before: Option<i64>,
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    block_on(async {
        let client = args.broker.connect().await?;
        match args.command {
            Command::List => list(&client, out).await,
            Command::Show { topic, max, all, values } => show(&client, &topic, max, all, values, out).await,
            Command::Redrive { topic, to, max } => redrive::run(&client, &topic, to, max, out).await,
            Command::Drop(drop) => self::drop(&client, drop, out).await,
        }
    })
}

/// Where each partition of a dead-letter topic stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Waiting {
    start: Offset,
    /// The first that has not been redriven.
    next: Offset,
    end: Offset,
}

impl Waiting {
    fn count(self) -> i64 {
        self.end.since(self.next).max(0)
    }
}

fn group(topic: &str) -> String {
    format!("flumen.dlq.{topic}")
}

async fn waiting(client: &Client, topic: &Topic) -> Result<BTreeMap<TopicPartition, Waiting>, Failure> {
    let what = || format!("cannot look into \"{}\"", topic.name);
    let partitions = kafka::partitions(topic, &[])?;
    let starts = client.offsets_at(&partitions, At::Start).await.map_err(failed(what()))?;
    let ends = client.offsets_at(&partitions, At::StableEnd).await.map_err(failed(what()))?;
    let redriven = client.committed(&group(&topic.name), Some(&partitions)).await.map_err(failed(what()))?;
    let place = |partition: TopicPartition| {
        let at = |of: &BTreeMap<TopicPartition, Option<Offset>>| {
            of.get(&partition).copied().flatten().unwrap_or_default()
        };
        let (start, end) = (at(&starts), at(&ends));
        let next = redriven.get(&partition).copied().unwrap_or(start).max(start);
        (partition, Waiting { start, next, end })
    };
    Ok(partitions.into_iter().map(place).collect())
}

async fn list(client: &Client, out: &Out) -> Outcome {
    let what = || "cannot look into topics";
    let topics = client.topics().await.map_err(failed("cannot list topics"))?;
    let mut found = Vec::new();
    for topic in topics.iter().filter(|topic| !topic.internal) {
        let waiting = waiting(client, topic).await?;
        if let Some(letter) = latest(client, &waiting).await.map_err(failed(what()))? {
            found.push((topic, count(client, &waiting).await.map_err(failed(what()))?, letter));
        }
    }
    if out.json() {
        let topics = found.iter().map(|(topic, count, letter)| {
            json!({
                "topic": topic.name, "waiting": count.records, "exact": count.exact, "latest": letter.to_json(),
            })
        });
        return Ok(out.document(&topics.collect::<Vec<_>>())?);
    }
    if found.is_empty() {
        out.note("no topic holds records that a plugin has refused");
        return Ok(());
    }
    let rows = found.iter().map(|(topic, count, letter)| {
        let waiting = if count.exact { count.records.to_string() } else { format!("< {}", count.records) };
        [
            Value::text(&topic.name),
            Value::number(waiting),
            Value::text(format::time(letter.timestamp)),
            Value::text(&letter.plugin),
            Value::text(&letter.reason),
        ]
    });
    Ok(out.table(["TOPIC", "WAITING", "LATEST", "PLUGIN", "REASON"], rows)?)
}

/// How many records wait. Some offsets belong to the markers of transactions, so that only reading tells.
struct Count {
    records: u64,
    exact: bool,
}

/// Beyond so many offsets their number must do.
const COUNTED_MAX: u64 = 100_000;

async fn count(
    client: &Client,
    waiting: &BTreeMap<TopicPartition, Waiting>,
) -> Result<Count, flumen_client::Error> {
    let offsets = waiting.values().map(|waiting| waiting.count() as u64).sum();
    if offsets > COUNTED_MAX {
        return Ok(Count { records: offsets, exact: false });
    }
    let mut stretch = Stretch::new(client, waiting.iter().map(|(p, w)| (p.clone(), w.next, w.end)));
    let mut records = 0;
    while let Some(read) = stretch.next().await? {
        records += read.iter().map(|fetched| fetched.records.len() as u64).sum::<u64>();
    }
    Ok(Count { records, exact: true })
}

/// The newest dead letter of a topic; none if it holds other things. A few offsets at each end may
/// belong to markers of transactions.
async fn latest(
    client: &Client,
    waiting: &BTreeMap<TopicPartition, Waiting>,
) -> Result<Option<Letter>, flumen_client::Error> {
    const TAIL: i64 = 8;
    let tails = waiting.iter().map(|(partition, waiting)| {
        let from = Offset(waiting.end.0 - TAIL).max(waiting.start);
        (partition.clone(), from, waiting.end)
    });
    let mut stretch = Stretch::new(client, tails);
    let mut latest: Option<Letter> = None;
    while let Some(read) = stretch.next().await? {
        for received in read.into_iter().flat_map(|fetched| fetched.records) {
            let letter = Letter::of(&received.record);
            if letter
                .as_ref()
                .is_some_and(|new| latest.as_ref().is_none_or(|old| old.timestamp <= new.timestamp))
            {
                latest = letter;
            }
        }
    }
    Ok(latest)
}

async fn show(client: &Client, name: &str, max: usize, all: bool, values: bool, out: &Out) -> Outcome {
    let topic = kafka::topic(client, name).await?;
    let waiting = waiting(client, &topic).await?;
    let from = |waiting: &Waiting| if all { waiting.start } else { waiting.next };
    let mut stretch =
        Stretch::new(client, waiting.iter().map(|(partition, w)| (partition.clone(), from(w), w.end)));
    let mut rows = Vec::new();
    while let Some(read) = stretch.next().await.map_err(failed(format!("cannot read \"{name}\"")))? {
        for fetched in read {
            let room = max.saturating_sub(rows.len());
            rows.extend(
                fetched.records.into_iter().take(room).map(|received| (fetched.partition.clone(), received)),
            );
        }
        if rows.len() >= max {
            break;
        }
    }
    if out.json() {
        for (partition, received) in &rows {
            let mut json = format::json(partition, received);
            json["error"] =
                Letter::of(&received.record).map_or(serde_json::Value::Null, |letter| letter.to_json());
            out.line(json.to_string())?;
        }
        return Ok(());
    }
    let text =
        |bytes: Option<&[u8]>| bytes.map_or_else(|| "-".into(), |b| String::from_utf8_lossy(b).into_owned());
    let cells = rows.iter().map(|(partition, received)| {
        let letter = Letter::of(&received.record).unwrap_or_default();
        let what = if values { text(received.record.value.as_deref()) } else { letter.reason.clone() };
        [
            Value::text(format!("{}:{}", partition.partition, received.offset)),
            Value::text(format::time(letter.timestamp)),
            Value::text(letter.from()),
            Value::text(&letter.plugin),
            Value::text(&letter.stage),
            Value::number(letter.attempts),
            Value::text(text(received.record.key.as_deref())),
            Value::text(what),
        ]
    });
    let last = if values { "VALUE" } else { "REASON" };
    out.table(["AT", "TIME", "FROM", "PLUGIN", "STAGE", "ATTEMPTS", "KEY", last], cells)?;
    Ok(())
}

async fn drop(client: &Client, drop: DropArgs, out: &Out) -> Outcome {
    let topic = kafka::topic(client, &drop.topic).await?;
    let chosen = kafka::partitions(&topic, drop.partition.as_slice())?;
    let mut plan = Vec::new();
    for (partition, waiting) in waiting(client, &topic).await? {
        let before = match drop.what.before {
            Some(before) => Offset(before),
            None if drop.what.all => waiting.end,
            None => waiting.next,
        };
        if chosen.contains(&partition) && before > waiting.start {
            plan.push((partition, waiting, before));
        }
    }
    if drop.execute {
        for (partition, _, before) in &plan {
            let what = format!("cannot delete records of {partition}");
            client.delete_records(partition, *before).await.map_err(failed(what))?;
        }
    }
    if out.json() {
        let steps = plan.iter().map(|(partition, waiting, before)| {
            json!({ "partition": partition.partition, "start": waiting.start, "before": before })
        });
        let steps: Vec<_> = steps.collect();
        return Ok(
            out.document(&json!({ "topic": drop.topic, "executed": drop.execute, "partitions": steps }))?
        );
    }
    let rows = plan.iter().map(|(partition, waiting, before)| {
        [
            Value::number(partition.partition),
            Value::number(waiting.start),
            Value::number(before),
            Value::number(before.since(waiting.next).max(0)),
        ]
    });
    out.table(["PARTITION", "FROM", "BEFORE", "NOT REDRIVEN"], rows)?;
    if !drop.execute {
        out.note("this is the plan; --execute carries it out");
    }
    Ok(())
}
