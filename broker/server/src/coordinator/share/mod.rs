//! The partitions that share groups work on, for handlers (KIP-932).
//!
//! A partition is loaded when a member first fetches from it, and forgotten when no member of its group has
//! a session: what lasts is in `__share_group_state`.

mod figures;
mod partition_cell;
mod state_cell;
mod store;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flumen_groups::share::{Begin, Partitions};
use flumen_groups::share_partition::{Acknowledge, Limits};
use flumen_groups::share_state::ShareKey;
use flumen_protocol::ErrorCode;
use flumen_types::{Millis, Offset, PartitionId, Timestamp, TopicId};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use figures::{ShareFigures, ShareTopicFigures};
pub(crate) use partition_cell::{Said, ShareCell, Turn};
pub(crate) use store::ShareStore;

use super::journal::LoadError;
use super::time::Clock;
use super::timer::Alarm;
use crate::clock;
use crate::group_configs::GroupConfigs;
use crate::handlers::read_code;
use crate::partition_log::{PartitionLog, TimeQuery};
use crate::share_sessions::{Owner, Place, ShareSessions};
use crate::topics::Topics;

/// Cheap to clone.
#[derive(Clone)]
pub(crate) struct ShareCoordinator(Arc<Inner>);

type Slot = Arc<OnceCell<Arc<ShareCell>>>;

struct Inner {
    configs: Arc<GroupConfigs>,
    store: ShareStore,
    sessions: Mutex<ShareSessions>,
    cells: Mutex<HashMap<ShareKey, Slot>>,
    acknowledged: figures::Acknowledged,
    clock: Clock,
    alarm: Alarm,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl ShareCoordinator {
    pub(crate) async fn start(
        topics: Arc<Topics>,
        configs: Arc<GroupConfigs>,
        sessions_max: usize,
    ) -> Result<Self, LoadError> {
        let clock = Clock::start();
        let inner = Inner {
            store: ShareStore::start(topics, clock).await?,
            configs,
            sessions: Mutex::new(ShareSessions::new(sessions_max)),
            cells: Mutex::default(),
            acknowledged: figures::Acknowledged::default(),
            clock,
            alarm: Alarm::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let share = ShareCoordinator(Arc::new(inner));
        let (locks, upkeep) = (share.clone(), share.clone());
        share.0.tasks.spawn(async move { locks.watch_locks().await });
        share.0.tasks.spawn(async move { upkeep.0.store.keep_up(upkeep.0.stop.clone()).await });
        Ok(share)
    }

    pub(crate) async fn stop(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    pub(crate) fn store(&self) -> &ShareStore {
        &self.0.store
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn limits(&self, group: &str) -> Limits {
        self.0.configs.settings(group).share.limits
    }

    pub(crate) fn sessions(&self) -> MutexGuard<'_, ShareSessions> {
        self.0.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cells(&self) -> MutexGuard<'_, HashMap<ShareKey, Slot>> {
        self.0.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn watch_locks(&self) {
        let tick = |now| {
            let cells: Vec<Arc<ShareCell>> =
                self.cells().values().filter_map(|slot| slot.get().cloned()).collect();
            let groups = |cell: &Arc<ShareCell>| self.limits(cell.group());
            cells.iter().filter_map(|cell| cell.expire(&groups(cell), now)).min()
        };
        self.0.alarm.run(self.0.clock, self.0.stop.clone(), tick).await;
    }

    /// Somebody holds records of a partition now.
    pub(crate) fn watch(&self, cell: &ShareCell) {
        self.0.alarm.set(cell.next_deadline());
    }

    /// What a member says of records that it holds.
    pub(crate) fn acknowledge(
        &self,
        cell: &ShareCell,
        member: &str,
        said: &[Acknowledge],
        limits: &Limits,
    ) -> Result<Said, ErrorCode> {
        let settled = cell.acknowledge(member, said, limits, self.now())?;
        self.0.acknowledged.add(said);
        self.watch(cell);
        Ok(settled)
    }

    /// A partition, by its log, as a group works on it; loaded if nobody has worked on it lately.
    pub(crate) async fn open(
        &self,
        group: &Arc<str>,
        place: Place,
        log: &Arc<dyn PartitionLog>,
    ) -> Result<Arc<ShareCell>, ErrorCode> {
        if let Some(cell) = self.known(group, place) {
            return Ok(cell);
        }
        let key = key(group, place);
        let slot = self.cells().entry(key.clone()).or_default().clone();
        // After an error the slot stays, empty: others may be at it, and a second one would be a second cell.
        slot.get_or_try_init(|| self.load(key, log.clone())).await.cloned()
    }

    async fn load(&self, key: ShareKey, log: Arc<dyn PartitionLog>) -> Result<Arc<ShareCell>, ErrorCode> {
        let leader_epoch = log.marks().epoch.0.max(0);
        let state = self.0.store.read(&key, leader_epoch).await.map_err(|error| match error {
            // As Kafka tells it to members.
            ErrorCode::InvalidRequest => ErrorCode::UnknownServerError,
            ErrorCode::FencedLeaderEpoch | ErrorCode::FencedStateEpoch => ErrorCode::NotLeaderOrFollower,
            error => error,
        })?;
        let start = match state.start {
            Offset::UNKNOWN => self.begin(&key.group, log.as_ref()).await?,
            start => start,
        };
        let states = self.0.store.cell(&key).await?;
        Ok(Arc::new(ShareCell::new(key, log, states, &state, start)))
    }

    /// Where a group begins on a partition that is new to it.
    async fn begin(&self, group: &str, log: &dyn PartitionLog) -> Result<Offset, ErrorCode> {
        let marks = log.marks();
        let ago = match self.0.configs.settings(group).share.begin {
            Begin::Earliest => return Ok(marks.start),
            Begin::Latest => return Ok(marks.high_watermark),
            Begin::ByDuration(ago) => ago,
        };
        let since = clock::now().plus(Millis(-ago.0));
        let found = log.find(TimeQuery::AtOrAfter(since)).await.map_err(|error| read_code(&error))?;
        Ok(found.map_or(marks.high_watermark, |found| found.offset.min(marks.high_watermark)))
    }

    /// A partition that a member of the group has fetched from.
    pub(crate) fn known(&self, group: &Arc<str>, place: Place) -> Option<Arc<ShareCell>> {
        let (key, mut cells) = (key(group, place), self.cells());
        let cell = cells.get(&key)?.get()?.clone();
        if cell.is_fenced() {
            cells.remove(&key);
            return None;
        }
        Some(cell)
    }

    /// Ends a member's session, if there is one, and gives back what it holds.
    pub(crate) fn end_session(&self, owner: &Owner) {
        let mut sessions = self.sessions();
        let Some(places) = sessions.end(owner) else { return };
        self.ended(sessions, owner, &places);
    }

    /// A connection has ended, and with it its session.
    pub(crate) fn disconnected(&self, connection: u64) {
        let mut sessions = self.sessions();
        let Some((owner, places)) = sessions.disconnected(connection) else { return };
        self.ended(sessions, &owner, &places);
    }

    /// With its last session a group's partitions are forgotten.
    fn ended(&self, sessions: MutexGuard<'_, ShareSessions>, owner: &Owner, places: &[Place]) {
        let is_idle = sessions.is_idle(&owner.0);
        drop(sessions);
        self.give_back(owner, places);
        if is_idle {
            self.forget(|key| *key.group == *owner.0);
        }
    }

    fn give_back(&self, owner: &Owner, places: &[Place]) {
        let (group, member) = owner;
        let (limits, now) = (self.limits(group), self.now());
        for place in places {
            let Some(cell) = self.known(group, *place) else { continue };
            // Nobody waits for this to be durable: if it is not, the locks are not either.
            if let Err(error) = cell.release(member, &limits, now) {
                tracing::warn!(%group, %member, %error, "what a member held goes back when its lock ends");
            }
        }
    }

    /// The state of these was set anew, or is no more.
    pub(crate) fn forget_partitions(&self, group: &str, which: &Partitions) {
        self.forget(|key| {
            let named = which.get(&key.topic).filter(|_| *key.group == *group);
            named.is_some_and(|named| named.partitions.contains(&key.partition.0))
        });
    }

    pub(crate) async fn forget_topic(&self, topic: TopicId) -> Result<(), ErrorCode> {
        self.forget(|key| key.topic == topic);
        self.0.store.forget_topic(topic).await
    }

    fn forget(&self, which: impl Fn(&ShareKey) -> bool) {
        let mut cells = self.cells();
        let gone: Vec<ShareKey> = cells.keys().filter(|key| which(key)).cloned().collect();
        for key in gone {
            if let Some(cell) = cells.remove(&key).and_then(|slot| slot.get().cloned()) {
                cell.fence();
            }
        }
    }
}

pub(crate) fn key(group: &Arc<str>, (topic, partition): (TopicId, PartitionId)) -> ShareKey {
    ShareKey { group: group.clone(), topic, partition }
}
