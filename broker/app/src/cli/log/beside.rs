//! The small files beside the segments: producer snapshots, checkpoints, leader epochs, metadata.

use std::path::Path;

use flumen_log::checkpoint;
use flumen_log::epochs::LeaderEpochs;
use flumen_log::producers::ProducerStates;
use serde_json::json;

use super::read_small;
use super::report::Report;
use crate::cli::{Outcome, format};

pub(super) fn dump_snapshot(path: &Path, report: &mut Report<'_>) -> Outcome {
    let states = match ProducerStates::from_snapshot(&read_small(path)?) {
        Ok(states) => states,
        Err(error) => return Ok(report.problem(None, error.to_string())?),
    };
    let mut producers: Vec<_> = states.iter().collect();
    producers.sort_by_key(|(id, _)| *id);
    for (id, state) in producers {
        let open =
            state.open_transaction.map_or(String::new(), |first| format!("  open since offset {first}"));
        report.fact(
            || {
                format!(
                    "producer {id}/{}  sequence {}  offset {}  {}{open}",
                    state.epoch,
                    state.last_sequence(),
                    state.last_offset(),
                    format::time(state.last_timestamp.0),
                )
            },
            || {
                json!({
                    "producer_id": id, "producer_epoch": state.epoch, "last_sequence": state.last_sequence(),
                    "last_offset": state.last_offset(), "timestamp": state.last_timestamp,
                    "coordinator_epoch": state.coordinator_epoch, "open_transaction": state.open_transaction,
                })
            },
        )?;
    }
    Ok(())
}

pub(super) fn dump_checkpoint(path: &Path, report: &mut Report<'_>) -> Outcome {
    match checkpoint::read_offsets(&String::from_utf8_lossy(&read_small(path)?)) {
        Ok(offsets) => {
            for (partition, offset) in offsets {
                report.fact(
                    || format!("{partition}  {offset}"),
                    || json!({ "topic": partition.topic, "partition": partition.partition, "offset": offset }),
                )?;
            }
        }
        Err(error) => report.problem(None, error.to_string())?,
    }
    Ok(())
}

pub(super) fn dump_epochs(path: &Path, report: &mut Report<'_>) -> Outcome {
    match LeaderEpochs::from_text(&String::from_utf8_lossy(&read_small(path)?)) {
        Ok(epochs) => {
            for (epoch, start) in epochs.starts() {
                report.fact(
                    || format!("epoch {epoch}  from offset {start}"),
                    || json!({ "epoch": epoch, "start_offset": start }),
                )?;
            }
        }
        Err(error) => report.problem(None, error.to_string())?,
    }
    Ok(())
}

/// Files that are text anyway.
pub(super) fn dump_text(path: &Path, report: &mut Report<'_>) -> Outcome {
    let text = read_small(path)?;
    for line in String::from_utf8_lossy(&text).lines() {
        report.fact(|| line.to_string(), || json!({ "text": line }))?;
    }
    Ok(())
}
