//! Appends, group commits, clean stops and checkpoints.

use anyhow::{Result, ensure};
use flumen_store::Work;

use super::Scenario;
use super::script::{Script, TOPIC, Told, put};
use crate::plan::Cleanup;

/// More than are synced one by one.
pub(super) const MANY: usize = 17;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("appends", created::<1>, append),
        Scenario {
            syncfs_over: 1,
            ..Scenario::new("appends, synced together", created::<2>, append_to_both)
        },
        Scenario::new("a clean stop", written::<1>, stop),
        Scenario::new("a clean stop of many partitions", written::<MANY>, stop),
        Scenario { look: opens_quickly, ..Scenario::new("a checkpoint", long::<1>, checkpoint) },
        Scenario {
            look: opens_quickly,
            ..Scenario::new("a checkpoint of many partitions", long_all, checkpoint)
        },
    ]
}

fn created<const COUNT: usize>(script: &mut Script) -> Result<()> {
    script.open()?;
    script.create(Cleanup::Delete, COUNT, &[])
}

fn append(script: &mut Script) -> Result<()> {
    append_beside(script, |_| Ok(()))
}

fn append_to_both(script: &mut Script) -> Result<()> {
    append_beside(script, |script| script.send_to(1, put("z", 30)))
}

/// Rolls once a round; what was aborted, and the latest record, are in the segment that is sealed.
fn append_beside(script: &mut Script, beside: impl Fn(&mut Script) -> Result<()>) -> Result<()> {
    for round in 0..2 {
        script.send(put("a", 30).within(1001))?;
        script.send(put("b", 30).by(1000).ahead(if round == 0 { 9000 } else { 10 }))?;
        beside(script)?;
        script.flush()?;
        script.abort(1001)?;
        script.send(put("c", 200))?;
        script.send(put("d", 300))?;
        beside(script)?;
        script.flush()?;
    }
    script.work(Work::Checkpoint)?;
    script.send(put("e", 30))?;
    script.flush()
}

/// Something that only the index of aborted transactions tells, in the segment that is being written.
fn written<const COUNT: usize>(script: &mut Script) -> Result<()> {
    created::<COUNT>(script)?;
    script.send(put("a", 30).within(1001))?;
    script.send(put("b", 30).by(1000).ahead(9000))?;
    script.abort(1001)?;
    script.send(put("c", 30))?;
    script.flush()
}

fn stop(script: &mut Script) -> Result<()> {
    script.close()?;
    script.open()?;
    script.send(put("d", 30))?;
    script.flush()
}

/// A segment with much in it, and a checkpoint of some of it.
fn long<const COUNT: usize>(script: &mut Script) -> Result<()> {
    script.open()?;
    script.create(Cleanup::Delete, COUNT, &[("internal.segment.bytes", "50000")])?;
    for _ in 0..6 {
        script.send(put("a", 900).by(1000))?;
    }
    script.flush()?;
    script.work(Work::Checkpoint)?;
    script.send(put("b", 30).ahead(9000))?;
    script.send(put("c", 30).within(1001))?;
    script.abort(1001)?;
    script.send(put("d", 900))?;
    script.flush()
}

/// The same, with something in all of them.
fn long_all(script: &mut Script) -> Result<()> {
    long::<MANY>(script)?;
    for n in 1..MANY {
        script.send_to(n, put("a", 30))?;
    }
    script.flush()
}

fn checkpoint(script: &mut Script) -> Result<()> {
    script.work(Work::Checkpoint)?;
    script.send(put("e", 30))?;
    script.flush()
}

/// What lies before the recovery point is not read again, but for a batch or two; unless the power goes while the
/// next one is written.
fn opens_quickly(script: &mut Script) -> Result<()> {
    let point = script.recovery_point()?;
    let checkpointed = script.told.contains(&Told::Checkpointed);
    super::opens(script)?;
    let log = &script.world.topics[TOPIC].partitions[0];
    let behind = log.batches.iter().filter(|batch| batch.last >= point - 2);
    let most = behind.map(|batch| batch.bytes.len() as u64).sum::<u64>() + 600;
    let read = script.read_by_open;
    ensure!(
        read <= most || !checkpointed,
        "{read} bytes were read and not {most} at most: the recovery point is {point}"
    );
    Ok(())
}
