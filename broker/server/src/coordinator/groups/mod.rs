//! Consumer groups and their offsets, for handlers and for whoever runs inside the broker.
//!
//! `__consumer_offsets` is made when it is first needed. What a fetch shows is durable: it waits for
//! the commits that it found.

mod consumer_protocol;
mod share_protocol;
mod streams_protocol;

use std::sync::Arc;
use std::time::Duration;

use flumen_groups::consumer::{Shows, View};
use flumen_groups::group::{self, Join, Joined, Leaving, Reply, Step, Sync, Synced};
use flumen_groups::txn::Producer;
use flumen_groups::{AnyGroup, Committed, Committer, GroupEntry, GroupError, GroupShard, place};
use flumen_protocol::ErrorCode;
use flumen_types::{LeaderEpoch, Millis, Offset, PartitionId, Timestamp, TopicId, TopicPartition};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::group_cell::GroupCell;
use super::journal::{Journal, LoadError};
use super::share::ShareCoordinator;
use super::time::Clock;
use super::timer::Alarm;
use super::topic_images::TopicImages;
use crate::broker::StartError;
use crate::group_configs::GroupConfigs;
use crate::handlers::append_code;
use crate::internal_topics::CONSUMER_OFFSETS;
use crate::options::Options;
use crate::partition_log::AppendError;
use crate::topics::Topics;

pub use consumer_protocol::HeartbeatRefused;
pub(crate) use share_protocol::Starts;

/// offsets.retention.check.interval.ms
const EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

/// Consumer groups and their offsets; cheap to clone.
#[derive(Clone)]
pub struct GroupCoordinator(Arc<Inner>);

struct Inner {
    topics: Arc<Topics>,
    images: TopicImages,
    options: group::Options,
    configs: Arc<GroupConfigs>,
    share: ShareCoordinator,
    cells: OnceCell<Vec<Arc<GroupCell>>>,
    clock: Clock,
    alarm: Alarm,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// A join that was refused, and the id that the member has or now got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    pub error: ErrorCode,
    pub member_id: Arc<str>,
}

/// A partition's committed offset; `Ok(None)`: there is none.
pub type OffsetResult = (TopicPartition, Result<Option<Committed>, ErrorCode>);

struct Refusal(ErrorCode);

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Self {
        Refusal(code(error))
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        Refusal(unwritten(&error))
    }
}

pub(crate) fn code(error: GroupError) -> ErrorCode {
    ErrorCode::from(error.code())
}

/// What a client is told when its change cannot be written: to look for the coordinator again.
fn unwritten(error: &AppendError) -> ErrorCode {
    match append_code(error) {
        ErrorCode::KafkaStorageError | ErrorCode::NotLeaderOrFollower => ErrorCode::CoordinatorNotAvailable,
        code => code,
    }
}

impl GroupCoordinator {
    pub(crate) async fn start(
        topics: Arc<Topics>,
        options: Arc<Options>,
        configs: Arc<GroupConfigs>,
        share: ShareCoordinator,
    ) -> Result<Self, StartError> {
        let options = group::Options {
            session_timeout_min: Millis::from(options.group_session_timeout_min),
            session_timeout_max: Millis::from(options.group_session_timeout_max),
            initial_rebalance_delay: Millis::from(options.group_rebalance_delay),
            offsets_retention: Millis::from(options.offsets_retention),
            consumer: configs.settings("").consumer.clone(),
            ..group::Options::default()
        };
        let inner = Inner {
            images: TopicImages::new(topics.clone()),
            topics,
            options,
            configs,
            share,
            cells: OnceCell::new(),
            clock: Clock::start(),
            alarm: Alarm::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let groups = GroupCoordinator(Arc::new(inner));
        if groups.0.topics.get(CONSUMER_OFFSETS).is_some() {
            groups.0.cells().await?;
        }
        let (sessions, expiry) = (groups.clone(), groups.clone());
        groups.0.tasks.spawn(async move { sessions.watch_sessions().await });
        groups.0.tasks.spawn(async move { expiry.expire_offsets().await });
        Ok(groups)
    }

    /// Ends the timers; whoever waits for a rebalance is let go.
    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        for cell in self.0.cells.get().into_iter().flatten() {
            cell.close();
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn watch_sessions(&self) {
        let tick = |now| {
            let cells = self.0.cells.get()?;
            let topics = self.0.images.latest();
            for cell in cells {
                // A step that cannot be written has been complained of; members rejoin.
                let _ = cell.step(&self.0.tasks, now, |shard, step| *step = shard.tick(&topics, now));
            }
            cells.iter().filter_map(|cell| cell.next_deadline()).min()
        };
        self.0.alarm.run(self.0.clock, self.0.stop.clone(), tick).await;
    }

    async fn expire_offsets(&self) {
        while tokio::time::timeout(EXPIRY_INTERVAL, self.0.stop.cancelled()).await.is_err() {
            let now = self.0.clock.now();
            for cell in self.0.cells.get().into_iter().flatten() {
                let expired = cell.change(None, now, |shard| Ok::<_, AppendError>((shard.expire(now), ())));
                if let Err(error) = expired {
                    tracing::warn!(%error, "expired offsets cannot be removed; tried again later");
                }
            }
        }
    }

    pub async fn join(&self, group: &str, join: Join, shows: Shows<'_>) -> Result<Joined, JoinRefused> {
        let member_id: Arc<str> = join.member_id.as_str().into();
        let refuse = |error| JoinRefused { error, member_id: member_id.clone() };
        let cell = self.cell(group).await.map_err(refuse)?;
        let (now, topics) = (self.0.clock.now(), self.0.images.latest());
        let settings = self.0.configs.settings(group);
        let answer = cell.ask(&self.0.tasks, now, |shard, waiter| {
            let topics = View { image: &topics, shows };
            shard.join(group, join, waiter, topics, now, &settings.consumer)
        });
        self.0.alarm.set(cell.next_deadline());
        match answer.await {
            Ok(Reply::Join(Ok(joined))) => Ok(joined),
            Ok(Reply::Join(Err(refused))) => {
                Err(JoinRefused { error: code(refused.error), member_id: refused.member_id })
            }
            Ok(Reply::Sync(_)) | Err(_) => Err(refuse(ErrorCode::CoordinatorNotAvailable)),
        }
    }

    pub async fn sync(&self, group: &str, sync: Sync) -> Result<Synced, ErrorCode> {
        let cell = self.cell(group).await?;
        let (now, topics) = (self.0.clock.now(), self.0.images.latest());
        let settings = self.0.configs.settings(group);
        let answer = cell.ask(&self.0.tasks, now, |shard, waiter| {
            shard.sync(group, sync, waiter, &topics, now, &settings.consumer)
        });
        self.0.alarm.set(cell.next_deadline());
        match answer.await {
            Ok(Reply::Sync(answer)) => answer.map_err(code),
            Ok(Reply::Join(_)) | Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
        }
    }

    pub async fn heartbeat(&self, group: &str, from: &Committer) -> Result<(), ErrorCode> {
        let cell = self.cell(named(group)?).await?;
        let now = self.0.clock.now();
        let settings = self.0.configs.settings(group);
        cell.touch(|shard| shard.heartbeat(group, from, now, &settings.consumer)).map_err(code)
    }

    /// One answer for each that leaves.
    pub async fn leave(&self, group: &str, leaving: &[Leaving]) -> Result<Vec<ErrorCode>, ErrorCode> {
        let cell = self.cell(named(group)?).await?;
        let (now, topics) = (self.0.clock.now(), self.0.images.latest());
        let (answers, written) =
            cell.step(&self.0.tasks, now, |shard, step| shard.leave(group, leaving, &topics, now, step));
        self.0.alarm.set(cell.next_deadline());
        settle(&cell, written.map_err(|error| unwritten(&error))?).await?;
        Ok(answers.into_iter().map(or_none).collect())
    }

    /// Commits for a member, or for a consumer without one. One answer for each offset.
    pub async fn commit_offsets(
        &self,
        group: &str,
        from: &Committer,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        self.commit_as(group, from, None, offsets).await
    }

    /// Commits within a transaction: seen after its commit marker. The transaction must have the group
    /// among its partitions ([`super::TransactionCoordinator::add_offsets`]).
    pub async fn txn_commit_offsets(
        &self,
        group: &str,
        from: &Committer,
        producer: Producer,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        self.commit_as(named(group)?, from, Some(producer), offsets).await
    }

    async fn commit_as(
        &self,
        group: &str,
        from: &Committer,
        producer: Option<Producer>,
        offsets: Vec<(TopicPartition, Committed)>,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let cell = self.cell(group).await?;
        let (now, topics) = (self.0.clock.now(), self.0.images.latest());
        let committed = cell.change(producer, now, |shard| {
            shard.commit(group, from, offsets, producer.is_some(), &topics, now).map_err(Refusal::from)
        });
        let (results, last) = committed.map_err(|refusal| refusal.0)?;
        settle(&cell, last).await?;
        Ok(results.into_iter().map(or_none).collect())
    }

    /// The offsets of the partitions named, or of all that have one.
    pub async fn fetch_offsets(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
        require_stable: bool,
    ) -> Result<Vec<OffsetResult>, ErrorCode> {
        let cell = self.cell(group).await?;
        let fetched = cell.read(|shard| shard.fetch(group, partitions, require_stable));
        let found = fetched.iter().filter_map(|one| one.found.as_ref().ok()?.as_ref());
        let newest = found.map(|entry| entry.visible_at.max(entry.written_at)).max();
        settle(&cell, newest).await?;
        let told = fetched.into_iter().map(|one| {
            let found = one.found.map(|entry| entry.map(|entry| entry.committed)).map_err(code);
            (one.partition, found)
        });
        Ok(told.collect())
    }

    /// Commits for a consumer that is a member of nothing: a plugin, say.
    pub async fn commit(&self, group: &str, offsets: &[(TopicPartition, Offset)]) -> Result<(), ErrorCode> {
        let offsets = offsets.iter().map(|(partition, offset)| (partition.clone(), self.plain(*offset)));
        let results = self.commit_offsets(group, &Committer::simple(), offsets.collect()).await?;
        all_done(results)
    }

    /// As [`Self::commit`], within a transaction; every offset with these words beside it.
    pub async fn txn_commit(
        &self,
        group: &str,
        producer: Producer,
        offsets: &[(TopicPartition, Offset)],
        metadata: &str,
    ) -> Result<(), ErrorCode> {
        let beside = |offset| Committed { metadata: metadata.into(), ..self.plain(offset) };
        let offsets = offsets.iter().map(|(partition, offset)| (partition.clone(), beside(*offset)));
        let results =
            self.txn_commit_offsets(group, &Committer::simple(), producer, offsets.collect()).await?;
        all_done(results)
    }

    /// A group's offset for one partition; waits for an open transaction to be decided.
    pub async fn committed(
        &self,
        group: &str,
        partition: &TopicPartition,
    ) -> Result<Option<Committed>, ErrorCode> {
        let cell = self.cell(group).await?;
        loop {
            let ended = cell.ended.notified();
            let fetched = self.fetch_offsets(group, Some(std::slice::from_ref(partition)), true).await?;
            match fetched.into_iter().next() {
                Some((_, Ok(found))) => return Ok(found),
                Some((_, Err(ErrorCode::UnstableOffsetCommit))) => ended.await,
                Some((_, Err(error))) => return Err(error),
                None => return Ok(None),
            }
        }
    }

    /// An offset without anything beside it, committed now.
    pub(crate) fn plain(&self, offset: Offset) -> Committed {
        Committed {
            offset,
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: "".into(),
            committed_at: self.now(),
            expires_at: None,
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// What is known of a group; `None` if there is no such group.
    pub async fn describe(&self, group: &str) -> Result<Option<AnyGroup>, ErrorCode> {
        if self.0.topics.get(CONSUMER_OFFSETS).is_none() {
            return Ok(None);
        }
        let cell = self.cell(group).await?;
        Ok(cell.read(|shard| shard.get(group).map(|kept| kept.group.clone())))
    }

    /// Every group.
    pub async fn list(&self) -> Result<Vec<AnyGroup>, ErrorCode> {
        if self.0.topics.get(CONSUMER_OFFSETS).is_none() {
            return Ok(Vec::new());
        }
        let cells = self.loaded().await?;
        let of = |cell: &Arc<GroupCell>| {
            cell.read(|shard| shard.iter().map(|kept| kept.group.clone()).collect::<Vec<_>>())
        };
        Ok(cells.iter().flat_map(of).collect())
    }

    /// Deletes a group without members, its offsets included.
    pub async fn delete(&self, group: &str) -> Result<(), ErrorCode> {
        self.share_delete(group).await?;
        self.remove(group, |shard| Ok((shard.delete(group)?, ()))).await
    }

    /// Deletes offsets; one answer for each.
    pub async fn delete_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let results = self.remove(group, |shard| shard.delete_offsets(group, partitions)).await?;
        Ok(results.into_iter().map(or_none).collect())
    }

    /// A step of one group; durable.
    async fn step<T>(
        &self,
        group: &str,
        decide: impl FnOnce(&mut GroupShard, &mut Step) -> T,
    ) -> Result<T, ErrorCode> {
        let cell = self.cell(group).await?;
        let (told, written) = cell.step(&self.0.tasks, self.0.clock.now(), decide);
        self.0.alarm.set(cell.next_deadline());
        settle(&cell, written.map_err(|error| unwritten(&error))?).await?;
        Ok(told)
    }

    async fn remove<T>(
        &self,
        group: &str,
        decide: impl FnOnce(&GroupShard) -> Result<(Vec<GroupEntry>, T), GroupError>,
    ) -> Result<T, ErrorCode> {
        let cell = self.cell(group).await?;
        let removed = cell.change(None, self.0.clock.now(), |shard| decide(shard).map_err(Refusal::from));
        let (told, last) = removed.map_err(|refusal| refusal.0)?;
        settle(&cell, last).await?;
        Ok(told)
    }

    /// Forgets all offsets of a topic that was deleted.
    pub async fn forget_topic(&self, topic: &str, id: TopicId) -> Result<(), ErrorCode> {
        let shared = self.share_forget_topic(id).await;
        for cell in self.0.cells.get().into_iter().flatten() {
            let gone = cell.change(None, self.0.clock.now(), |shard| {
                Ok::<_, AppendError>((shard.delete_topic(topic), ()))
            });
            let ((), last) = gone.map_err(|error| unwritten(&error))?;
            settle(cell, last).await?;
        }
        shared
    }

    /// The partition of `__consumer_offsets` that keeps a group, for its transactions.
    pub(crate) async fn partition_of(&self, group: &str) -> Result<TopicPartition, ErrorCode> {
        let count = self.loaded().await?.len() as i32;
        Ok(TopicPartition { topic: CONSUMER_OFFSETS.into(), partition: place(group, count) })
    }

    /// A transaction's end on one partition of `__consumer_offsets`; what to wait for.
    pub(crate) fn mark(
        &self,
        partition: PartitionId,
        producer: Producer,
        commit: bool,
    ) -> Option<(Arc<GroupCell>, Result<Offset, AppendError>)> {
        let cell = self.0.cells.get()?.get(usize::try_from(partition.0).ok()?)?.clone();
        let marked = cell.mark(producer, commit, self.0.clock.now());
        Some((cell, marked))
    }

    async fn cell(&self, group: &str) -> Result<Arc<GroupCell>, ErrorCode> {
        let cells = self.loaded().await?;
        Ok(cells[place(group, cells.len() as i32).0 as usize].clone())
    }

    async fn loaded(&self) -> Result<&[Arc<GroupCell>], ErrorCode> {
        if let Some(cells) = self.0.cells.get() {
            return Ok(cells);
        }
        self.0.cells().await.map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "groups cannot be kept");
            ErrorCode::CoordinatorNotAvailable
        })
    }
}

impl Inner {
    async fn cells(&self) -> Result<&[Arc<GroupCell>], LoadError> {
        let cells = self.cells.get_or_try_init(|| async {
            let topic = self.topics.ensure(CONSUMER_OFFSETS, None, &Default::default()).await?;
            let mut cells = Vec::with_capacity(topic.partitions.len());
            for log in &topic.partitions {
                let (journal, options) = (Journal::new(log.clone()), self.options.clone());
                let cell = GroupCell::load(journal, options, &self.configs, self.clock.now()).await?;
                cells.push(Arc::new(cell));
            }
            Ok::<_, LoadError>(cells)
        });
        let cells = cells.await?;
        self.alarm.set(cells.iter().filter_map(|cell| cell.next_deadline()).min());
        Ok(cells)
    }
}

/// Waits until what was written is durable.
async fn settle(cell: &GroupCell, last: Option<Offset>) -> Result<(), ErrorCode> {
    match last {
        Some(last) if !cell.durable(last).await => Err(ErrorCode::CoordinatorNotAvailable),
        _ => Ok(()),
    }
}

/// Offsets may be kept under an empty id, as old clients do; members cannot.
fn named(group: &str) -> Result<&str, ErrorCode> {
    if group.is_empty() { Err(ErrorCode::InvalidGroupId) } else { Ok(group) }
}

fn or_none(result: Result<(), GroupError>) -> ErrorCode {
    result.map_or_else(code, |()| ErrorCode::None)
}

fn all_done(results: Vec<ErrorCode>) -> Result<(), ErrorCode> {
    results.into_iter().find(|error| !error.is_none()).map_or(Ok(()), Err)
}
