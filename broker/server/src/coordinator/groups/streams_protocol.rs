//! Streams groups (KIP-1071), for handlers.

use flumen_groups::streams::{Answer, Heartbeat};

use super::{GroupCoordinator, HeartbeatRefused};

impl GroupCoordinator {
    /// What a member is told; durable.
    pub async fn streams_heartbeat(&self, group: &str, beat: &Heartbeat) -> Result<Answer, HeartbeatRefused> {
        let settings = self.0.configs.settings(group);
        let (now, topics) = (self.0.clock.now(), self.0.images.latest());
        let answer = self.step(group, |shard, step| {
            shard.streams_heartbeat(group, beat, &topics, now, &settings.streams, step)
        });
        Ok(answer.await??)
    }
}
