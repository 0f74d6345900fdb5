//! Requests of streams groups (KIP-1071).

use std::sync::Arc;

use flumen_types::Timestamp;

use super::{AnyGroup, GroupShard, Kept};
use crate::consumer::{Refused, TopicImage};
use crate::error::GroupError;
use crate::group::{self, Step};
use crate::streams::{Answer, Group, Heartbeat, Options};
use crate::streams_records::Change;

impl GroupShard {
    /// Answers at once; a refused heartbeat has changed nothing. The options are the group's own.
    pub fn streams_heartbeat(
        &mut self,
        group: &str,
        beat: &Heartbeat,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Answer, Refused> {
        beat.check(group)?;
        let answer = match self.groups.get_mut(group) {
            Some(Kept { group: AnyGroup::Streams(group), .. }) => {
                group.heartbeat(beat, topics, now, options, step)?
            }
            Some(kept) if beat.joins() && kept.group.classic().is_some_and(group::Group::is_vacant) => {
                kept.become_streams(beat, topics, now, options, step)?
            }
            Some(_) => return Err(missing(format!("Group {group} is not a streams group."))),
            None if beat.joins() => {
                let mut fresh = Group::new(group.into());
                let answer = fresh.heartbeat(beat, topics, now, options, step)?;
                self.groups.insert(group.into(), Kept::new(AnyGroup::Streams(fresh)));
                answer
            }
            None => {
                let kind = if beat.leaves() { "Group" } else { "Streams group" };
                return Err(missing(format!("{kind} {group} not found.")));
            }
        };
        self.settle(group);
        Ok(answer)
    }

    /// Of a group's last record, [`Change::Epoch`] without a value, see [`GroupShard::apply`].
    pub(super) fn replay_streams(&mut self, group: &Arc<str>, change: &Change) {
        let is_tombstone = change.is_tombstone();
        match self.groups.get_mut(group).map(|kept| &mut kept.group) {
            Some(AnyGroup::Streams(group)) => group.apply(change.clone()),
            _ if is_tombstone => {}
            other => {
                let mut fresh = Group::new(group.clone());
                fresh.apply(change.clone());
                let fresh = AnyGroup::Streams(fresh);
                match other {
                    Some(other) => *other = fresh,
                    None => drop(self.groups.insert(group.clone(), Kept::new(fresh))),
                }
            }
        }
    }
}

impl Kept {
    /// An empty classic group makes room, and leaves its offsets. A refused heartbeat has changed nothing.
    fn become_streams(
        &mut self,
        beat: &Heartbeat,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Answer, Refused> {
        let mut begun = Step::default();
        let mut fresh = Group::new(self.group.id().clone());
        let answer = fresh.heartbeat(beat, topics, now, options, &mut begun)?;
        step.changes.extend(self.group.tombstones());
        step.changes.extend(begun.changes);
        self.group = AnyGroup::Streams(fresh);
        Ok(answer)
    }
}

fn missing(text: String) -> Refused {
    Refused::new(GroupError::GroupIdNotFound, text)
}
