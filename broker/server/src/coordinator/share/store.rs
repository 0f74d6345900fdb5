//! What lasts of share partitions, for the rest of the broker: Kafka's share coordinator.
//!
//! `__share_group_state` is made when it is first needed. Every few minutes what was not written for long
//! gets a new snapshot, and what lies before the oldest one goes.

use std::sync::Arc;
use std::time::Duration;

use flumen_groups::place;
use flumen_groups::share_state::{
    Options as StateOptions, ShareKey, ShareState, ShareStates, StateError, StateWrite,
};
use flumen_protocol::ErrorCode;
use flumen_types::{Offset, TopicId};
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use super::state_cell::{StateCell, StateRefused};
use crate::coordinator::journal::{Journal, LoadError};
use crate::coordinator::time::Clock;
use crate::handlers::append_code;
use crate::internal_topics::SHARE_GROUP_STATE;
use crate::topics::Topics;

/// share.coordinator.state.topic.prune.interval.ms
const UPKEEP_INTERVAL: Duration = Duration::from_secs(300);

pub(crate) struct ShareStore {
    topics: Arc<Topics>,
    cells: OnceCell<Vec<Arc<StateCell>>>,
    clock: Clock,
}

/// Which of Kafka's codes says why a state was refused, to whoever asks the share coordinator.
pub(crate) fn state_code(refused: &StateRefused) -> ErrorCode {
    match refused {
        StateRefused::Refused(StateError::Uninitialized) => ErrorCode::InvalidRequest,
        StateRefused::Refused(StateError::FencedLeaderEpoch) => ErrorCode::FencedLeaderEpoch,
        StateRefused::Refused(StateError::FencedStateEpoch) => ErrorCode::FencedStateEpoch,
        StateRefused::Unwritten(error) => match append_code(error) {
            ErrorCode::KafkaStorageError | ErrorCode::NotLeaderOrFollower => {
                ErrorCode::CoordinatorNotAvailable
            }
            code => code,
        },
    }
}

impl ShareStore {
    pub(crate) async fn start(topics: Arc<Topics>, clock: Clock) -> Result<Self, LoadError> {
        let store = ShareStore { topics, cells: OnceCell::new(), clock };
        if store.topics.get(SHARE_GROUP_STATE).is_some() {
            store.cells().await?;
        }
        Ok(store)
    }

    async fn cells(&self) -> Result<&[Arc<StateCell>], LoadError> {
        let cells = self.cells.get_or_try_init(|| async {
            let topic = self.topics.ensure(SHARE_GROUP_STATE, None, &Default::default()).await?;
            let mut cells = Vec::with_capacity(topic.partitions.len());
            for log in &topic.partitions {
                let journal = Journal::new(log.clone());
                cells.push(Arc::new(StateCell::load(journal, StateOptions::default()).await?));
            }
            Ok::<_, LoadError>(cells)
        });
        Ok(cells.await?)
    }

    pub(crate) async fn cell(&self, key: &ShareKey) -> Result<Arc<StateCell>, ErrorCode> {
        let cells = self.cells().await.map_err(|error| {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the states of share groups cannot be kept");
            ErrorCode::CoordinatorNotAvailable
        })?;
        Ok(cells[place(&key.coordinator_key(), cells.len() as i32).0 as usize].clone())
    }

    /// Begins anew at an offset, or where the first reader says; durable.
    pub(crate) async fn initialize(
        &self,
        key: &ShareKey,
        state_epoch: i32,
        start: Offset,
    ) -> Result<(), ErrorCode> {
        let (cell, now) = (self.cell(key).await?, self.clock.now());
        let begun = cell
            .change(now, |states| Ok((vec![states.initialize(key.clone(), state_epoch, start, now)?], ())));
        settled(&cell, begun).await
    }

    /// For the leader of this epoch; durable.
    pub(crate) async fn read(&self, key: &ShareKey, leader_epoch: i32) -> Result<ShareState, ErrorCode> {
        let (cell, now) = (self.cell(key).await?, self.clock.now());
        let read = cell.change(now, |states| {
            let (state, led) = states.read(key, leader_epoch, now)?;
            Ok((led.into_iter().collect(), state.clone()))
        });
        settled(&cell, read).await
    }

    pub(crate) async fn write(&self, key: &ShareKey, write: &StateWrite) -> Result<(), ErrorCode> {
        let (cell, now) = (self.cell(key).await?, self.clock.now());
        let written = cell.change(now, |states| Ok((vec![states.write(key, write, now)?], ())));
        settled(&cell, written).await
    }

    pub(crate) async fn delete(&self, key: &ShareKey) -> Result<(), ErrorCode> {
        let (cell, now) = (self.cell(key).await?, self.clock.now());
        let deleted = cell.change(now, |states| Ok((states.delete(key).into_iter().collect(), ())));
        settled(&cell, deleted).await
    }

    /// `None` if nothing is kept.
    pub(crate) async fn look(&self, key: &ShareKey) -> Result<Option<ShareState>, ErrorCode> {
        if self.topics.get(SHARE_GROUP_STATE).is_none() {
            return Ok(None);
        }
        Ok(self.cell(key).await?.read(|states| states.get(key).cloned()))
    }

    /// Forgets the states of a topic that is gone.
    pub(crate) async fn forget_topic(&self, topic: TopicId) -> Result<(), ErrorCode> {
        for cell in self.cells.get().into_iter().flatten() {
            let gone =
                cell.change(self.clock.now(), |states| Ok((states.delete_topics(|id| id == topic), ())));
            settled(cell, gone).await?;
        }
        Ok(())
    }

    /// Until `stop`: new snapshots, and an end to what lies before the old ones.
    pub(crate) async fn keep_up(&self, stop: CancellationToken) {
        while tokio::time::timeout(UPKEEP_INTERVAL, stop.cancelled()).await.is_err() {
            for cell in self.cells.get().into_iter().flatten() {
                let now = self.clock.now();
                let cold = cell.change(now, |states: &ShareStates| Ok((states.snapshot_cold(now), ())));
                if let Err(error) = cold {
                    tracing::warn!(%error, "states of share groups are not written anew; tried again later");
                }
                if let Err(error) = cell.prune().await {
                    tracing::warn!(%error, "old states of share groups are kept; tried again later");
                }
            }
        }
    }
}

async fn settled<T>(
    cell: &StateCell,
    changed: Result<(T, Option<Offset>), StateRefused>,
) -> Result<T, ErrorCode> {
    let (told, last) = changed.map_err(|refused| state_code(&refused))?;
    match cell.durable(last).await {
        true => Ok(told),
        false => Err(ErrorCode::CoordinatorNotAvailable),
    }
}
