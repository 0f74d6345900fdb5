//! One partition as a share group works on it: the pure records, where they are kept, and who waits.
//!
//! What somebody says of records is appended to `__share_group_state` and holds from then on; it is told
//! once the append is durable. Should the broker be killed before, nobody was told, and the records are
//! delivered again.
//!
//! Invariants: one fetch at a time reads and takes. Whoever finds nothing waits for news, which come
//! whenever something may have become available.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flumen_groups::share_partition::{
    Acknowledge, Acquire, Acquired, Changes, Figures, Limits, Refused, SharePartition, Span,
};
use flumen_groups::share_state::{ShareKey, ShareState, StateError, StateWrite};
use flumen_protocol::ErrorCode;
use flumen_types::{Offset, Timestamp};
use tokio::sync::{OwnedMutexGuard, watch};

use super::state_cell::{StateCell, StateRefused};
use super::store::state_code;
use crate::partition_log::{AppendError, PartitionLog};

pub(crate) struct ShareCell {
    key: ShareKey,
    log: Arc<dyn PartitionLog>,
    states: Arc<StateCell>,
    state_epoch: i32,
    leader_epoch: i32,
    records: Mutex<SharePartition>,
    fetching: Arc<tokio::sync::Mutex<()>>,
    news: watch::Sender<()>,
    /// Its state was set anew: nothing holds any more that is said here.
    fenced: AtomicBool,
    /// Records whose locks have ended.
    timed_out: AtomicU64,
}

/// The right to read and take, until it is dropped.
pub(crate) struct Turn {
    /// Where to read.
    pub(crate) from: Offset,
    _fetching: OwnedMutexGuard<()>,
}

/// What somebody said, and until where it must be durable before it is answered.
pub(crate) struct Said {
    states: Arc<StateCell>,
    last: Option<Offset>,
}

impl Said {
    pub(crate) async fn settled(self) -> Result<(), ErrorCode> {
        match self.states.durable(self.last).await {
            true => Ok(()),
            false => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }
}

impl ShareCell {
    /// With the state as it was kept, beginning at `start`.
    pub(crate) fn new(
        key: ShareKey,
        log: Arc<dyn PartitionLog>,
        states: Arc<StateCell>,
        state: &ShareState,
        start: Offset,
    ) -> Self {
        let leader_epoch = log.marks().epoch.0.max(0);
        ShareCell {
            key,
            log,
            states,
            state_epoch: state.state_epoch,
            leader_epoch,
            records: Mutex::new(SharePartition::load(start, &state.batches)),
            fetching: Arc::default(),
            news: watch::Sender::default(),
            fenced: AtomicBool::new(false),
            timed_out: AtomicU64::new(0),
        }
    }

    pub(crate) fn group(&self) -> &Arc<str> {
        &self.key.group
    }

    /// How many records it is at, and how many were held for too long.
    pub(crate) fn figures(&self) -> (Figures, u64) {
        (self.lock().figures(), self.timed_out.load(Ordering::Relaxed))
    }

    pub(crate) fn log(&self) -> &Arc<dyn PartitionLog> {
        &self.log
    }

    pub(crate) fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, SharePartition> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn fence(&self) {
        self.fenced.store(true, Ordering::Release);
        self.news.send_replace(());
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Nothing will come of it any more: its state was set anew, or its topic is gone.
    pub(crate) fn is_over(&self) -> bool {
        self.is_fenced() || self.log.watch().has_changed().is_err()
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.lock().next_deadline()
    }

    /// A turn to read and take; `None` if somebody else has it, or there is nothing to be taken.
    pub(crate) fn turn(&self, limits: &Limits) -> Option<Turn> {
        let fetching = self.fetching.clone().try_lock_owned().ok()?;
        let mut records = self.lock();
        let may = !self.is_fenced() && records.can_acquire(limits);
        may.then(|| Turn { from: records.next_fetch(), _fetching: fetching })
    }

    /// Takes of what was read; of it, what belongs to transactions that were aborted is done.
    pub(crate) fn acquire(
        &self,
        turn: Turn,
        ask: &Acquire,
        limits: &Limits,
        read: &[Span],
        aborted: &[Span],
    ) -> Vec<Acquired> {
        let mut records = self.lock();
        let mut taken = records.acquire(ask, limits, read);
        if !taken.is_empty() && !aborted.is_empty() {
            taken = records.archive_aborted(aborted, taken);
        }
        drop(records);
        drop(turn);
        // Who had to wait for this turn may find something as well.
        self.news.send_replace(());
        taken
    }

    /// Others may have the turn: nothing is taken.
    pub(crate) fn pass(&self, turn: Turn) {
        drop(turn);
        self.news.send_replace(());
    }

    /// The log begins later than where it was read.
    pub(crate) fn truncate(&self, turn: Turn, log_start: Offset) {
        self.lock().truncate(log_start);
        drop(turn);
        self.news.send_replace(());
    }

    pub(crate) fn acknowledge(
        &self,
        member: &str,
        said: &[Acknowledge],
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Said, ErrorCode> {
        let mut records = self.lock();
        let changes = records.acknowledge(member, said, limits, now).map_err(refused_code)?;
        self.make(&mut records, &changes, now)
    }

    /// What a member holds goes back.
    pub(crate) fn release(&self, member: &str, limits: &Limits, now: Timestamp) -> Result<Said, ErrorCode> {
        let mut records = self.lock();
        let changes = records.release(member, limits);
        self.make(&mut records, &changes, now)
    }

    /// What was held for too long goes back, whether that can be written or not: else nobody would ever
    /// have it.
    pub(crate) fn expire(&self, limits: &Limits, now: Timestamp) -> Option<Timestamp> {
        let mut records = self.lock();
        if records.next_deadline().is_some_and(|due| due <= now) {
            let changes = records.expire(limits, now);
            self.timed_out.fetch_add(changes.settled_count() as u64, Ordering::Relaxed);
            if self.make(&mut records, &changes, now).is_err() {
                records.apply(&changes);
                self.news.send_replace(());
            }
        }
        records.next_deadline()
    }

    /// Writes what lasts of changes, and makes them.
    fn make(
        &self,
        records: &mut SharePartition,
        changes: &Changes,
        now: Timestamp,
    ) -> Result<Said, ErrorCode> {
        let write = records.write(changes);
        let mut last = None;
        if !write.batches.is_empty() {
            let write = StateWrite {
                state_epoch: self.state_epoch,
                leader_epoch: self.leader_epoch,
                start: write.start,
                done: write.done,
                batches: write.batches,
            };
            let written =
                self.states.change(now, |states| Ok((vec![states.write(&self.key, &write, now)?], ())));
            (_, last) = written.map_err(|refused| self.unwritten(&refused))?;
        }
        records.apply(changes);
        if !changes.is_empty() {
            self.news.send_replace(());
        }
        Ok(Said { states: self.states.clone(), last })
    }

    /// As Kafka tells it to members.
    fn unwritten(&self, refused: &StateRefused) -> ErrorCode {
        match refused {
            StateRefused::Refused(StateError::Uninitialized) => {
                self.fence();
                ErrorCode::UnknownServerError
            }
            StateRefused::Refused(_) => {
                self.fence();
                ErrorCode::NotLeaderOrFollower
            }
            StateRefused::Unwritten(error) => {
                // Of a disk that refuses the partition's log tells.
                if !matches!(error, AppendError::Storage(_)) {
                    let source = error as &dyn std::error::Error;
                    tracing::error!(group = %self.key.group, error = source, "what is done cannot be written");
                }
                state_code(refused)
            }
        }
    }
}

fn refused_code(refused: Refused) -> ErrorCode {
    match refused {
        Refused::Beyond => ErrorCode::InvalidRequest,
        Refused::NotHeld | Refused::NoRenewal => ErrorCode::InvalidRecordState,
    }
}
