//! Where each trimmed partition starts: `log-start-offset-checkpoint`, written at each trim.
//!
//! A start that retention moved is not noted here: the first segment's base says it.
//!
//! Invariants: one thread writes at a time, and what others have noted meanwhile goes with the next
//! write, so that many trims at once cost few. A deleted topic's entries are gone before one of its
//! name is made.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use flumen_log::checkpoint::Offsets;
use flumen_types::{Offset, TopicPartition};

use crate::error::FileError;
use crate::files::checkpoints;
use crate::files::file_system::FileSystem;
use crate::locks::lock;

pub(crate) struct Starts {
    files: Arc<dyn FileSystem>,
    dir: PathBuf,
    state: Mutex<State>,
    writing: Mutex<()>,
}

#[derive(Default)]
struct State {
    offsets: Offsets,
    /// How many changes there were, and how many of them the file has.
    noted: u64,
    saved: u64,
}

impl Starts {
    pub(crate) fn load(files: &Arc<dyn FileSystem>, dir: &Path) -> Result<Starts, FileError> {
        let offsets = checkpoints::load(&**files, dir, checkpoints::STARTS)?;
        let state = Mutex::new(State { offsets, ..State::default() });
        Ok(Starts { files: files.clone(), dir: dir.to_path_buf(), state, writing: Mutex::default() })
    }

    pub(crate) fn get(&self, tp: &TopicPartition) -> Option<Offset> {
        lock(&self.state).offsets.get(tp).copied()
    }

    /// Durable when this returns, but on a full disk: a trim is how room is made there, so it counts
    /// and is written with the next checkpoint. Never moves back.
    pub(crate) fn raise(&self, tp: &TopicPartition, to: Offset) -> Result<(), FileError> {
        let before = {
            let mut state = lock(&self.state);
            let before = state.offsets.get(tp).copied();
            if before.is_none_or(|before| before < to) {
                state.offsets.insert(tp.clone(), to);
                state.noted += 1;
            }
            before
        };
        match self.save() {
            Err(error) if !error.is_full() => {
                self.take_back(tp, to, before);
                Err(error)
            }
            _ => Ok(()),
        }
    }

    fn take_back(&self, tp: &TopicPartition, to: Offset, before: Option<Offset>) {
        let mut state = lock(&self.state);
        // Unless somebody has raised it further.
        if state.offsets.get(tp) == Some(&to) {
            match before {
                Some(before) => state.offsets.insert(tp.clone(), before),
                None => state.offsets.remove(tp),
            };
            state.noted += 1;
        }
    }

    /// Writes what the file does not have yet.
    pub(crate) fn save(&self) -> Result<(), FileError> {
        let wanted = lock(&self.state).noted;
        let _writing = lock(&self.writing);
        let (offsets, noted) = {
            let state = lock(&self.state);
            if state.saved >= wanted {
                return Ok(());
            }
            (state.offsets.clone(), state.noted)
        };
        checkpoints::save(&*self.files, &self.dir, checkpoints::STARTS, &offsets)?;
        lock(&self.state).saved = noted;
        Ok(())
    }

    /// A deleted topic's; one of its name begins at 0 again.
    pub(crate) fn forget(&self, topic: &str) -> Result<(), FileError> {
        self.retain(|tp| &*tp.topic != topic)
    }

    /// Keeps only those of these partitions.
    pub(crate) fn retain(&self, keep: impl Fn(&TopicPartition) -> bool) -> Result<(), FileError> {
        {
            let mut state = lock(&self.state);
            let before = state.offsets.len();
            state.offsets.retain(|tp, _| keep(tp));
            state.noted += u64::from(state.offsets.len() < before);
        }
        self.save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::os::OsFiles;

    #[test]
    fn trims_at_once_are_all_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let files: Arc<dyn FileSystem> = Arc::new(OsFiles);
        let starts = Starts::load(&files, dir.path()).unwrap();
        std::thread::scope(|scope| {
            for n in 0..8 {
                let starts = &starts;
                scope.spawn(move || {
                    for to in 1..20 {
                        starts.raise(&TopicPartition::new("t", n), Offset(to)).unwrap();
                    }
                });
            }
        });
        let loaded = Starts::load(&files, dir.path()).unwrap();
        assert!((0..8).all(|n| loaded.get(&TopicPartition::new("t", n)) == Some(Offset(19))));
        loaded.forget("t").unwrap();
        assert_eq!(Starts::load(&files, dir.path()).unwrap().get(&TopicPartition::new("t", 0)), None);
    }
}
