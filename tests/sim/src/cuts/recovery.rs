//! What recoveries read, leave behind, cut off and set aside.

use anyhow::Result;
use flumen_store::Work;

use super::Scenario;
use super::script::{FIRST_LOG, Script, TOPIC, put};
use super::writing::MANY;
use crate::plan::Cleanup;

/// Of batches, before what a file's page ends with.
const PAGE: usize = 4096;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("a recovery", killed::<1>, go_on),
        Scenario::new("a recovery of many partitions", killed::<MANY>, go_on),
        Scenario::new("a recovery from a cache that lies", with_lost_pages::<1>, go_on),
        Scenario::new("the same of many partitions", with_lost_pages::<MANY>, go_on),
        Scenario::new("a recovery that cuts off a tail", torn::<1>, write_over),
        Scenario::new("a recovery that cuts off a tail, of many partitions", torn::<MANY>, write_over),
        Scenario::new("a recovery that sets a segment aside", torn_off, write_over),
        Scenario::new("retention behind a recovery", killed_and_aged, retain),
    ]
}

fn created<const COUNT: usize>(script: &mut Script, segment_bytes: &str) -> Result<()> {
    script.open()?;
    script.create(Cleanup::Delete, COUNT, &[("internal.segment.bytes", segment_bytes)])
}

/// Nothing was synced yet of several segments, in the first of which a transaction was aborted.
fn killed<const COUNT: usize>(script: &mut Script) -> Result<()> {
    created::<COUNT>(script, "400")?;
    script.send(put("a", 30).within(1001))?;
    script.send(put("b", 30).by(1000).ahead(9000))?;
    script.abort(1001)?;
    script.send(put("c", 200))?;
    script.send(put("d", 200))?;
    script.kill()
}

fn go_on(script: &mut Script) -> Result<()> {
    script.open()?;
    script.work(Work::Checkpoint)?;
    script.send(put("e", 30))?;
    script.flush()
}

/// The kernel could not write out the first of two appends, and says that it did.
fn with_lost_pages<const COUNT: usize>(script: &mut Script) -> Result<()> {
    created::<COUNT>(script, "20000")?;
    script.send(put("a", 30))?;
    script.flush()?;
    script.send(put("b", 30))?;
    script.world.disk.fail_writeback(FIRST_LOG);
    script.send(put("c", 30))?;
    script.kill()
}

/// An append never reached the disk, and the next one did, which begins with a page.
fn torn<const COUNT: usize>(script: &mut Script) -> Result<()> {
    created::<COUNT>(script, "20000")?;
    script.send(put("a", 30))?;
    script.flush()?;
    let left = PAGE - script.log_bytes();
    script.send_bytes("b", left)?;
    script.send(put("c", 3000))?;
    script.keep_last();
    script.cut(|what| what != format!("page 0 {FIRST_LOG}"))
}

/// The same, and the next one is in the next segment.
fn torn_off(script: &mut Script) -> Result<()> {
    created::<1>(script, "400")?;
    script.send(put("a", 30))?;
    script.flush()?;
    script.send(put("b", 60))?;
    script.send(put("c", 300))?;
    script.keep_last();
    script.cut(|what| !what.ends_with(FIRST_LOG))
}

/// With as many bytes as what was lost.
fn write_over(script: &mut Script) -> Result<()> {
    let log = &script.world.topics[TOPIC].partitions[0];
    let lost = log.batches[1].bytes.len();
    script.open()?;
    script.send_bytes("B", lost)?;
    script.flush()
}

/// Of producer 1000 there is nothing but in the first segment.
fn killed_and_aged(script: &mut Script) -> Result<()> {
    script.open()?;
    let configs = [("retention.ms", "20000"), ("internal.segment.bytes", "400")];
    script.create(Cleanup::Delete, 1, &configs)?;
    script.send(put("a", 200).by(1000))?;
    script.send(put("b", 200))?;
    script.send(put("c", 200))?;
    script.send(put("d", 200))?;
    script.pass(30_000);
    script.send(put("e", 200))?;
    script.kill()
}

fn retain(script: &mut Script) -> Result<()> {
    script.open()?;
    script.work(Work::Retain)?;
    script.send(put("f", 30))?;
    script.flush()
}
