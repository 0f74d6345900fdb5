//! `flumen consume`: records of any Kafka cluster's topics, printed.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use clap::ArgAction;
use flumen_client::{At, Client, Consumer, ConsumerOptions, Fetched, GroupConsumer, OutOfRange};
use flumen_types::{Offset, TopicPartition};
use tokio_util::sync::CancellationToken;

use super::format::{self, Format};
use super::kafka::{self, Broker, failed};
use super::place::{self, Place};
use super::{Exit, Failure, Out, Outcome, until_interrupted};

/// Print records of topics
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    broker: Broker,
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Where to begin: start, end, an offset, -N for the last N of each partition, @TIME. With --group
    /// only where the group has no offset, and only start or end
    #[arg(long, short = 'o', default_value = "start", value_name = "PLACE", allow_hyphen_values = true)]
    from: Place,
    /// Only this partition; may be repeated
    #[arg(long, short, conflicts_with = "group")]
    partition: Vec<i32>,
    /// Stop at the end as it was at the start, instead of waiting for more
    #[arg(long, short = 'e')]
    until_end: bool,
    /// Stop after this many records
    #[arg(long, short = 'n', value_name = "COUNT")]
    max: Option<u64>,
    /// How to print a record: %k key, %v value, %o offset, %p partition, %t topic, %T time, %h headers
    #[arg(long, short, default_value = r"%v\n")]
    format: Format,
    /// Share the topics with the other members of this group, and commit what was printed
    #[arg(long, short)]
    group: Option<String>,
    /// Leave out records of transactions that are aborted or not yet decided
    #[arg(long, default_value_t = true, num_args = 0..=1, default_missing_value = "true", require_equals = true,
          action = ArgAction::Set, value_name = "BOOL")]
    read_committed: bool,
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    until_interrupted(async |interrupted| {
        let client = args.broker.connect().await?;
        let mut printer = Printer { json: out.json(), format: args.format.clone(), left: args.max };
        match &args.group {
            Some(group) => as_member(&client, group, &args, &mut printer, &interrupted).await,
            None => alone(&client, &args, &mut printer, &interrupted).await,
        }
    })
}

fn options(args: &Args) -> ConsumerOptions {
    let out_of_range = if args.from == Place::End { OutOfRange::End } else { OutOfRange::Start };
    ConsumerOptions { read_committed: args.read_committed, out_of_range, ..ConsumerOptions::default() }
}

fn end(args: &Args) -> At {
    if args.read_committed { At::StableEnd } else { At::End }
}

async fn alone(
    client: &Client,
    args: &Args,
    printer: &mut Printer,
    interrupted: &CancellationToken,
) -> Outcome {
    let mut partitions = Vec::new();
    for topic in &args.topics {
        partitions.extend(kafka::partitions(&kafka::topic(client, topic).await?, &args.partition)?);
    }
    let what = || format!("cannot read {}", args.topics.join(", "));
    let found = place::find(client, &partitions, args.from, end(args)).await.map_err(failed(what()))?;
    let mut ends = match args.until_end {
        true => Some(place::find(client, &partitions, Place::End, end(args)).await.map_err(failed(what()))?),
        false => None,
    };
    let mut consumer = Consumer::new(client, options(args));
    for (partition, offset) in found {
        consumer.assign(partition, offset);
    }
    loop {
        if let Some(ends) = &mut ends {
            leave_what_is_read(&mut consumer, ends);
            if ends.is_empty() {
                return Ok(());
            }
        }
        let fetched = tokio::select! {
            fetched = consumer.poll() => fetched.map_err(failed(what()))?,
            () = interrupted.cancelled() => return Err(Failure::silent(Exit::Interrupted)),
        };
        let ends = ends.as_ref();
        for mut fetched in fetched {
            // Written after we began: not of this reading.
            if let Some(end) = ends.and_then(|ends| ends.get(&fetched.partition)) {
                fetched.records.retain(|received| received.offset < *end);
            }
            printer.print(&fetched)?;
            if printer.is_done() {
                return Ok(());
            }
        }
    }
}

/// A partition whose end has been reached is not asked again.
fn leave_what_is_read(consumer: &mut Consumer, ends: &mut BTreeMap<TopicPartition, Offset>) {
    let read = |partition: &TopicPartition, end: Offset| {
        consumer.positions().get(partition).is_none_or(|at| *at >= end)
    };
    let done: Vec<TopicPartition> = ends
        .iter()
        .filter(|(partition, end)| read(partition, **end))
        .map(|(partition, _)| partition.clone())
        .collect();
    for partition in done {
        consumer.unassign(&partition);
        ends.remove(&partition);
    }
}

async fn as_member(
    client: &Client,
    group: &str,
    args: &Args,
    printer: &mut Printer,
    interrupted: &CancellationToken,
) -> Outcome {
    if !matches!(args.from, Place::Start | Place::End) {
        let what = "with --group, --from is start or end; `flumen group reset` moves a group's offsets";
        return Err(Failure::usage(what));
    }
    for topic in &args.topics {
        kafka::topic(client, topic).await?;
    }
    let what = || format!("cannot read {} in group \"{group}\"", args.topics.join(", "));
    let mut consumer = GroupConsumer::new(client, group, args.topics.clone(), options(args));
    let outcome = loop {
        let fetched = tokio::select! {
            fetched = consumer.poll() => fetched.map_err(failed(what()))?,
            () = interrupted.cancelled() => break Err(Failure::silent(Exit::Interrupted)),
        };
        let nothing = fetched.is_empty();
        for fetched in &fetched {
            let printed = printer.print(fetched)?;
            // What --max left out is the next reader's.
            consumer.returned(&fetched.partition, printed);
        }
        let at_end = args.until_end
            && nothing
            && has_read_all(client, &consumer, end(args)).await.map_err(failed(what()))?;
        if printer.is_done() || at_end {
            break Ok(());
        }
    };
    consumer.leave().await.map_err(failed(format!("cannot leave group \"{group}\"")))?;
    outcome
}

async fn has_read_all(
    client: &Client,
    consumer: &GroupConsumer,
    end: At,
) -> Result<bool, flumen_client::Error> {
    let Some(positions) = consumer.positions() else { return Ok(false) };
    let partitions: Vec<TopicPartition> = positions.keys().cloned().collect();
    let ends = client.offsets_at(&partitions, end).await?;
    Ok(positions
        .iter()
        .all(|(partition, at)| ends.get(partition).copied().flatten().is_none_or(|end| *at >= end)))
}

/// Prints records until there have been enough.
struct Printer {
    json: bool,
    format: Format,
    left: Option<u64>,
}

impl Printer {
    fn is_done(&self) -> bool {
        self.left == Some(0)
    }

    /// Returns the offset after the last record that was printed, or that nobody may see.
    fn print(&mut self, fetched: &Fetched) -> io::Result<Offset> {
        let mut stdout = BufWriter::with_capacity(64 * 1024, io::stdout().lock());
        for received in &fetched.records {
            if self.is_done() {
                stdout.flush()?;
                return Ok(received.offset);
            }
            if self.json {
                serde_json::to_writer(&mut stdout, &format::json(&fetched.partition, received))?;
                stdout.write_all(b"\n")?;
            } else {
                self.format.write(&mut stdout, &fetched.partition, received)?;
            }
            self.left = self.left.map(|left| left - 1);
        }
        stdout.flush()?;
        Ok(fetched.next)
    }
}
