//! `flumen adopt`: takes over a data directory that Apache Kafka wrote, or hands one of ours to Kafka.
//!
//! Offline: a broker that runs holds the directory. `flumen run` adopts just the same; this command tells
//! what it finds without serving it.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::{Failure, Out, Outcome};

/// Take over a data directory of Apache Kafka's, offline; or make one of ours ready for Kafka
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The directory: of Kafka's `log.dirs`, or of `data.dir`
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The way back: write what Kafka needs to start on the directory, and put our catalogue away
    #[arg(long)]
    to_kafka: bool,
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    if !args.dir.is_dir() {
        return Err(Failure::new(format!("{} is no directory", args.dir.display())));
    }
    let mut options = flumen_store::Options::new(&args.dir);
    options.node_id = flumen_store::node_id_of(&args.dir).unwrap_or(options.node_id);
    if args.to_kafka { hand_over(options, out) } else { adopt(options, out) }
}

fn adopt(options: flumen_store::Options, out: &Out) -> Outcome {
    let dir = options.dir.clone();
    let node_id = options.node_id;
    let failed = |error| Failure::new(format!("cannot adopt {}", dir.display())).because(error);
    let store = flumen_store::Store::open(options, Arc::new(())).map_err(failed)?;
    let topics = store.topics();
    let cluster_id = store.cluster_id().to_string();
    store.close().map_err(|error| Failure::new("cannot close the directory").because(error))?;
    if out.json() {
        return Ok(out.document(&json!({ "cluster_id": cluster_id, "node_id": node_id, "topics": topics }))?);
    }
    let rows = topics.iter().map(|topic| {
        let configs: Vec<String> =
            topic.configs.iter().map(|(key, value)| format!("{key}={value}")).collect();
        [topic.name.as_str().into(), (topic.partitions.max(0) as u64).into(), configs.join(" ").into()]
    });
    out.table(["TOPIC", "PARTITIONS", "SETTINGS"], rows)?;
    out.note(format!(
        "{} topics are ready; in flumen.toml: data.dir = \"{}\" and broker.id = {node_id}",
        topics.len(),
        dir.display()
    ));
    Ok(())
}

fn hand_over(options: flumen_store::Options, out: &Out) -> Outcome {
    let dir = options.dir.clone();
    let handed = flumen_store::hand_over(options)
        .map_err(|error| Failure::new(format!("cannot hand over {}", dir.display())).because(error))?;
    if out.json() {
        return Ok(out.document(&json!({
            "cluster_id": handed.cluster_id, "node_id": handed.node_id, "topics": handed.topics,
            "partitions": handed.partitions, "moved": handed.moved,
        }))?);
    }
    out.line(format!("{} topics with {} partitions are ready for Kafka", handed.topics, handed.partitions))?;
    for path in &handed.moved {
        out.note(format!("moved aside, for Kafka takes every folder for a partition's: {}", path.display()));
    }
    out.note(format!(
        "in server.properties: process.roles=broker,controller, node.id={}, log.dirs={}, and a factor of 1 for the internal topics; do not format",
        handed.node_id,
        dir.display()
    ));
    Ok(())
}
