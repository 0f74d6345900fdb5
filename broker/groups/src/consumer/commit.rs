//! Whether a member may commit or fetch offsets.

use flumen_types::{PartitionId, TopicPartition};

use super::{Group, Member, Refused, TopicImage};
use crate::error::GroupError;
use crate::shard::Committer;

impl Group {
    /// Whether these offsets may be committed now. A member that has gone on to a newer epoch may still
    /// commit, with the older one, what it has had since then: a commit under way is not lost to a
    /// rebalance that does not concern it.
    pub fn check_commit<'a>(
        &self,
        from: &Committer,
        partitions: impl IntoIterator<Item = &'a TopicPartition>,
        transactional: bool,
        topics: &TopicImage,
    ) -> Result<(), Refused> {
        let names_nobody = from.member_id.is_empty() && from.instance_id.is_none();
        if from.generation < 0 && (self.members.is_empty() || (transactional && names_nobody)) {
            return Ok(());
        }
        let member = self.known(&from.member_id)?;
        if !transactional && !from.knows_epochs && member.profile.classic.is_none() {
            let text =
                "OffsetCommit version 9 or above must be used by members using the consumer group protocol";
            return Err(Refused::new(GroupError::UnsupportedVersion, text));
        }
        let (told, known) = (from.generation, member.current.epoch);
        let stale = |text: String| Refused::new(stale_error(member), text);
        let word = epoch_word(member);
        if told > known {
            return Err(stale(format!("Received {word} {told} is newer than current member epoch {known}.")));
        }
        for partition in partitions.into_iter().filter(|_| told < known) {
            match member.held_since(partition, topics) {
                Some(since) if since <= told => {}
                Some(since) => {
                    return Err(stale(format!(
                        "Received {word} {told} is older than assignment epoch {since} for partition {partition}."
                    )));
                }
                None => {
                    return Err(stale(format!(
                        "Partition {partition} is not assigned or pending revocation for member."
                    )));
                }
            }
        }
        Ok(())
    }

    /// Whether a member with this epoch may fetch offsets; one that names itself in no way always may.
    pub fn check_fetch(&self, member_id: Option<&str>, epoch: i32) -> Result<(), Refused> {
        if member_id.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = self.known(member_id.unwrap_or_default())?;
        if member.current.epoch == epoch {
            return Ok(());
        }
        let (word, known) = (epoch_word(member), member.current.epoch);
        let text = format!("The received {word} {epoch} does not match the expected member epoch {known}.");
        Err(Refused::new(stale_error(member), text))
    }

    pub(super) fn known(&self, id: &str) -> Result<&Member, Refused> {
        self.members.get(id).ok_or_else(|| {
            let text = format!("Member {id} is not a member of group {}.", self.id);
            Refused::new(GroupError::UnknownMember, text)
        })
    }
}

fn stale_error(member: &Member) -> GroupError {
    match member.profile.classic {
        Some(_) => GroupError::IllegalGeneration,
        None => GroupError::StaleMemberEpoch,
    }
}

fn epoch_word(member: &Member) -> &'static str {
    if member.profile.classic.is_some() { "generation id" } else { "member epoch" }
}

impl Member {
    /// The epoch at which it got a partition that it still has.
    fn held_since(&self, partition: &TopicPartition, topics: &TopicImage) -> Option<i32> {
        let TopicPartition { topic, partition: PartitionId(number) } = partition;
        let place = (topics.get(topic)?.id, PartitionId(*number));
        let current = &self.current;
        current.assigned.get(&place).or_else(|| current.revoking.get(&place)).copied()
    }
}
