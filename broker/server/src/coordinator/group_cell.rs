//! One partition of `__consumer_offsets` at work: the pure shard, its journal, and who waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flumen_groups::group::{Options, Reply, Step, Waiter};
use flumen_groups::txn::Producer;
use flumen_groups::{GroupEntry, GroupShard};
use flumen_types::{Offset, Timestamp};
use tokio::sync::{Notify, oneshot};
use tokio_util::task::TaskTracker;

use super::journal::{Journal, ReplayError, Replayed};
use crate::group_configs::GroupConfigs;
use crate::partition_log::AppendError;

pub(crate) struct GroupCell {
    journal: Journal,
    state: Mutex<State>,
    /// Told whenever a transaction has ended here.
    pub(crate) ended: Notify,
}

struct State {
    groups: GroupShard,
    waiting: HashMap<Waiter, oneshot::Sender<Reply>>,
    waiters: u64,
}

impl GroupCell {
    /// Reads back what the partition says.
    pub(crate) async fn load(
        journal: Journal,
        options: Options,
        configs: &GroupConfigs,
        now: Timestamp,
    ) -> Result<GroupCell, ReplayError> {
        let mut groups = GroupShard::new(options);
        journal
            .replay(|replayed| {
                match replayed {
                    Replayed::Record { key, value, producer, at } => {
                        let entry = GroupEntry::read(&key, value.as_ref())?;
                        groups.replay(&entry, producer, at, now);
                    }
                    Replayed::Marker { producer, commit, at } => groups.end_transaction(producer, commit, at),
                }
                Ok(())
            })
            .await?;
        let settings = |group: &str| configs.settings(group);
        groups.loaded(
            now,
            |group| settings(group).consumer.clone(),
            |group| settings(group).share.options.clone(),
            |group| settings(group).streams.clone(),
        );
        let state = State { groups, waiting: HashMap::new(), waiters: 0 };
        Ok(GroupCell { journal, state: Mutex::new(state), ended: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks without changing anything.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&GroupShard) -> T) -> T {
        look(&self.lock().groups)
    }

    /// Changes what lives in memory only.
    pub(crate) fn touch<T>(&self, touch: impl FnOnce(&mut GroupShard) -> T) -> T {
        touch(&mut self.lock().groups)
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.lock().groups.next_deadline()
    }

    /// A request that may be answered later: where its answer comes.
    pub(crate) fn ask(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        now: Timestamp,
        decide: impl FnOnce(&mut GroupShard, Waiter) -> Step,
    ) -> oneshot::Receiver<Reply> {
        let (sender, receiver) = oneshot::channel();
        let mut state = self.lock();
        state.waiters += 1;
        let waiter = Waiter(state.waiters);
        state.waiting.insert(waiter, sender);
        let step = decide(&mut state.groups, waiter);
        // What could not be written has been complained of, and its receiver finds nobody there.
        let _ = self.take(state, step, tasks, now);
        receiver
    }

    /// A step that nobody in particular asked for; what to wait for.
    pub(crate) fn step<T>(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        now: Timestamp,
        decide: impl FnOnce(&mut GroupShard, &mut Step) -> T,
    ) -> (T, Result<Option<Offset>, AppendError>) {
        let mut step = Step::default();
        let mut state = self.lock();
        let told = decide(&mut state.groups, &mut step);
        (told, self.take(state, step, tasks, now))
    }

    /// Writes a step's changes and, once they are durable, gives its answers.
    fn take(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        step: Step,
        tasks: &TaskTracker,
        now: Timestamp,
    ) -> Result<Option<Offset>, AppendError> {
        let written = self.write(&mut state, &step.changes, None, now);
        let answers: Vec<_> = step
            .replies
            .into_iter()
            .filter_map(|(waiter, reply)| Some((state.waiting.remove(&waiter)?, reply)))
            .collect();
        drop(state);
        match &written {
            Ok(None) => give(answers),
            Ok(Some(last)) if !answers.is_empty() => {
                let (cell, last) = (self.clone(), *last);
                tasks.spawn(async move {
                    if cell.journal.durable(last).await {
                        give(answers);
                    }
                });
            }
            Ok(Some(_)) => {}
            // Whoever waits finds its sender gone.
            Err(error) => self.complain(error),
        }
        written
    }

    /// Writes changes that were decided under this lock; the last one's offset.
    fn write(
        &self,
        state: &mut State,
        changes: &[GroupEntry],
        producer: Option<Producer>,
        now: Timestamp,
    ) -> Result<Option<Offset>, AppendError> {
        if changes.is_empty() {
            return Ok(None);
        }
        let records = changes.iter().filter_map(GroupEntry::record);
        let base = self.journal.append(records, producer, now)?;
        for (n, change) in changes.iter().enumerate() {
            let at = base.plus(n as i64);
            state.groups.apply(change, producer.map(|producer| producer.id), at, now);
        }
        Ok(Some(base.plus(changes.len() as i64 - 1)))
    }

    /// Decides and writes; what was decided, and what to wait for.
    pub(crate) fn change<T, E: From<AppendError>>(
        &self,
        producer: Option<Producer>,
        now: Timestamp,
        decide: impl FnOnce(&mut GroupShard) -> Result<(Vec<GroupEntry>, T), E>,
    ) -> Result<(T, Option<Offset>), E> {
        let mut state = self.lock();
        let (changes, told) = decide(&mut state.groups)?;
        let last = self.write(&mut state, &changes, producer, now)?;
        Ok((told, last))
    }

    /// Ends a transaction here: the marker, and what it does to the offsets.
    pub(crate) fn mark(
        &self,
        producer: Producer,
        commit: bool,
        now: Timestamp,
    ) -> Result<Offset, AppendError> {
        let mut state = self.lock();
        let at = self.journal.append_marker(producer, commit, now)?;
        state.groups.end_transaction(producer.id, commit, at);
        drop(state);
        self.ended.notify_waiters();
        Ok(at)
    }

    pub(crate) async fn durable(&self, last: Offset) -> bool {
        self.journal.durable(last).await
    }

    /// Lets everybody who waits go, without an answer.
    pub(crate) fn close(&self) {
        self.lock().waiting.clear();
    }

    fn complain(&self, error: &AppendError) {
        // Of a disk that refuses the partition's log tells.
        if matches!(error, AppendError::Storage(_)) {
            return;
        }
        let error = error as &dyn std::error::Error;
        tracing::error!(partition = %self.journal.id(), error, "a group's state cannot be written");
    }
}

fn give(answers: Vec<(oneshot::Sender<Reply>, Reply)>) {
    for (sender, reply) in answers {
        // The connection may have gone; then nobody wants to know.
        let _ = sender.send(reply);
    }
}
