//! One partition of `__share_group_state` at work: the pure states, and their journal.

use std::sync::{Mutex, MutexGuard, PoisonError};

use flumen_groups::share_state::{Options, ShareStateEntry, ShareStates, StateError};
use flumen_types::{Offset, Timestamp};
use thiserror::Error;

use crate::coordinator::journal::{Journal, ReplayError, Replayed};
use crate::partition_log::{AppendError, TrimError};

pub(crate) struct StateCell {
    journal: Journal,
    states: Mutex<ShareStates>,
}

/// Why a state was not changed.
#[derive(Debug, Error)]
pub(crate) enum StateRefused {
    #[error(transparent)]
    Refused(#[from] StateError),
    #[error("the state of a share partition cannot be written")]
    Unwritten(#[from] AppendError),
}

impl StateCell {
    /// Reads back what the partition says.
    pub(crate) async fn load(journal: Journal, options: Options) -> Result<StateCell, ReplayError> {
        let mut states = ShareStates::new(options);
        journal
            .replay(|replayed| {
                if let Replayed::Record { key, value, at, .. } = replayed {
                    states.apply(&ShareStateEntry::read(&key, value.as_ref())?, at);
                }
                Ok(())
            })
            .await?;
        Ok(StateCell { journal, states: Mutex::new(states) })
    }

    fn lock(&self) -> MutexGuard<'_, ShareStates> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks without changing anything.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&ShareStates) -> T) -> T {
        look(&self.lock())
    }

    /// Decides and writes; what was decided, and what to wait for.
    pub(crate) fn change<T>(
        &self,
        now: Timestamp,
        decide: impl FnOnce(&ShareStates) -> Result<(Vec<ShareStateEntry>, T), StateError>,
    ) -> Result<(T, Option<Offset>), StateRefused> {
        let mut states = self.lock();
        let (entries, told) = decide(&states)?;
        if entries.is_empty() {
            return Ok((told, None));
        }
        let base = self.journal.append(entries.iter().filter_map(ShareStateEntry::record), None, now)?;
        for (n, entry) in entries.iter().enumerate() {
            states.apply(entry, base.plus(n as i64));
        }
        Ok((told, Some(base.plus(entries.len() as i64 - 1))))
    }

    /// Whether what was written is durable; waits until that is known.
    pub(crate) async fn durable(&self, last: Option<Offset>) -> bool {
        match last {
            Some(last) => self.journal.durable(last).await,
            None => true,
        }
    }

    /// Drops what lies before the oldest snapshot that counts, once that is durable.
    pub(crate) async fn prune(&self) -> Result<(), TrimError> {
        let Some(to) = self.read(ShareStates::redundant_before).filter(|to| *to > Offset::ZERO) else {
            return Ok(());
        };
        match self.journal.durable(to).await {
            true => self.journal.trim(to).await,
            false => Ok(()),
        }
    }
}
