//! Where each trimmed partition starts: `log-start-offset-checkpoint`, written at each trim.
//!
//! A start that retention moved is not noted here: the first segment's base says it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use flumen_log::checkpoint::Offsets;
use flumen_types::{Offset, TopicPartition};

use crate::checkpoints;
use crate::error::FileError;
use crate::locks::lock;

pub(crate) struct Starts {
    dir: PathBuf,
    offsets: Mutex<Offsets>,
}

impl Starts {
    pub(crate) fn load(dir: &Path) -> Result<Starts, FileError> {
        let offsets = Mutex::new(checkpoints::load(dir, checkpoints::STARTS)?);
        Ok(Starts { dir: dir.to_path_buf(), offsets })
    }

    pub(crate) fn get(&self, tp: &TopicPartition) -> Option<Offset> {
        lock(&self.offsets).get(tp).copied()
    }

    /// Durable when this returns, but on a full disk: a trim is how room is made there, so it counts
    /// and is written with the next checkpoint. Never moves back.
    pub(crate) fn raise(&self, tp: &TopicPartition, to: Offset) -> Result<(), FileError> {
        let mut offsets = lock(&self.offsets);
        let before = offsets.get(tp).copied();
        if before.is_some_and(|before| before >= to) {
            return Ok(());
        }
        offsets.insert(tp.clone(), to);
        match checkpoints::save(&self.dir, checkpoints::STARTS, &offsets) {
            Err(error) if !error.is_full() => {
                match before {
                    Some(before) => offsets.insert(tp.clone(), before),
                    None => offsets.remove(tp),
                };
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// What could not be written before.
    pub(crate) fn save(&self) -> Result<(), FileError> {
        checkpoints::save(&self.dir, checkpoints::STARTS, &lock(&self.offsets))
    }

    /// A deleted topic's; one of its name begins at 0 again.
    pub(crate) fn forget(&self, topic: &str) -> Result<(), FileError> {
        let mut offsets = lock(&self.offsets);
        let before = offsets.len();
        offsets.retain(|tp, _| &*tp.topic != topic);
        if offsets.len() == before {
            Ok(())
        } else {
            checkpoints::save(&self.dir, checkpoints::STARTS, &offsets)
        }
    }
}
