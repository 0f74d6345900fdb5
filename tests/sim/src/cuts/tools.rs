//! What is done to a directory that no store has open: it is repaired, and handed over to Kafka.

use anyhow::{Result, ensure};

use super::Scenario;
use super::script::{FIRST_LOG, Script, Told, put};
use crate::plan::Cleanup;
use crate::world::DIR;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario { look: stays_handed_over, ..Scenario::new("a handing over", stopped, hand_over) },
        Scenario { look: stays_repaired, ..Scenario::new("a repair", damaged, repair) },
    ]
}

fn stopped(script: &mut Script) -> Result<()> {
    script.open()?;
    script.create(Cleanup::Delete, 2, &[])?;
    for n in 0..2 {
        script.send_to(n, put("a", 30))?;
    }
    script.flush()?;
    script.close()
}

fn hand_over(script: &mut Script) -> Result<()> {
    script.hand_over()
}

/// Whoever comes back from Kafka does not find the topics as they were before.
fn stays_handed_over(script: &mut Script) -> Result<()> {
    let ours = script.world.disk.peek(&format!("{DIR}/flumen-topics.json"));
    let handed_over = script.told.contains(&Told::HandedOver);
    ensure!(!(handed_over && ours.is_some()), "the catalogue of a directory that is Kafka's is back");
    Ok(())
}

/// A log with a tail that is none, an index that is none, and a folder that is missing.
fn damaged(script: &mut Script) -> Result<()> {
    stopped(script)?;
    let tail = [7; 90];
    script.add(FIRST_LOG, &tail)?;
    script.kept.push(tail.to_vec());
    script.add("/data/t-0/00000000000000000000.index", &[7])?;
    script.remove_folder("/data/t-1")?;
    script.cut(|_| true)
}

fn repair(script: &mut Script) -> Result<()> {
    script.repair()
}

fn stays_repaired(script: &mut Script) -> Result<()> {
    script.look_for_kept()?;
    if !script.told.contains(&Told::Repaired) {
        script.repair()?;
        script.look_for_kept()?;
    }
    let found = script.found(flumen_store::survey)?;
    ensure!(found.is_empty(), "there is something to repair again: {found:?}");
    Ok(())
}
