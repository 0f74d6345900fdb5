//! `flumen status`: what a running broker says about itself and its plugins.

use std::time::SystemTime;

use flumen_http::{Plugin, State, Status};

use super::admin::Api;
use super::out::{Tone, Value};
use super::{Out, Outcome};

/// Show the state of a running broker: configuration, plugins, topics
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    api: Api,
}

pub(crate) fn run(args: Args, out: &Out) -> Outcome {
    let status: Status = args.api.get("/v1/status")?;
    if out.json() {
        return Ok(out.document(&status)?);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as i64;
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
        let rows = status.topics.iter().map(|topic| {
            let failed = topic.failed.iter().map(i32::to_string).collect::<Vec<_>>().join(",");
            let state = if failed.is_empty() {
                Value::text("ok")
            } else {
                Value::text(format!("failed: {failed}")).tone(Tone::Bad)
            };
            [
                Value::text(&topic.name),
                Value::number(topic.partitions),
                Value::number(topic.offsets),
                Value::number(size(topic.bytes)),
                state,
            ]
        });
        out.table(["TOPIC", "PARTITIONS", "OFFSETS", "SIZE", "DISK"], rows)?;
        for (topic, held) in status.topics.iter().flat_map(|t| t.held_tombstones.iter().map(move |h| (t, h)))
        {
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
