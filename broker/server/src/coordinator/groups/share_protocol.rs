//! Share groups (KIP-932), for handlers: who works on what, and where it begins.
//!
//! A partition gets a state in `__share_group_state` before it is assigned. That takes two logs: first it is
//! written in the group's that the partition is being initialized, then its state, then that it is
//! initialized. What a crash leaves in between is begun again with a later heartbeat.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_groups::consumer;
use flumen_groups::share::{Answer, Deleting, Heartbeat, Partitions};
use flumen_protocol::ErrorCode;
use flumen_types::{Offset, PartitionId, TopicId};

use super::{GroupCoordinator, HeartbeatRefused, settle, unwritten};
use crate::coordinator::share::key;

/// Where partitions of a topic are to begin.
pub(crate) type Starts = Vec<(Arc<str>, PartitionId, Offset)>;

impl GroupCoordinator {
    /// What a member is told; durable.
    pub async fn share_heartbeat(&self, group: &str, beat: &Heartbeat) -> Result<Answer, HeartbeatRefused> {
        let settings = self.0.configs.settings(group);
        let topics = self.0.images.latest();
        let now = self.0.clock.now();
        let answer = self
            .step(group, |shard, step| {
                shard.share_heartbeat(group, beat, &topics, now, &settings.share.options, step)
            })
            .await??;
        if let Some((epoch, partitions)) = answer.initialize.clone() {
            let (groups, group) = (self.clone(), Arc::from(group));
            self.0.tasks.spawn(async move {
                let starts = BTreeMap::new();
                if let Err(error) = groups.initialize(&group, epoch, &partitions, &starts).await {
                    tracing::warn!(%group, %error, "partitions of a share group cannot be used yet; tried again");
                }
            });
        }
        Ok(answer)
    }

    /// Gives partitions a state; where they begin is found out later unless it is said.
    async fn initialize(
        &self,
        group: &Arc<str>,
        epoch: i32,
        partitions: &Partitions,
        starts: &BTreeMap<(TopicId, PartitionId), Offset>,
    ) -> Result<(), ErrorCode> {
        let mut done = Ok(());
        for (topic, named) in partitions {
            for place in named.partitions.iter().map(|partition| (*topic, PartitionId(*partition))) {
                let start = starts.get(&place).copied().unwrap_or(Offset::UNKNOWN);
                done = done.and(self.0.share.store().initialize(&key(group, place), epoch, start).await);
            }
        }
        self.step(group, |shard, step| {
            shard.share_initialized(group, partitions, done.is_ok(), step);
        })
        .await?;
        done
    }

    /// Sets where an empty group begins.
    pub(crate) async fn share_alter(&self, group: &str, starts: &Starts) -> Result<(), HeartbeatRefused> {
        let (topics, now) = (self.0.images.latest(), self.0.clock.now());
        let altered =
            self.step(group, |shard, step| shard.share_alter(group, starts, &topics, now, step)).await??;
        self.0.share.forget_partitions(group, &altered.partitions);
        let group = Arc::from(group);
        self.initialize(&group, altered.epoch, &altered.partitions, &altered.starts).await?;
        Ok(())
    }

    /// Takes back what is kept of topics of an empty group.
    pub(crate) async fn share_delete_offsets(
        &self,
        group: &str,
        names: &[Arc<str>],
    ) -> Result<Deleting, HeartbeatRefused> {
        let topics = self.0.images.latest();
        let deleting =
            self.step(group, |shard, step| shard.share_delete_offsets(group, names, &topics, step)).await??;
        self.delete_states(group, &deleting.partitions).await?;
        if !deleting.partitions.is_empty() {
            self.step(group, |shard, step| {
                shard.share_offsets_deleted(group, &deleting.partitions, step);
            })
            .await?;
        }
        Ok(deleting)
    }

    /// Takes back all that is kept of a share group that is to be deleted; of another there is nothing.
    pub(super) async fn share_delete(&self, group: &str) -> Result<(), ErrorCode> {
        let topics = self.0.images.latest();
        let deleting = self.step(group, |shard, step| shard.share_delete(group, &topics, step)).await?;
        let deleting = deleting.map_err(|refused: consumer::Refused| super::code(refused.error))?;
        self.delete_states(group, &deleting).await
    }

    async fn delete_states(&self, group: &str, which: &Partitions) -> Result<(), ErrorCode> {
        self.0.share.forget_partitions(group, which);
        let group: Arc<str> = group.into();
        for (topic, named) in which {
            for partition in &named.partitions {
                self.0.share.store().delete(&key(&group, (*topic, PartitionId(*partition)))).await?;
            }
        }
        Ok(())
    }

    /// Forgets a topic that was deleted, of which share groups may have kept something.
    pub(super) async fn share_forget_topic(&self, topic: TopicId) -> Result<(), ErrorCode> {
        for cell in self.0.cells.get().into_iter().flatten() {
            let ((), written) = cell.step(&self.0.tasks, self.0.clock.now(), |shard, step| {
                shard.share_forget_topics(|id| id == topic, step);
            });
            settle(cell, written.map_err(|error| unwritten(&error))?).await?;
        }
        self.0.share.forget_topic(topic).await
    }
}
