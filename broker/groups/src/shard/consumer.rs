//! Requests of the consumer protocol, and groups that go over from one protocol to the other.

use std::sync::Arc;

use flumen_types::Timestamp;

use super::{AnyGroup, GroupShard, Kept};
use crate::consumer::{Answer, Group, Heartbeat, Refused, TopicImage};
use crate::consumer_records::Change;
use crate::error::GroupError;
use crate::group::Step;

impl GroupShard {
    /// Answers at once; a refused heartbeat has changed nothing.
    pub fn consumer_heartbeat(
        &mut self,
        group: &str,
        beat: &Heartbeat,
        topics: &TopicImage,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Answer, Refused> {
        beat.check(group, &self.options.consumer)?;
        let options = &self.options.consumer;
        let missing = |text: String| Err(Refused::new(GroupError::GroupIdNotFound, text));
        let answer = match self.groups.get_mut(group) {
            Some(Kept { group: AnyGroup::Consumer(group), .. }) => {
                group.heartbeat(beat, topics, now, options, step)?
            }
            Some(kept) if beat.epoch == 0 && kept.group.is_vacant() => {
                let mut fresh = Group::new(group.into());
                let mut begun = Step::default();
                let answer = fresh.heartbeat(beat, topics, now, options, &mut begun)?;
                step.changes.extend(kept.group.tombstones());
                step.changes.extend(begun.changes);
                kept.group = AnyGroup::Consumer(fresh);
                answer
            }
            None if beat.epoch == 0 => {
                let mut fresh = Group::new(group.into());
                let answer = fresh.heartbeat(beat, topics, now, options, step)?;
                self.groups.insert(group.into(), Kept::new(AnyGroup::Consumer(fresh)));
                answer
            }
            Some(_) => return missing(format!("Group {group} is not a consumer group.")),
            None if beat.leaves() => return missing(format!("Group {group} not found.")),
            None => return missing(format!("Consumer group {group} not found.")),
        };
        self.settle(group);
        Ok(answer)
    }

    /// Of a group's last record, [`Change::Epoch`] without a value, see [`GroupShard::apply`].
    pub(super) fn replay_consumer(&mut self, group: &Arc<str>, change: &Change) {
        let is_tombstone = change.is_tombstone();
        let kept = match self.groups.get_mut(group) {
            Some(kept) => kept,
            None if is_tombstone => return,
            None => {
                let fresh = Kept::new(AnyGroup::Consumer(Group::new(group.clone())));
                self.groups.entry(group.clone()).or_insert(fresh)
            }
        };
        match &mut kept.group {
            AnyGroup::Consumer(group) => group.apply(change.clone()),
            AnyGroup::Classic(_) if is_tombstone => {}
            AnyGroup::Classic(_) => {
                let mut fresh = Group::new(group.clone());
                fresh.apply(change.clone());
                kept.group = AnyGroup::Consumer(fresh);
            }
        }
    }

    /// The log has been replayed: from now on members must be heard of.
    pub fn loaded(&mut self, now: Timestamp) {
        for (id, kept) in &mut self.groups {
            if let AnyGroup::Consumer(group) = &mut kept.group {
                group.begin_sessions(now, &self.options.consumer);
                self.deadlines.set(id, group.next_deadline());
            }
        }
    }

    /// Whether a member that names itself may fetch offsets.
    pub fn check_fetch(&self, group: &str, member_id: Option<&str>, epoch: i32) -> Result<(), Refused> {
        match self.groups.get(group).and_then(|kept| kept.group.consumer()) {
            Some(group) => group.check_fetch(member_id, epoch),
            None => Ok(()),
        }
    }
}
