//! `flumen group`: consumer groups of any Kafka cluster, and of Flumen's plugins, whose groups are named
//! `flumen.<plugin>`.

use std::collections::BTreeMap;

use clap::Subcommand;
use flumen_client::{At, Client, Group, Member};
use flumen_types::{Offset, Timestamp, TopicPartition};
use serde_json::json;

use super::kafka::{self, Broker, failed};
use super::out::{Tone, Value};
use super::place::moment;
use super::{Failure, Out, Outcome, block_on};

/// List, describe, reset and delete consumer groups
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    broker: Broker,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List groups
    List,
    /// Show a group's offsets, lag and members
    Describe { group: String },
    /// Move a group's offsets; shows the plan, and carries it out with --execute
    Reset(Reset),
    /// Delete groups and their offsets
    Delete {
        #[arg(required = true, value_name = "GROUP")]
        groups: Vec<String>,
    },
}

#[derive(clap::Args)]
struct Reset {
    group: String,
    /// Only this topic, or TOPIC:0,2 for some of its partitions; may be repeated. Else every topic that
    /// the group has offsets of
    #[arg(long, short, value_name = "TOPIC[:PARTITIONS]", value_parser = scope)]
    topic: Vec<Scope>,
    #[command(flatten)]
    to: To,
    /// Do it; without this the plan is only shown
    #[arg(long)]
    execute: bool,
}

#[derive(clap::Args)]
#[group(required = true, multiple = false)]
struct To {
    /// To the first record
    #[arg(long)]
    to_earliest: bool,
    /// To the end: only what comes from now on is read
    #[arg(long)]
    to_latest: bool,
    /// To this offset
    #[arg(long, value_name = "OFFSET")]
    to_offset: Option<i64>,
    /// To the first record of this time or later: 2026-01-31T12:00:00Z, milliseconds since 1970, -15m
    #[arg(long, value_name = "TIME", value_parser = moment, allow_hyphen_values = true)]
    to_datetime: Option<Timestamp>,
    /// Forward by so many records, or back by a negative number
    #[arg(long, value_name = "RECORDS", allow_hyphen_values = true)]
    shift_by: Option<i64>,
}

#[derive(Clone)]
struct Scope {
    topic: String,
    partitions: Vec<i32>,
}

fn scope(text: &str) -> Result<Scope, String> {
    let (topic, partitions) = text.split_once(':').unwrap_or((text, ""));
    let number =
        |part: &str| part.trim().parse::<i32>().map_err(|_| format!("\"{part}\" is not a partition"));
    let partitions =
        partitions.split(',').filter(|part| !part.is_empty()).map(number).collect::<Result<_, _>>()?;
    Ok(Scope { topic: topic.to_string(), partitions })
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    block_on(async {
        let client = args.broker.connect().await?;
        match args.command {
            Command::List => list(&client, out).await,
            Command::Describe { group } => describe(&client, &group, out).await,
            Command::Reset(reset) => self::reset(&client, reset, out).await,
            Command::Delete { groups } => delete(&client, &groups, out).await,
        }
    })
}

async fn list(client: &Client, out: &Out) -> Outcome {
    let groups = client.groups().await.map_err(failed("cannot list groups"))?;
    if out.json() {
        let groups: Vec<_> = groups
            .iter()
            .map(|g| json!({ "group": g.id, "state": g.state, "protocol": g.protocol }))
            .collect();
        return Ok(out.document(&groups)?);
    }
    let rows = groups
        .iter()
        .map(|group| [Value::text(&group.id), state(&group.state), Value::text(&group.protocol)]);
    Ok(out.table(["GROUP", "STATE", "PROTOCOL"], rows)?)
}

fn state(state: &str) -> Value {
    let tone = match state {
        "Stable" => Tone::Good,
        "Dead" => Tone::Bad,
        "Empty" | "" => Tone::Plain,
        _ => Tone::Warn,
    };
    Value::text(if state.is_empty() { "-" } else { state }).tone(tone)
}

/// One partition of a group.
struct Progress<'a> {
    partition: TopicPartition,
    committed: Option<Offset>,
    end: Option<Offset>,
    member: Option<&'a Member>,
}

impl Progress<'_> {
    fn lag(&self) -> Option<i64> {
        Some(self.end?.since(self.committed?).max(0))
    }
}

/// Every partition that the group has an offset of or a member at.
async fn progress<'a>(client: &Client, group: &'a Group) -> Result<Vec<Progress<'a>>, flumen_client::Error> {
    let committed = client.committed(&group.id, None).await?;
    let mut owners: BTreeMap<TopicPartition, Option<&Member>> =
        committed.keys().map(|partition| (partition.clone(), None)).collect();
    for member in &group.members {
        owners.extend(member.partitions.iter().map(|partition| (partition.clone(), Some(member))));
    }
    let ends = ends(client, owners.keys().cloned().collect(), At::End).await?;
    let partitions = owners.into_iter().map(|(partition, member)| Progress {
        committed: committed.get(&partition).copied(),
        end: ends.get(&partition).copied(),
        partition,
        member,
    });
    Ok(partitions.collect())
}

/// This place of each partition that is still there: a group outlives the topics it has read.
async fn ends(
    client: &Client,
    mut partitions: Vec<TopicPartition>,
    at: At,
) -> Result<BTreeMap<TopicPartition, Offset>, flumen_client::Error> {
    let topics = client.topics().await?;
    partitions.retain(|partition| {
        let topic = topics.iter().find(|topic| topic.name == partition.topic);
        topic.is_some_and(|topic| topic.partitions.iter().any(|p| p.id == partition.partition))
    });
    let found = client.offsets_at(&partitions, at).await?;
    Ok(found.into_iter().filter_map(|(partition, offset)| Some((partition, offset?))).collect())
}

async fn describe(client: &Client, id: &str, out: &Out) -> Outcome {
    let what = || format!("cannot describe group \"{id}\"");
    let group = known(client, id).await?;
    let progress = progress(client, &group).await.map_err(failed(what()))?;
    if out.json() {
        return Ok(out.document(&full(&group, &progress))?);
    }
    out.line(format!("{}  {}  {} members", group.id, group.state, group.members.len()))?;
    out.line("")?;
    let rows = progress.iter().map(|progress| {
        let member = |text: fn(&Member) -> &str| Value::text(progress.member.map_or("-", text));
        [
            Value::text(&progress.partition.topic),
            Value::number(progress.partition.partition),
            Value::maybe(progress.committed),
            Value::maybe(progress.end),
            Value::maybe(progress.lag()),
            member(|member| &member.client_id),
            member(|member| &member.host),
            member(|member| &member.id),
        ]
    });
    Ok(out.table(["TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "CLIENT", "HOST", "MEMBER"], rows)?)
}

fn full(group: &Group, progress: &[Progress<'_>]) -> serde_json::Value {
    let members = group.members.iter().map(|member| {
        json!({ "id": member.id, "instance": member.instance, "client": member.client_id, "host": member.host })
    });
    let partitions = progress.iter().map(|progress| {
        json!({
            "topic": progress.partition.topic, "partition": progress.partition.partition,
            "committed": progress.committed, "end": progress.end, "lag": progress.lag(),
            "member": progress.member.map(|member| &member.id),
        })
    });
    json!({
        "group": group.id, "state": group.state, "assignor": group.assignor,
        "members": members.collect::<Vec<_>>(), "partitions": partitions.collect::<Vec<_>>(),
    })
}

/// A group that is there: with members, or with offsets.
async fn known(client: &Client, id: &str) -> Result<Group, Failure> {
    let missing = || {
        Failure::new(format!("there is no group \"{id}\""))
            .todo("`flumen group list` shows the groups there are")
    };
    match client.group(id).await {
        Ok(group) if group.state != "Dead" => Ok(group),
        Ok(_) => Err(missing()),
        Err(error) if kafka::says_no_group(&error) => Err(missing()),
        Err(error) => Err(failed(format!("cannot describe group \"{id}\""))(error)),
    }
}

/// One step of a reset.
struct Step {
    partition: TopicPartition,
    from: Option<Offset>,
    to: Offset,
}

async fn reset(client: &Client, reset: Reset, out: &Out) -> Outcome {
    let id = &reset.group;
    let what = || format!("cannot reset group \"{id}\"");
    if let Ok(group) = client.group(id).await
        && !group.members.is_empty()
    {
        let failure =
            Failure::new(format!("group \"{id}\" has {} members that commit offsets", group.members.len()));
        return Err(failure.todo("stop them first; `flumen group describe` shows who they are"));
    }
    let committed = client.committed(id, None).await.map_err(failed(what()))?;
    let partitions = in_scope(client, &reset, &committed).await?;
    let targets = targets(client, &reset.to, &partitions, &committed).await.map_err(failed(what()))?;
    let plan: Vec<Step> = targets
        .into_iter()
        .map(|(partition, to)| Step { from: committed.get(&partition).copied(), partition, to })
        .collect();
    if reset.execute {
        let offsets = plan.iter().map(|step| (step.partition.clone(), step.to)).collect();
        client.commit(id, &offsets).await.map_err(failed(what()))?;
    }
    show(&plan, &reset, out)
}

/// The partitions to move: those named, or all that the group has offsets of.
async fn in_scope(
    client: &Client,
    reset: &Reset,
    committed: &BTreeMap<TopicPartition, Offset>,
) -> Result<Vec<TopicPartition>, Failure> {
    let mut partitions = Vec::new();
    for scope in &reset.topic {
        let topic = kafka::topic(client, &scope.topic).await?;
        partitions.extend(kafka::partitions(&topic, &scope.partitions)?);
    }
    if reset.topic.is_empty() {
        partitions.extend(committed.keys().cloned());
    }
    if partitions.is_empty() {
        let failure = Failure::new(format!("group \"{}\" has no offsets", reset.group));
        return Err(failure.todo("name the topics to begin with: --topic TOPIC"));
    }
    Ok(partitions)
}

/// Where each partition goes, kept between its start and its end.
async fn targets(
    client: &Client,
    to: &To,
    partitions: &[TopicPartition],
    committed: &BTreeMap<TopicPartition, Offset>,
) -> Result<BTreeMap<TopicPartition, Offset>, flumen_client::Error> {
    let starts = ends(client, partitions.to_vec(), At::Start).await?;
    let last = ends(client, partitions.to_vec(), At::End).await?;
    let timed = match to.to_datetime {
        Some(time) => client.offsets_at(&starts.keys().cloned().collect::<Vec<_>>(), At::Time(time)).await?,
        None => BTreeMap::new(),
    };
    let target = |(partition, start): (&TopicPartition, &Offset)| {
        let end = *last.get(partition)?;
        let now = committed.get(partition).copied().unwrap_or(*start);
        let wanted = match to {
            To { to_earliest: true, .. } => *start,
            To { to_offset: Some(offset), .. } => Offset(*offset),
            To { shift_by: Some(by), .. } => Offset(now.0.saturating_add(*by)),
            To { to_datetime: Some(_), .. } => timed.get(partition).copied().flatten().unwrap_or(end),
            _ => end,
        };
        Some((partition.clone(), wanted.clamp(*start, end.max(*start))))
    };
    Ok(starts.iter().filter_map(target).collect())
}

fn show(plan: &[Step], reset: &Reset, out: &Out) -> Outcome {
    if out.json() {
        let steps = plan.iter().map(|step| {
            json!({
                "topic": step.partition.topic, "partition": step.partition.partition,
                "from": step.from, "to": step.to,
            })
        });
        let steps: Vec<_> = steps.collect();
        return Ok(
            out.document(&json!({ "group": reset.group, "executed": reset.execute, "offsets": steps }))?
        );
    }
    let rows = plan.iter().map(|step| {
        [
            Value::text(&step.partition.topic),
            Value::number(step.partition.partition),
            Value::maybe(step.from),
            Value::number(step.to),
        ]
    });
    out.table(["TOPIC", "PARTITION", "FROM", "TO"], rows)?;
    if !reset.execute {
        out.note("this is the plan; --execute carries it out");
    }
    Ok(())
}

async fn delete(client: &Client, groups: &[String], out: &Out) -> Outcome {
    for group in groups {
        client.delete_group(group).await.map_err(failed(format!("cannot delete group \"{group}\"")))?;
        if out.json() {
            out.document(&json!({ "group": group, "done": true }))?;
        } else {
            out.line(format!("{group} is deleted"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_a_topic_or_some_of_its_partitions() {
        let parts = |text| scope(text).map(|scope| (scope.topic, scope.partitions));
        assert_eq!(parts("orders"), Ok(("orders".into(), vec![])));
        assert_eq!(parts("orders:0,2"), Ok(("orders".into(), vec![0, 2])));
        assert!(parts("orders:x").is_err());
    }
}
