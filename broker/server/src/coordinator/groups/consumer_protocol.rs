//! Groups of the consumer protocol (KIP-848), for handlers.

use std::sync::Arc;

use flumen_groups::consumer::{Answer, Heartbeat, Options, Refused, Shows, TopicImage, View};
use flumen_protocol::ErrorCode;

use super::{GroupCoordinator, code};

/// A heartbeat of the consumer protocol that was refused, and why in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRefused {
    pub error: ErrorCode,
    pub text: Option<String>,
}

impl From<ErrorCode> for HeartbeatRefused {
    fn from(error: ErrorCode) -> Self {
        HeartbeatRefused { error, text: None }
    }
}

impl From<Refused> for HeartbeatRefused {
    fn from(refused: Refused) -> Self {
        HeartbeatRefused { error: code(refused.error), text: Some(refused.text) }
    }
}

impl GroupCoordinator {
    /// What a member is told; durable.
    pub async fn consumer_heartbeat(
        &self,
        group: &str,
        beat: &Heartbeat,
        shows: Shows<'_>,
    ) -> Result<Answer, HeartbeatRefused> {
        let (now, topics) = (self.0.clock.now(), self.0.images.latest());
        let settings = self.0.configs.settings(group);
        let answer = self.step(group, |shard, step| {
            let topics = View { image: &topics, shows };
            shard.consumer_heartbeat(group, beat, topics, now, &settings.consumer, step)
        });
        Ok(answer.await??)
    }

    /// The topics as groups see them now.
    pub(crate) fn topics(&self) -> Arc<TopicImage> {
        self.0.images.latest()
    }

    /// What a group gets whose members do not ask for an assignor.
    pub(crate) fn consumer_options(&self) -> &Options {
        &self.0.options.consumer
    }

    /// Whether a member of the consumer protocol may fetch offsets with this epoch.
    pub async fn check_fetch(
        &self,
        group: &str,
        member_id: Option<&str>,
        epoch: i32,
    ) -> Result<(), ErrorCode> {
        let cell = self.cell(group).await?;
        cell.read(|shard| shard.check_fetch(group, member_id, epoch)).map_err(|refused| code(refused.error))
    }
}
