//! `flumen run --until-done`: waits until every finite source has ended and what they wrote has arrived
//! everywhere, shows how far it is, and sums up.

use std::time::{Duration, Instant};

use flumen_host::{Done, Kind, PluginStatus, State};
use serde::Serialize;

use super::pipelines::Pipelines;
use crate::cli::{Exit, Failure, Out, Outcome};

/// How often the bar moves, and a plugin that has given up is noticed.
const LOOK: Duration = Duration::from_millis(200);

/// What came of a run.
#[derive(Debug, Serialize)]
struct Summary {
    seconds: f64,
    /// Records that sources brought in.
    rows_in: u64,
    /// Records that sinks took.
    rows_out: u64,
    /// Records that were parked or skipped, by any plugin.
    rejected: u64,
    plugins: Vec<PluginStatus>,
}

pub(super) async fn run(pipelines: &Pipelines, out: &Out) -> Outcome {
    let started = Instant::now();
    if !pipelines.plugins().iter().any(|plugin| plugin.kind == Kind::Source) {
        return Err(Failure::new("there is no source in the file, so nothing would ever be done")
            .exit(Exit::Config)
            .todo("add a [sources.NAME], or run without --until-done"));
    }
    let done = tokio::select! {
        done = all_done(pipelines) => done,
        gave_up = watch(pipelines, out) => Err(gave_up),
    };
    let summary = summary(pipelines.plugins(), started);
    show(&summary, out)?;
    done?;
    let left_out = troubles(&summary.plugins);
    if !left_out.is_empty() {
        let failure = Failure { causes: left_out, ..Failure::new("not everything could be reached") };
        return Err(failure.todo("see to it and run again: what has been done is not done twice"));
    }
    match summary.rejected {
        0 => Ok(()),
        rejected => Err(Failure::new(format!("{rejected} records were rejected"))
            .exit(Exit::Rejected)
            .todo("look at them with `flumen dlq list`; they are kept where errors.topic says")),
    }
}

/// What plugins say stands in their way, such as a file that cannot be read.
fn troubles(plugins: &[PluginStatus]) -> Vec<String> {
    let of = |plugin: &PluginStatus| {
        let told = plugin.troubles.iter();
        told.map(|(what, trouble)| format!("{}: {what}: {}", plugin.name, trouble.reason)).collect::<Vec<_>>()
    };
    plugins.iter().flat_map(of).collect()
}

/// Every plugin, in whatever order they come to their ends.
async fn all_done(pipelines: &Pipelines) -> Result<(), Failure> {
    let names: Vec<String> = pipelines.plugins().into_iter().map(|plugin| plugin.name).collect();
    let ends = names.iter().map(async |name| match pipelines.host().done(name).await {
        Some(Done::Stopped(reason)) => Err(Failure::new(format!("{name} stopped: {reason}"))),
        Some(Done::Finished) | None => Ok(()),
    });
    futures::future::try_join_all(ends).await.map(drop)
}

/// Moves the bars; ends when a plugin has given up.
async fn watch(pipelines: &Pipelines, out: &Out) -> Failure {
    let bytes = out.progress_bytes("reading", 0);
    let rows = out.spinner("records stored");
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tick.tick().await;
        let plugins = pipelines.plugins();
        let (done, total) = plugins
            .iter()
            .filter_map(|p| p.progress)
            .fold((0, 0), |(d, t), (done, total)| (d + done, t + total));
        bytes.set_length(total);
        bytes.set_position(done);
        rows.set_position(taken(&plugins));
        if let Some(gone) = plugins.iter().find(|p| p.state == State::Stopped || p.state == State::Failing) {
            bytes.abandon();
            rows.abandon();
            let reason = gone.reason.clone().unwrap_or_default();
            return Failure::new(format!("{} is {}: {reason}", gone.name, state(gone.state)));
        }
    }
}

fn state(state: State) -> &'static str {
    if state == State::Stopped { "stopped" } else { "failing" }
}

fn taken(plugins: &[PluginStatus]) -> u64 {
    plugins.iter().filter(|p| p.kind == Kind::Sink).map(|p| p.records_in.saturating_sub(p.rejected)).sum()
}

fn summary(plugins: Vec<PluginStatus>, started: Instant) -> Summary {
    Summary {
        seconds: started.elapsed().as_secs_f64(),
        rows_in: plugins.iter().filter(|p| p.kind == Kind::Source).map(|p| p.records_out).sum(),
        rows_out: taken(&plugins),
        rejected: plugins.iter().map(|p| p.rejected).sum(),
        plugins,
    }
}

fn show(summary: &Summary, out: &Out) -> Outcome {
    if out.json() {
        return Ok(out.document(summary)?);
    }
    let rows = summary.plugins.iter().map(|plugin| {
        [
            plugin.name.as_str().into(),
            plugin.kind.name().into(),
            plugin.records_in.into(),
            plugin.records_out.into(),
            plugin.rejected.into(),
        ]
    });
    out.table(["NAME", "KIND", "IN", "OUT", "REJECTED"], rows)?;
    out.line(format!(
        "{} records in, {} stored, {} rejected, {:.2} s",
        summary.rows_in, summary.rows_out, summary.rejected, summary.seconds
    ))?;
    Ok(())
}
