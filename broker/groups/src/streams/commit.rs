//! Whether a member may commit or fetch offsets.

use flumen_types::TopicPartition;

use super::{Group, Member, Task};
use crate::consumer::Refused;
use crate::error::GroupError;
use crate::shard::Committer;

impl Group {
    /// Whether these offsets may be committed now. A member that has gone on to a newer epoch may still
    /// commit, with the older one, for a task that it has had since then.
    pub fn check_commit<'a>(
        &self,
        from: &Committer,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        transactional: bool,
    ) -> Result<(), Refused> {
        let names_nobody = from.member_id.is_empty() && from.instance_id.is_none();
        if from.generation < 0 && (self.members.is_empty() || (transactional && names_nobody)) {
            return Ok(());
        }
        let member = self.known(&from.member_id)?;
        if !transactional && !from.knows_epochs {
            let text =
                "OffsetCommit version 9 or above must be used by members using the streams group protocol";
            return Err(Refused::new(GroupError::UnsupportedVersion, text));
        }
        let (told, known) = (from.generation, member.current.epoch);
        if told > known {
            return Err(stale(format!(
                "Received member epoch {told} is newer than current member epoch {known}."
            )));
        }
        if told == known {
            return Ok(());
        }
        partitions.into_iter().try_for_each(|partition| self.check_since(member, told, partition))
    }

    fn check_since(&self, member: &Member, told: i32, partition: &TopicPartition) -> Result<(), Refused> {
        let topic = &partition.topic;
        let reader = self.topology.as_ref().and_then(|topology| topology.reader_of(topic));
        let Some(subtopology) = reader else {
            return Err(stale(format!("Topic {topic} is not in the topology.")));
        };
        let task = Task::new(subtopology.clone(), partition.partition.0);
        let name = format!("{}-{}", task.subtopology, task.partition);
        let current = &member.current;
        match current.assigned.active.get(&task).or_else(|| current.revoking.active.get(&task)) {
            Some(since) if *since <= told => Ok(()),
            Some(since) => Err(stale(format!(
                "Received member epoch {told} is older than assignment epoch {since} for task {name}."
            ))),
            None => Err(stale(format!("Task {name} is not assigned or pending revocation for member."))),
        }
    }

    /// Whether a member with this epoch may fetch offsets; one that names itself in no way always may.
    pub fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), Refused> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let known = self.known(member_id.unwrap_or_default())?.current.epoch;
        match known == epoch {
            true => Ok(()),
            false => Err(stale(format!(
                "The received member epoch {epoch} does not match the expected member epoch {known}."
            ))),
        }
    }
}

fn stale(text: String) -> Refused {
    Refused::new(GroupError::StaleMemberEpoch, text)
}
