//! Topics made and deleted, and folders that are nobody's.

use anyhow::Result;
use flumen_store::{Site, Work};

use super::Scenario;
use super::script::{FOLDER, Script, put};
use super::writing::MANY;
use crate::plan::Cleanup;

pub(super) fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::new("a first topic", nothing, make::<1>),
        Scenario::new("a topic of many partitions", opened, make_more::<MANY>),
        Scenario::new("a folder that is missing", without_folder, begin_anew),
        Scenario::new("a topic that is deleted", made, delete),
        Scenario::new("a topic that is deleted before anything is in it", made_empty, delete),
        Scenario::new("a deletion that a power cut interrupted", half_deleted, sweep),
    ]
}

fn nothing(_: &mut Script) -> Result<()> {
    Ok(())
}

fn opened(script: &mut Script) -> Result<()> {
    script.open()
}

fn make<const COUNT: usize>(script: &mut Script) -> Result<()> {
    script.open()?;
    make_more::<COUNT>(script)
}

fn make_more<const COUNT: usize>(script: &mut Script) -> Result<()> {
    script.create(Cleanup::Delete, COUNT, &[])?;
    script.send(put("a", 30).by(1000))?;
    script.flush()?;
    script.send(put("b", 30))?;
    script.flush()
}

/// As an operator, or a power cut in the midst of a creation, leaves it.
fn without_folder(script: &mut Script) -> Result<()> {
    made_empty(script)?;
    script.close()?;
    script.remove_folder(FOLDER)?;
    script.cut(|_| true)
}

fn begin_anew(script: &mut Script) -> Result<()> {
    script.open()?;
    script.send(put("a", 30))?;
    script.flush()?;
    script.send(put("b", 30))?;
    script.flush()
}

fn made_empty(script: &mut Script) -> Result<()> {
    script.open()?;
    script.create(Cleanup::Delete, 1, &[])
}

fn made(script: &mut Script) -> Result<()> {
    made_empty(script)?;
    script.send(put("a", 30))?;
    script.flush()
}

fn delete(script: &mut Script) -> Result<()> {
    script.delete()?;
    script.work(Work::Reap)?;
    script.create(Cleanup::Delete, 1, &[])?;
    script.send(put("b", 30))?;
    script.flush()
}

/// The catalogue says so, and the folder still has its name.
fn half_deleted(script: &mut Script) -> Result<()> {
    made(script)?;
    script.cut_at(Site::DeletedPartitions);
    script.delete()?;
    script.cut(|_| false)
}

fn sweep(script: &mut Script) -> Result<()> {
    script.open()?;
    script.work(Work::Reap)?;
    script.create(Cleanup::Delete, 1, &[])?;
    script.send(put("b", 30))?;
    script.flush()
}
