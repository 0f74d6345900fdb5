//! `flumen txn`: transactions that are open on partitions, and the end of one that nobody will end.
//!
//! A transaction hangs when its end was lost with a damaged part of a log, or its producer wrote past its
//! coordinator. Readers of committed records stop where it begins.

use clap::Subcommand;
use flumen_client::{ActiveProducer, Client};
use flumen_types::{Millis, Offset, TopicPartition};
use serde_json::json;

use super::kafka::{self, Broker, failed};
use super::out::Value;
use super::{Failure, Out, Outcome, block_on, format};
use crate::cli::place::moment;

/// List and end transactions that are open on partitions
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    broker: Broker,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List open transactions
    List {
        /// Of this topic only
        #[arg(long, value_name = "NAME")]
        topic: Option<String>,
        /// Only where nothing came for so long, such as 15m
        #[arg(long, value_name = "TIME")]
        idle: Option<Millis>,
    },
    /// End a transaction on a partition as aborted, past its coordinator: its records there are not to be seen
    Abort {
        #[arg(long, value_name = "NAME")]
        topic: String,
        #[arg(long, value_name = "NUMBER")]
        partition: i32,
        /// Where it begins, as `list` says
        #[arg(long, value_name = "OFFSET")]
        start_offset: i64,
    },
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    block_on(async {
        let client = args.broker.connect().await?;
        match args.command {
            Command::List { topic, idle } => list(&client, topic.as_deref(), idle, out).await,
            Command::Abort { topic, partition, start_offset } => {
                abort(&client, &TopicPartition::new(topic, partition), Offset(start_offset), out).await
            }
        }
    })
}

async fn open(client: &Client, partition: &TopicPartition) -> Result<Vec<(Offset, ActiveProducer)>, Failure> {
    let producers =
        client.producers(partition).await.map_err(failed(format!("cannot ask about {partition}")))?;
    let open = producers.into_iter().filter_map(|producer| Some((producer.open_since?, producer)));
    Ok(open.collect())
}

async fn list(client: &Client, topic: Option<&str>, idle: Option<Millis>, out: &Out) -> Outcome {
    let names = match topic {
        Some(topic) => vec![topic.to_owned()],
        None => {
            let topics = client.topics().await.map_err(failed("cannot list the topics"))?;
            topics.into_iter().map(|topic| topic.name.to_string()).collect()
        }
    };
    let before = idle.map(|idle| moment(&format!("-{}ms", idle.0))).transpose();
    let before = before.map_err(Failure::usage)?;
    let mut found = Vec::new();
    for name in names {
        let topic = kafka::topic(client, &name).await?;
        for partition in kafka::partitions(&topic, &[])? {
            let open = open(client, &partition).await?;
            found.extend(open.into_iter().map(|(first, producer)| (partition.clone(), first, producer)));
        }
    }
    found.retain(|(_, _, producer)| before.is_none_or(|before| producer.last_timestamp <= before));
    if out.json() {
        let fields = found.iter().map(|(partition, first, producer)| {
            json!({
                "topic": partition.topic, "partition": partition.partition, "start_offset": first,
                "producer_id": producer.id, "producer_epoch": producer.epoch,
                "last_timestamp": producer.last_timestamp,
            })
        });
        return Ok(out.document(&fields.collect::<Vec<_>>())?);
    }
    let rows = found.iter().map(|(partition, first, producer)| {
        [
            Value::name(&partition.topic),
            Value::number(partition.partition),
            Value::number(first),
            Value::number(producer.id),
            Value::number(producer.epoch),
            Value::text(format::time(producer.last_timestamp.0)),
        ]
    });
    Ok(out.table(["TOPIC", "PARTITION", "START OFFSET", "PRODUCER", "EPOCH", "LAST RECORD"], rows)?)
}

async fn abort(client: &Client, partition: &TopicPartition, start: Offset, out: &Out) -> Outcome {
    let open = open(client, partition).await?;
    let Some((_, producer)) = open.into_iter().find(|(first, _)| *first == start) else {
        return Err(Failure::new(format!(
            "no transaction is open on {partition} that begins at offset {start}"
        ))
        .todo("`flumen txn list` shows those that are"));
    };
    client.abort(partition, &producer).await.map_err(failed(format!("cannot end it on {partition}")))?;
    out.note(format!("the transaction of producer {} on {partition} is aborted", producer.id));
    Ok(())
}
