//! `flumen status`: what a running broker says about itself and its plugins.

use flumen_http::{Cleaning, Lost, Partition, Plugin, State, Status, Storage, Topic};

use super::admin::Api;
use super::out::{Tone, Value};
use super::{Out, Outcome, format};
use crate::clock;

/// Show the state of a running broker: configuration, plugins, topics
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    api: Api,
    /// Each partition of this topic instead
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    if let Some(topic) = &args.topic {
        return partitions(&args.api.get::<Vec<Partition>>(&format!("/v1/topics/{topic}"))?, out);
    }
    let status: Status = args.api.get("/v1/status")?;
    if out.json() {
        return Ok(out.document(&status)?);
    }
    if let Some(opening) = &status.opening {
        return Ok(out.line(format::opening(opening))?);
    }
    let now = clock::now().0;
    let file = status.configuration.file.as_deref().unwrap_or("no file");
    let up = ago(now, status.started_ms);
    out.line(format!(
        "flumen {}  node {}  up {up}  {}  data {}  {file}",
        status.version,
        status.node_id,
        status.listeners.join(","),
        status.data_dir,
    ))?;
    if let Some(refused) = &status.configuration.refused {
        out.warn(format!(
            "the file on disk was refused {} ago; what ran before goes on:",
            ago(now, refused.since_ms)
        ));
        refused.problems.iter().for_each(|problem| out.warn(problem));
    }
    for difference in &status.configuration.left_alone {
        out.warn(difference);
    }
    if !status.plugins.is_empty() {
        out.line("")?;
        plugins(&status.plugins, now, out)?;
    }
    if !status.topics.is_empty() {
        out.line("")?;
        topics(&status.topics, now, out)?;
        storage(&status.storage, out)?;
    }
    Ok(())
}

fn topics(topics: &[Topic], now: i64, out: &Out) -> Outcome {
    let rows = topics.iter().map(|topic| {
        [
            Value::name(&topic.name),
            Value::number(topic.partitions),
            Value::number(topic.offsets),
            Value::number(size(topic.bytes)),
            Value::number(topic.segments),
            percent(topic.dirty_ratio),
            disk(topic),
        ]
    });
    out.table(["TOPIC", "PARTITIONS", "OFFSETS", "SIZE", "SEGMENTS", "DIRTY", "DISK"], rows)?;
    for topic in topics {
        for lost in &topic.lost {
            let Lost { partition, from, upto, why } = lost;
            out.warn(format!("{}-{partition}: offsets {from} to {} are {why}", topic.name, upto - 1));
        }
        for held in &topic.held_tombstones {
            out.warn(format!(
                "{}: tombstones held by {} for {} past their time: {}, from offset {} of partition {} on",
                topic.name,
                held.by,
                ago(now, held.since_ms),
                held.count,
                held.offset,
                held.partition,
            ));
        }
        for partition in &topic.misfits {
            out.warn(format!("{}-{partition}: segments do not fit their names", topic.name));
        }
    }
    if topics.iter().any(|topic| !topic.misfits.is_empty()) {
        out.note("stop the broker; `flumen log repair` shows what can be done");
    }
    Ok(())
}

fn disk(topic: &Topic) -> Value {
    let mut said = Vec::new();
    for (what, partitions) in [("failed", &topic.failed), ("full", &topic.full), ("misfits", &topic.misfits)]
    {
        if !partitions.is_empty() {
            let numbers: Vec<String> = partitions.iter().map(i32::to_string).collect();
            said.push(format!("{what}: {}", numbers.join(",")));
        }
    }
    if topic.lost_offsets > 0 {
        said.push(format!("lost: {}", topic.lost_offsets));
    }
    disk_value(said)
}

fn disk_of(one: &Partition) -> Value {
    let mut said = Vec::new();
    let lost: i64 = one.lost.iter().map(|lost| (lost.upto - lost.from).max(0)).sum();
    let states = [(one.poisoned, "failed"), (one.full, "full"), (!one.misfits.is_empty(), "misfits")];
    said.extend(states.into_iter().filter(|(is, _)| *is).map(|(_, word)| word.to_string()));
    if lost > 0 {
        said.push(format!("lost: {lost}"));
    }
    disk_value(said)
}

fn disk_value(said: Vec<String>) -> Value {
    if said.is_empty() { Value::text("ok") } else { Value::text(said.join(" ")).tone(Tone::Bad) }
}

fn percent(ratio: Option<f64>) -> Value {
    Value::maybe(ratio.map(|ratio| format!("{:.0}%", ratio * 100.0)))
}

/// What all topics have in common, a line each.
fn storage(storage: &Storage, out: &Out) -> Outcome {
    out.line("")?;
    let ms = |ms: Option<f64>| ms.map_or_else(|| "-".to_string(), |ms| format!("{ms:.2} ms"));
    out.line(format!(
        "log: {} in {} segments; {} syncs, {} on average, 99% within {}",
        size(storage.bytes),
        storage.segments,
        storage.syncs,
        ms(storage.sync_ms_mean),
        ms(storage.sync_ms_p99),
    ))?;
    if let Some(speed) = storage.cleaner_bytes_per_second {
        out.line(format!(
            "cleaner: {} passes, {} failed, {}/s",
            storage.cleaner_passes,
            storage.cleaner_failures,
            size(speed as u64)
        ))?;
    }
    for Cleaning { topic, partition, bytes, bytes_done } in &storage.cleaning {
        out.line(format!("cleaning {topic}-{partition}: {} of {}", size(*bytes_done), size(*bytes)))?;
    }
    if storage.refused_full > 0 {
        out.warn(format!("the disk was full for {} appends since the start", storage.refused_full));
    }
    Ok(())
}

fn partitions(partitions: &[Partition], out: &Out) -> Outcome {
    if out.json() {
        return Ok(out.document(&partitions)?);
    }
    let rows = partitions.iter().map(|one| {
        [
            Value::number(one.partition),
            Value::number(one.start),
            Value::number(one.high_watermark),
            Value::number(one.last_stable),
            Value::number(one.end),
            Value::number(size(one.bytes)),
            Value::number(one.segments),
            percent(one.dirty_ratio),
            disk_of(one),
        ]
    });
    let header =
        ["PARTITION", "START", "HIGH WATERMARK", "STABLE", "END", "SIZE", "SEGMENTS", "DIRTY", "DISK"];
    out.table(header, rows)?;
    for lost in partitions.iter().flat_map(|one| &one.lost) {
        let Lost { partition, from, upto, why } = lost;
        out.warn(format!("partition {partition}: offsets {from} to {} are {why}", upto - 1));
    }
    for one in partitions.iter().filter(|one| !one.misfits.is_empty()) {
        let bases = one.misfits.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
        out.warn(format!("partition {}: segments {bases} do not fit their names", one.partition));
    }
    Ok(())
}

/// The table of plugins, and what they report under it.
fn plugins(plugins: &[Plugin], now: i64, out: &Out) -> Outcome {
    let rows = plugins.iter().map(|plugin| {
        [
            Value::text(&plugin.name),
            Value::text(&plugin.kind),
            Value::text(format!("{} {}", plugin.plugin, plugin.version)),
            Value::text(plugin.state.name()).tone(tone(plugin.state)),
            Value::text(ago(now, plugin.since_ms)),
            Value::number(plugin.records_in),
            Value::number(plugin.records_out),
            Value::number(plugin.rejected),
            Value::maybe(plugin.lag),
            Value::text(plugin.reason.as_deref().unwrap_or("")),
        ]
    });
    out.table(["NAME", "KIND", "PLUGIN", "STATE", "SINCE", "IN", "OUT", "REJECTED", "LAG", "REASON"], rows)?;
    for plugin in plugins {
        plugin.troubles.iter().for_each(|trouble| out.warn(format!("{}: {trouble}", plugin.name)));
    }
    Ok(())
}

fn tone(state: State) -> Tone {
    match state {
        State::Running | State::Finished => Tone::Good,
        State::Starting | State::Retrying => Tone::Warn,
        State::Failing => Tone::Bad,
        State::Stopped => Tone::Plain,
    }
}

/// A span for a person: its two largest units.
fn ago(now_ms: i64, then_ms: i64) -> String {
    if then_ms <= 0 {
        return "-".into();
    }
    let seconds = (now_ms - then_ms).max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_their_two_largest_units() {
        for (seconds, text) in [(5, "5s"), (65, "1m5s"), (7_260, "2h1m"), (90_000, "1d1h")] {
            assert_eq!(ago(1_000_000_000 + seconds * 1000, 1_000_000_000), text);
        }
        assert_eq!(ago(5, 0), "-");
    }
}
