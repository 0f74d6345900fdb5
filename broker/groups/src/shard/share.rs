//! Requests of share groups (KIP-932).

use std::sync::Arc;

use flumen_types::{Offset, PartitionId, Timestamp, TopicId};

use super::{AnyGroup, GroupShard, Kept};
use crate::consumer::{Refused, TopicImage};
use crate::error::GroupError;
use crate::group::Step;
use crate::share::{Altered, Answer, Deleting, Group, Heartbeat, Options, Partitions};
use crate::share_records::Change;

impl GroupShard {
    /// Answers at once; a refused heartbeat has changed nothing. The options are the group's own.
    pub fn share_heartbeat(
        &mut self,
        group: &str,
        beat: &Heartbeat,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Answer, Refused> {
        beat.check(group)?;
        let answer = match self.groups.get_mut(group).map(|kept| &mut kept.group) {
            Some(AnyGroup::Share(group)) => group.heartbeat(beat, topics, now, options, step)?,
            Some(_) => return Err(no_share_group(group)),
            None if beat.joins() => {
                let mut fresh = Group::new(group.into());
                let answer = fresh.heartbeat(beat, topics, now, options, step)?;
                self.groups.insert(group.into(), Kept::new(AnyGroup::Share(fresh)));
                answer
            }
            None => {
                let kind = if beat.leaves() { "Group" } else { "Share group" };
                let text = format!("{kind} {group} not found.");
                return Err(Refused::new(GroupError::GroupIdNotFound, text));
            }
        };
        self.settle(group);
        Ok(answer)
    }

    /// Partitions of a group have got a state, or could not.
    pub fn share_initialized(&mut self, group: &str, which: &Partitions, done: bool, step: &mut Step) {
        if let Some(AnyGroup::Share(group)) = self.groups.get_mut(group).map(|kept| &mut kept.group) {
            match done {
                true => group.initialized_now(which, step),
                false => group.not_initialized(which, step),
            }
        }
    }

    /// Sets where an empty group begins; a new group may begin so.
    pub fn share_alter(
        &mut self,
        group: &str,
        starts: &[(Arc<str>, PartitionId, Offset)],
        topics: &TopicImage,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Altered, Refused> {
        let id: Arc<str> = group.into();
        let kept = self.groups.entry(id.clone());
        let kept = kept.or_insert_with(|| Kept::new(AnyGroup::Share(Group::new(id))));
        let altered = match &mut kept.group {
            AnyGroup::Share(share) => share.alter(starts, topics, now, step),
            _ => Err(no_share_group(group)),
        };
        self.settle(group);
        altered
    }

    /// Begins to take back the state of topics of an empty group.
    pub fn share_delete_offsets(
        &mut self,
        group: &str,
        names: &[Arc<str>],
        topics: &TopicImage,
        step: &mut Step,
    ) -> Result<Deleting, Refused> {
        self.share(group)?.delete_offsets(names, topics, step)
    }

    /// What [`GroupShard::share_delete_offsets`] has begun is done.
    pub fn share_offsets_deleted(&mut self, group: &str, which: &Partitions, step: &mut Step) {
        if let Ok(group) = self.share(group) {
            group.deleted_now(which, step);
        }
    }

    /// Begins to take back all state of a share group that is to be deleted; of others there is none.
    pub fn share_delete(
        &mut self,
        group: &str,
        topics: &TopicImage,
        step: &mut Step,
    ) -> Result<Partitions, Refused> {
        match self.share(group) {
            Ok(group) => group.delete_all(topics, step),
            Err(_) => Ok(Partitions::new()),
        }
    }

    /// Forgets topics that are gone.
    pub fn share_forget_topics(&mut self, gone: impl Fn(TopicId) -> bool, step: &mut Step) {
        for kept in self.groups.values_mut() {
            if let AnyGroup::Share(group) = &mut kept.group {
                group.forget_topics(&gone, step);
            }
        }
    }

    fn share(&mut self, group: &str) -> Result<&mut Group, Refused> {
        match self.groups.get_mut(group).map(|kept| &mut kept.group) {
            Some(AnyGroup::Share(group)) => Ok(group),
            Some(_) => Err(no_share_group(group)),
            None => Err(Refused::new(GroupError::GroupIdNotFound, format!("Group {group} not found."))),
        }
    }

    /// Of a group's last record, [`Change::Epoch`] without a value, see [`GroupShard::apply`].
    pub(super) fn replay_share(&mut self, group: &Arc<str>, change: &Change) {
        match self.groups.get_mut(group).map(|kept| &mut kept.group) {
            Some(AnyGroup::Share(group)) => group.apply(change.clone()),
            _ if change.is_tombstone() => {}
            Some(other) => {
                let mut fresh = Group::new(group.clone());
                fresh.apply(change.clone());
                *other = AnyGroup::Share(fresh);
            }
            None => {
                let mut fresh = Group::new(group.clone());
                fresh.apply(change.clone());
                self.groups.insert(group.clone(), Kept::new(AnyGroup::Share(fresh)));
            }
        }
    }
}

fn no_share_group(group: &str) -> Refused {
    Refused::new(GroupError::GroupIdNotFound, format!("Group {group} is not a share group."))
}
