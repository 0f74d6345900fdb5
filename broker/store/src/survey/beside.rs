//! What lies beside a partition's segments, against what the walk through them has found.

use flumen_log::epochs::LeaderEpochs;
use flumen_log::producers::ProducerStates;
use flumen_types::{LeaderEpoch, Offset, TopicPartition};

use crate::error::FileError;
use crate::files::durable_file;
use crate::partition::folder::{EPOCHS, snapshot_path};
use crate::survey::Remedy;
use crate::survey::partition::Walk;

impl Walk<'_, '_> {
    /// Those from before an offset, against what the log says of the producers there.
    pub(super) fn compare_snapshots(&mut self, upto: Offset) {
        while let Some(offset) = self.snapshots.first().copied().filter(|offset| *offset <= upto) {
            self.snapshots.remove(0);
            let path = snapshot_path(&self.dir, offset);
            let wrong = match durable_file::read(&*self.question.files, &path) {
                Ok(Some(content)) => match ProducerStates::from_snapshot(&content) {
                    // The log does not have all that it was made of.
                    Ok(_) if self.lossy || self.facts.compacted => None,
                    Ok(said) => self.differs(&said),
                    // It is written again when a segment ends where a checkpoint was.
                    Err(_) if !self.is_saved(offset.next()) => None,
                    Err(error) => Some(format!("it cannot be read: {error}")),
                },
                // Gone meanwhile.
                Ok(None) => None,
                Err(error) => Some(error.to_string()),
            };
            if let Some(what) = wrong {
                self.tell(path.clone(), None, what, Remedy::SetAside(vec![path]));
            }
        }
    }

    /// A producer that either does not know was forgotten, or its records are gone.
    fn differs(&self, said: &ProducerStates) -> Option<String> {
        said.iter().find_map(|(id, state)| {
            let known = self.producers.get(id)?;
            let same = known.epoch == state.epoch
                && known.open_transaction == state.open_transaction
                && known.last_offset() == state.last_offset();
            (!same).then(|| {
                format!(
                    "of producer {id} it says epoch {} and offset {}, the log epoch {} and offset {}",
                    state.epoch,
                    state.last_offset(),
                    known.epoch,
                    known.last_offset()
                )
            })
        })
    }

    pub(super) fn load_epochs(&mut self) -> Result<(), FileError> {
        let content = durable_file::read(&*self.question.files, &self.dir.join(EPOCHS))?;
        let text = content.map(|content| String::from_utf8_lossy(&content).into_owned());
        match text.map(|text| LeaderEpochs::from_text(&text)) {
            Some(Ok(epochs)) => self.said_epochs = Some(epochs),
            // Both are told at the end, with what it should be.
            Some(Err(_)) | None => self.epochs_differ = true,
        }
        Ok(())
    }

    pub(super) fn check_epochs(&mut self) {
        let behind = self.said_epochs.as_ref().and_then(|said| said.starts().last());
        let behind = behind.is_some_and(|(_, start)| *start > self.end) && !self.facts.in_use;
        if (self.epochs_differ || behind) && !self.segments.is_empty() {
            let mut epochs = self.epochs.clone();
            epochs.note(LeaderEpoch(0), self.end);
            let path = self.dir.join(EPOCHS);
            let content = epochs.to_text().into_bytes();
            let what = "it is missing, cannot be read, or is not what the batches say";
            self.tell(path.clone(), None, what, Remedy::Write { path, content });
        }
    }

    /// Whose end may be among what is lost.
    pub(super) fn tell_open_transactions(&mut self) {
        let open = self.producers.iter().filter_map(|(id, state)| Some((id, state.open_transaction?)));
        let mut hanging: Vec<_> =
            open.filter(|(_, first)| self.holes.iter().any(|hole| hole.end > *first)).collect();
        hanging.sort_unstable_by_key(|(_, first)| *first);
        let TopicPartition { topic, partition } = self.facts.tp.clone();
        for (id, first) in hanging {
            let what = format!(
                "the transaction of producer {id} is open since offset {first}, and its end may be among what is lost: readers of committed records stop there; end it beside a running broker with `flumen txn abort --topic {topic} --partition {partition} --start-offset {first}`"
            );
            self.tell(self.dir.to_path_buf(), None, what, Remedy::None);
        }
    }
}
