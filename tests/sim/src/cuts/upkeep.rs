//! Retention and compaction, and what an open makes of a compaction that was cut short.

use anyhow::{Context, Result};
use flumen_store::{Site, Work};

use super::Scenario;
use super::script::{FIRST_LOG, Script, TOPIC, put};
use crate::plan::Cleanup;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("retention", aged, retain),
        Scenario::new("compaction", dirty, compact),
        Scenario::new("compaction around damage", dirty_and_damaged, compact_once),
        Scenario::new("a compaction that a power cut interrupted", half_swapped::<false>, carry_through),
        Scenario::new("the same around damage", half_swapped::<true>, carry_through),
    ]
}

/// Of producer 1000 there is nothing but in the first segment, and an aborted transaction is in the second.
fn aged(script: &mut Script) -> Result<()> {
    script.open()?;
    let configs = [("retention.ms", "20000"), ("internal.segment.bytes", "400")];
    script.create(Cleanup::Delete, 1, &configs)?;
    script.send(put("a", 200).by(1000))?;
    script.send(put("b", 30).within(1001))?;
    script.abort(1001)?;
    script.send(put("c", 200))?;
    script.send(put("d", 200))?;
    script.send(put("e", 200))?;
    script.flush()?;
    script.pass(30_000);
    script.send(put("f", 200))?;
    script.flush()
}

fn retain(script: &mut Script) -> Result<()> {
    script.work(Work::Retain)?;
    script.send(put("g", 30))?;
    script.flush()?;
    script.work(Work::Reap)
}

/// An aborted transaction whose records are in the first segment, and whose end is in the second.
fn dirty(script: &mut Script) -> Result<()> {
    script.open()?;
    let configs = [
        ("cleanup.policy", "compact"),
        ("min.cleanable.dirty.ratio", "0"),
        ("delete.retention.ms", "5000"),
        ("internal.segment.bytes", "400"),
    ];
    script.create(Cleanup::Compact, 1, &configs)?;
    script.send(put("x", 30))?;
    script.send(put("a", 30).within(1001))?;
    script.send(put("b", 100).ahead(9000))?;
    script.abort(1001)?;
    script.send(put("b", 100).ahead(8000))?;
    script.send(put("c", 200))?;
    script.send(put("c", 200))?;
    script.send(put("d", 200))?;
    script.flush()?;
    script.work(Work::Checkpoint)
}

/// The first record of the first segment has rotted, which the first reader found.
fn dirty_and_damaged(script: &mut Script) -> Result<()> {
    dirty(script)?;
    script.close()?;
    let content = script.world.disk.peek(FIRST_LOG).context("there is a first segment")?;
    let at = 75;
    script.world.disk.rot(FIRST_LOG, at, &[content[at] ^ 1]);
    let topic = script.world.topics.get_mut(TOPIC).context("there is a topic")?;
    topic.partitions[0].rotten.push(0..1);
    script.open()
}

fn compact_once(script: &mut Script) -> Result<()> {
    script.work(Work::Compact)?;
    script.send(put("a", 200))?;
    script.flush()?;
    script.work(Work::Reap)
}

/// And once more, when the ends of transactions may go.
fn compact(script: &mut Script) -> Result<()> {
    compact_once(script)?;
    script.pass(10_000);
    script.send(put("c", 200))?;
    script.flush()?;
    script.work(Work::Compact)
}

/// The old segments wait for their other names.
fn half_swapped<const DAMAGED: bool>(script: &mut Script) -> Result<()> {
    if DAMAGED {
        dirty_and_damaged(script)?
    } else {
        dirty(script)?
    }
    script.cut_at(Site::ReplacedSegments);
    script.work(Work::Compact)?;
    script.cut(|_| false)
}

fn carry_through(script: &mut Script) -> Result<()> {
    script.open()?;
    script.send(put("a", 200))?;
    script.flush()?;
    script.work(Work::Reap)?;
    script.work(Work::Compact)
}
