//! Which partition is compacted next, and by which of the cleaner threads.
//!
//! The partitions are looked through when there is nothing to do; those that are due are handed out, the most
//! urgent first (`flumen_log::compaction`). Nobody works on a partition beside another thread. One whose
//! compaction fails is tried again after a while, and after a longer while each time: its neighbours go on.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen_log::compaction::{Dirt, retry_after};
use flumen_types::{Timestamp, TopicPartition};

use crate::error::{CompactError, chain};
use crate::locks::lock;
use crate::partition::Partition;
use crate::partition::cleaning::CleaningFailure;
use crate::upkeep::tasks::Upkeep;
use crate::wake::Wake;

/// What the threads share.
#[derive(Default)]
pub(crate) struct Cleaners {
    agenda: Mutex<Agenda>,
}

#[derive(Default)]
struct Agenda {
    due: VecDeque<Arc<Partition>>,
    busy: HashSet<TopicPartition>,
}

impl Cleaners {
    /// Compacts what is due until nothing is, or its thread is to end.
    pub(crate) fn work(&self, upkeep: &Upkeep, wake: &Wake) {
        let now = || upkeep.shared.options.clock.now();
        while !wake.is_stopping()
            && let Some(partition) = self.take(upkeep, now())
        {
            upkeep.compact_one(&partition, now());
            lock(&self.agenda).busy.remove(partition.id());
        }
    }

    fn take(&self, upkeep: &Upkeep, now: Timestamp) -> Option<Arc<Partition>> {
        let mut agenda = lock(&self.agenda);
        if upkeep.is_stopping() {
            return None;
        }
        if agenda.due.is_empty() {
            let due = upkeep
                .due(now, |partition| !agenda.busy.contains(partition.id()) && partition.may_be_tried());
            agenda.due.extend(due);
        }
        let next = agenda.due.pop_front()?;
        agenda.busy.insert(next.id().clone());
        Some(next)
    }
}

impl Upkeep {
    /// Those that are due, the most urgent first.
    pub(crate) fn due(&self, now: Timestamp, wanted: impl Fn(&Partition) -> bool) -> Vec<Arc<Partition>> {
        let mut due: Vec<(Dirt, Arc<Partition>)> = Vec::new();
        for partition in self.partitions_now() {
            if !wanted(&partition) {
                continue;
            }
            match partition.dirt(now) {
                Ok(Some(dirt)) if dirt.due(&partition.config()) => due.push((dirt, partition)),
                Ok(_) => {}
                Err(error) => partition.note_failure(&error.into(), self.shared.settings().cleaner.backoff),
            }
        }
        due.sort_by(|(a, _), (b, _)| a.urgency(b));
        due.into_iter().map(|(_, partition)| partition).collect()
    }

    pub(crate) fn compact_one(&self, partition: &Partition, now: Timestamp) {
        match partition.compact(now) {
            Ok(passed) => {
                *lock(&partition.uncleanable) = None;
                if passed {
                    self.retain_one(partition, now);
                    if let Err(error) = self.checkpoint_cleaned() {
                        tracing::warn!(error = %chain(&error), "after a crash, what was compacted is compacted again");
                    }
                }
            }
            Err(error) => partition.note_failure(&error, self.shared.settings().cleaner.backoff),
        }
    }
}

impl Partition {
    /// Why it is not compacted, if that has failed.
    pub fn cleaning_failure(&self) -> Option<CleaningFailure> {
        lock(&self.uncleanable).clone()
    }

    fn may_be_tried(&self) -> bool {
        lock(&self.uncleanable)
            .as_ref()
            .is_none_or(|failure| self.shared.options.clock.instant() >= failure.next_try)
    }

    fn note_failure(&self, error: &CompactError, backoff: Duration) {
        let mut uncleanable = lock(&self.uncleanable);
        let failures = uncleanable.as_ref().map_or(0, |failure| failure.failures).saturating_add(1);
        let wait = retry_after(failures, backoff);
        let reason = chain(error);
        tracing::warn!(
            partition = %self.tp, error = %reason, failures, again_in_s = wait.as_secs(),
            "compaction failed; it is tried again"
        );
        *uncleanable = Some(CleaningFailure {
            failures,
            reason: reason.to_string(),
            next_try: self.shared.options.clock.instant() + wait,
        });
    }
}
