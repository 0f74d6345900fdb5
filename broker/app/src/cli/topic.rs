//! `flumen topic`: topics of any Kafka cluster.

use std::collections::BTreeMap;

use clap::Subcommand;
use flumen_client::{At, Change, Client, Config, NewTopic, Origin, Topic};
use flumen_types::{Offset, TopicPartition};
use serde_json::json;

use super::kafka::{self, Broker, failed};
use super::out::Value;
use super::{Out, Outcome, block_on};

/// List, create, describe, alter and delete topics
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    broker: Broker,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List topics
    List {
        /// The cluster's own topics too, such as __consumer_offsets
        #[arg(long)]
        internal: bool,
    },
    /// Create a topic
    Create(Create),
    /// Show a topic's partitions, offsets and settings
    Describe {
        topic: String,
        /// Settings that were not set for this topic too
        #[arg(long)]
        all_configs: bool,
    },
    /// Change a topic's settings
    Alter(Alter),
    /// Delete topics and their records
    Delete {
        #[arg(required = true, value_name = "TOPIC")]
        topics: Vec<String>,
    },
    /// Grow a topic to COUNT partitions; keys may move to other partitions
    AddPartitions {
        topic: String,
        /// How many there are to be, with those there are already
        count: i32,
        /// Only ask the broker whether it would
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(clap::Args)]
struct Create {
    topic: String,
    /// How many partitions; else the broker's default
    #[arg(long, short)]
    partitions: Option<i32>,
    /// On how many brokers each is kept; else the broker's default
    #[arg(long)]
    replication: Option<i16>,
    /// A setting by Kafka's name, such as retention.ms=3600000; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = setting)]
    config: Vec<(String, String)>,
    /// A topic that is there already is no error
    #[arg(long)]
    if_not_exists: bool,
    /// Only ask the broker whether it would
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args)]
struct Alter {
    topic: String,
    /// A setting by Kafka's name, such as cleanup.policy=compact; may be repeated
    #[arg(long, short, value_name = "KEY=VALUE", value_parser = setting, required_unless_present = "unset")]
    config: Vec<(String, String)>,
    /// A setting to go back to the broker's default; may be repeated
    #[arg(long, short, value_name = "KEY")]
    unset: Vec<String>,
    /// Only ask the broker whether it would
    #[arg(long)]
    dry_run: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE, such as retention.ms=3600000")?;
    Ok((key.trim().to_string(), value.to_string()))
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    block_on(async {
        let client = args.broker.connect().await?;
        match args.command {
            Command::List { internal } => list(&client, internal, out).await,
            Command::Create(create) => self::create(&client, create, out).await,
            Command::Describe { topic, all_configs } => describe(&client, &topic, all_configs, out).await,
            Command::Alter(alter) => self::alter(&client, alter, out).await,
            Command::Delete { topics } => delete(&client, &topics, out).await,
            Command::AddPartitions { topic, count, dry_run } => {
                let what = format!("cannot grow topic \"{topic}\" to {count} partitions");
                client.grow_topic(&topic, count, dry_run).await.map_err(failed(what))?;
                done(out, &topic, dry_run, format!("has {count} partitions now"), "can grow")
            }
        }
    })
}

/// Tells what was done, or that it would be.
fn done(out: &Out, topic: &str, dry_run: bool, done: String, could: &str) -> Outcome {
    if out.json() {
        out.document(&json!({ "topic": topic, "done": !dry_run }))?;
    } else if dry_run {
        out.line(format!("{topic} {could}; nothing was changed"))?;
    } else {
        out.line(format!("{topic} {done}"))?;
    }
    Ok(())
}

async fn list(client: &Client, internal: bool, out: &Out) -> Outcome {
    let mut topics = client.topics().await.map_err(failed("cannot list topics"))?;
    topics.retain(|topic| internal || !topic.internal);
    if out.json() {
        let topics: Vec<_> = topics.iter().map(summary).collect();
        return Ok(out.document(&topics)?);
    }
    let rows = topics.iter().map(|topic| {
        [Value::text(&topic.name), Value::number(topic.partitions.len()), Value::number(replication(topic))]
    });
    out.table(["TOPIC", "PARTITIONS", "REPLICATION"], rows)?;
    Ok(())
}

fn summary(topic: &Topic) -> serde_json::Value {
    json!({
        "name": topic.name, "id": topic.id, "internal": topic.internal,
        "partitions": topic.partitions.len(), "replication": replication(topic),
    })
}

fn replication(topic: &Topic) -> usize {
    topic.partitions.iter().map(|partition| partition.replicas.len()).max().unwrap_or(0)
}

async fn create(client: &Client, create: Create, out: &Out) -> Outcome {
    let topic = NewTopic {
        name: create.topic,
        partitions: create.partitions,
        replication: create.replication,
        configs: create.config.into_iter().collect(),
    };
    match client.create_topic(&topic, create.dry_run).await {
        Ok(()) => done(out, &topic.name, create.dry_run, "is created".into(), "can be created"),
        Err(error) if create.if_not_exists && kafka::says_exists(&error) => {
            done(out, &topic.name, true, String::new(), "is there already")
        }
        Err(error) => Err(failed(format!("cannot create topic \"{}\"", topic.name))(error)),
    }
}

async fn alter(client: &Client, alter: Alter, out: &Out) -> Outcome {
    let set = alter.config.into_iter().map(|(key, value)| Change::Set(key, value));
    let changes: Vec<Change> = set.chain(alter.unset.into_iter().map(Change::Unset)).collect();
    let what = format!("cannot change topic \"{}\"", alter.topic);
    client.alter_topic(&alter.topic, &changes, alter.dry_run).await.map_err(failed(what))?;
    done(out, &alter.topic, alter.dry_run, "is changed".into(), "can be changed so")
}

async fn delete(client: &Client, topics: &[String], out: &Out) -> Outcome {
    for topic in topics {
        client.delete_topic(topic).await.map_err(failed(format!("cannot delete topic \"{topic}\"")))?;
        done(out, topic, false, "is deleted".into(), "")?;
    }
    Ok(())
}

/// A partition's places.
struct Range {
    start: Offset,
    stable_end: Offset,
    end: Offset,
}

async fn ranges(
    client: &Client,
    topic: &Topic,
) -> Result<BTreeMap<TopicPartition, Range>, flumen_client::Error> {
    let partitions: Vec<TopicPartition> =
        topic.partitions.iter().map(|p| TopicPartition::new(topic.name.clone(), p.id.0)).collect();
    let starts = client.offsets_at(&partitions, At::Start).await?;
    let stable = client.offsets_at(&partitions, At::StableEnd).await?;
    let ends = client.offsets_at(&partitions, At::End).await?;
    let place = |of: &BTreeMap<TopicPartition, Option<Offset>>, partition: &TopicPartition| {
        of.get(partition).copied().flatten().unwrap_or(Offset::ZERO)
    };
    let range = |partition: TopicPartition| {
        let range = Range {
            start: place(&starts, &partition),
            stable_end: place(&stable, &partition),
            end: place(&ends, &partition),
        };
        (partition, range)
    };
    Ok(partitions.into_iter().map(range).collect())
}

async fn describe(client: &Client, name: &str, all_configs: bool, out: &Out) -> Outcome {
    let topic = kafka::topic(client, name).await?;
    let what = || format!("cannot describe topic \"{name}\"");
    let ranges = ranges(client, &topic).await.map_err(failed(what()))?;
    let mut configs = client.topic_configs(name).await.map_err(failed(what()))?;
    configs.retain(|config| all_configs || config.origin == Origin::Topic);
    if out.json() {
        return Ok(out.document(&full(&topic, &ranges, &configs))?);
    }
    out.line(format!("{}  id {}  {} partitions", topic.name, topic.id, topic.partitions.len()))?;
    out.line("")?;
    let rows = topic.partitions.iter().map(|partition| {
        let range = ranges.get(&TopicPartition::new(topic.name.clone(), partition.id.0));
        [
            Value::number(partition.id),
            Value::maybe(partition.leader),
            Value::text(join(&partition.replicas)),
            Value::text(join(&partition.in_sync)),
            Value::maybe(range.map(|range| range.start)),
            Value::maybe(range.map(|range| range.end)),
            Value::maybe(
                range.map(|range| range.end.since(range.stable_end)).filter(|undecided| *undecided > 0),
            ),
        ]
    });
    out.table(["PARTITION", "LEADER", "REPLICAS", "IN SYNC", "START", "END", "UNDECIDED"], rows)?;
    if !configs.is_empty() {
        out.line("")?;
        let rows = configs.iter().map(|config| {
            [Value::text(&config.name), Value::text(shown(config)), Value::text(origin(config.origin))]
        });
        out.table(["SETTING", "VALUE", "FROM"], rows)?;
    }
    Ok(())
}

fn full(topic: &Topic, ranges: &BTreeMap<TopicPartition, Range>, configs: &[Config]) -> serde_json::Value {
    let partitions = topic.partitions.iter().map(|partition| {
        let range = ranges.get(&TopicPartition::new(topic.name.clone(), partition.id.0));
        json!({
            "partition": partition.id, "leader": partition.leader, "replicas": partition.replicas,
            "in_sync": partition.in_sync, "start": range.map(|r| r.start), "end": range.map(|r| r.end),
            "stable_end": range.map(|r| r.stable_end),
        })
    });
    let configs =
        configs.iter().map(|c| json!({ "name": c.name, "value": c.value, "from": origin(c.origin) }));
    json!({
        "name": topic.name, "id": topic.id, "internal": topic.internal,
        "partitions": partitions.collect::<Vec<_>>(), "configs": configs.collect::<Vec<_>>(),
    })
}

fn shown(config: &Config) -> &str {
    config.value.as_deref().unwrap_or("(secret)")
}

fn origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Topic => "topic",
        Origin::Broker => "broker",
        Origin::Default => "default",
    }
}

fn join(nodes: &[i32]) -> String {
    nodes.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_key_and_anything() {
        assert_eq!(setting("a.b=c=d"), Ok(("a.b".into(), "c=d".into())));
        assert!(setting("a.b").is_err());
    }
}
