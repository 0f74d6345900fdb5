//! What is done to all partitions, one after another.
//!
//! A trouble with one is told and does not keep the others waiting; it is tried again the next time round.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, RwLock};

use flumen_log::checkpoint::Offsets;
use flumen_types::{Timestamp, TopicPartition};

use crate::error::{FileError, chain};
use crate::files::checkpoints;
use crate::files::durable_file::{self, SYNC_ALL_OVER};
use crate::files::site::Site;
use crate::locks::{lock, read, try_lock};
use crate::partition::{Partition, Shared};

pub(crate) type Partitions = RwLock<HashMap<TopicPartition, Arc<Partition>>>;

/// What upkeep works on.
pub(crate) struct Upkeep {
    pub(crate) shared: Arc<Shared>,
    pub(crate) partitions: Arc<Partitions>,
}

/// By name: what is done to all is done in the same order each time.
pub(crate) fn in_order(partitions: &Partitions) -> Vec<Arc<Partition>> {
    let mut all: Vec<Arc<Partition>> = read(partitions).values().cloned().collect();
    all.sort_unstable_by(|a, b| a.id().cmp(b.id()));
    all
}

impl Upkeep {
    pub(crate) fn partitions_now(&self) -> Vec<Arc<Partition>> {
        in_order(&self.partitions)
    }

    /// Drops what is to go, everywhere that is not being compacted.
    pub(crate) fn retain(&self, now: Timestamp) {
        for partition in self.partitions_now() {
            self.retain_one(&partition, now);
        }
    }

    pub(crate) fn retain_one(&self, partition: &Partition, now: Timestamp) {
        if let Some(upkeep) = try_lock(&partition.upkeep) {
            self.retain_under(&upkeep, partition, now);
        }
    }

    /// The same once nobody else is at it.
    pub(crate) fn retain_in_turn(&self, now: Timestamp) {
        for partition in self.partitions_now() {
            self.retain_under(&lock(&partition.upkeep), &partition, now);
        }
    }

    fn retain_under(&self, upkeep: &MutexGuard<'_, ()>, partition: &Partition, now: Timestamp) {
        if let Err(error) = partition.retain(upkeep, now) {
            tracing::warn!(partition = %partition.id(), error = %chain(&error), "retention failed; it is tried again");
        }
    }

    /// Compacts what is due, everywhere, one after another.
    pub(crate) fn compact(&self, now: Timestamp) {
        for partition in self.due(now, |_| true) {
            self.compact_one(&partition, now);
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.shared.stopping.load(Ordering::Relaxed)
    }

    /// Looks once for what nobody would miss before they read there.
    pub(crate) fn look_for_gaps(&self) {
        for partition in self.partitions_now() {
            if let Err(error) = partition.look_for_gaps() {
                tracing::warn!(partition = %partition.id(), error = %chain(&error), "its segments cannot be looked through for gaps");
            }
        }
    }

    /// Notes how far everything is durable, so that a recovery need not look before that. One at a time:
    /// what is written last is what was asked last, and knows no partition that is gone.
    pub(crate) fn checkpoint(&self) -> Result<(), FileError> {
        let _one = lock(&self.shared.checkpointing);
        let partitions = self.partitions_now();
        self.advance(&partitions)?;
        for partition in &partitions {
            if let Err(error) = partition.take_moment() {
                tracing::warn!(partition = %partition.id(), error = %chain(&error), "its recovery point stays where it was");
            }
        }
        // Of those that are idle it is durable already; the others' turn is the next checkpoint.
        self.advance(&partitions)?;
        self.save_all()
    }

    /// Moves the recovery points of those whose last moment is durable.
    fn advance(&self, partitions: &[Arc<Partition>]) -> Result<(), FileError> {
        let stays = |partition: &Partition, error: &FileError| {
            tracing::warn!(partition = %partition.id(), error = %chain(error), "its recovery point stays where it was");
        };
        let mut written = Vec::new();
        for partition in partitions {
            match partition.write_moment() {
                Ok(moment) => written.extend(moment.map(|moment| (partition, moment))),
                Err(error) => stays(partition, &error),
            }
        }
        let many = written.len() > SYNC_ALL_OVER;
        if many {
            durable_file::sync_all(self.shared.files(), &self.shared.options.dir, Site::CheckpointTogether)?;
        }
        for (partition, moment) in &written {
            let synced = if many { Ok(()) } else { partition.sync_moment(moment) };
            if let Err(error) = synced.and_then(|()| partition.pass_moment(moment)) {
                stays(partition, &error);
            }
        }
        Ok(())
    }

    /// The files that say so, of all partitions.
    pub(crate) fn save_checkpoints(&self) -> Result<(), FileError> {
        let _one = lock(&self.shared.checkpointing);
        self.save_all()
    }

    fn save_all(&self) -> Result<(), FileError> {
        let points: Offsets =
            self.partitions_now().iter().map(|p| (p.id().clone(), p.recovery_point())).collect();
        let dir = &self.shared.options.dir;
        self.shared.starts.save()?;
        self.save_cleaned()?;
        checkpoints::save(self.shared.files(), dir, checkpoints::RECOVERY_POINTS, &points)
    }

    /// Notes how far everything is compacted, so that nothing is compacted twice.
    pub(crate) fn checkpoint_cleaned(&self) -> Result<(), FileError> {
        // The threads that compact come here side by side; what is read first must not be written last.
        let _one = lock(&self.shared.checkpointing);
        self.save_cleaned()
    }

    fn save_cleaned(&self) -> Result<(), FileError> {
        let cleaned = |p: &Arc<Partition>| p.cleaned_upto().map(|upto| (p.id().clone(), upto));
        let cleaned: Offsets = self.partitions_now().iter().filter_map(cleaned).collect();
        checkpoints::save(self.shared.files(), &self.shared.options.dir, checkpoints::CLEANED, &cleaned)
    }
}
