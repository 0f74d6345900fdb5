//! Requests of the consumer protocol, and groups that go over from one protocol to the other.

use std::sync::Arc;

use flumen_types::Timestamp;

use super::{AnyGroup, GroupShard, Kept};
use crate::consumer::{Answer, Group, Heartbeat, Options, Refused, State, TopicImage, View};
use crate::consumer_records::Change;
use crate::error::GroupError;
use crate::group::{self, Former, Join, Reply, Step, Waiter};
use crate::{consumer, share, streams};

impl GroupShard {
    /// Answers at once; a refused heartbeat has changed nothing. The options are the group's own.
    pub fn consumer_heartbeat(
        &mut self,
        group: &str,
        beat: &Heartbeat,
        topics: View<'_>,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Answer, Refused> {
        beat.check(group, options)?;
        let missing = |text: String| Err(Refused::new(GroupError::GroupIdNotFound, text));
        let Some(kept) = self.groups.get_mut(group) else {
            if beat.leaves() {
                return missing(format!("Group {group} not found."));
            }
            if beat.epoch != 0 {
                return missing(format!("Consumer group {group} not found."));
            }
            let mut fresh = Group::new(group.into());
            let answer = fresh.heartbeat(beat, topics, now, options, step)?;
            self.groups.insert(group.into(), Kept::new(AnyGroup::Consumer(fresh)));
            self.settle(group);
            return Ok(answer);
        };
        let answer = match &mut kept.group {
            AnyGroup::Consumer(group) => group.heartbeat(beat, topics, now, options, step)?,
            AnyGroup::Classic(_) if beat.epoch == 0 => kept.upgrade(beat, topics, now, options, step)?,
            AnyGroup::Classic(_) | AnyGroup::Share(_) | AnyGroup::Streams(_) => {
                return missing(format!("Group {group} is not a consumer group."));
            }
        };
        kept.downgrade_if_due(Former::MustRejoin, topics.image, now, &self.options, step);
        self.settle(group);
        Ok(answer)
    }

    /// A join with the classic protocol, answered at once unless the group becomes a classic one by it.
    pub(super) fn join_consumer(
        &mut self,
        group: &str,
        join: Join,
        waiter: Waiter,
        topics: View<'_>,
        now: Timestamp,
        own: &Options,
    ) -> Step {
        let mut step = Step::default();
        let Some(kept) = self.groups.get_mut(group) else { return step };
        let AnyGroup::Consumer(consumer) = &mut kept.group else { return step };
        let options = &self.options;
        let timeout = join.session_timeout;
        let joined = match timeout < options.session_timeout_min || timeout > options.session_timeout_max {
            true => {
                let member_id = join.member_id.as_str().into();
                Err(group::Refused { error: GroupError::InvalidSessionTimeout, member_id })
            }
            false => consumer.join_classic(&join, topics, now, own, &mut step),
        };
        let id = match joined {
            Ok(id) => id,
            Err(refused) => {
                step.replies.push((waiter, Reply::Join(Err(refused))));
                return step;
            }
        };
        let joined = consumer.joined_classic(&id);
        let former = match consumer.state() {
            State::Stable => Former::GoOn,
            _ => Former::MustRejoin,
        };
        kept.downgrade_if_due(former, topics.image, now, options, &mut step);
        match &mut kept.group {
            AnyGroup::Classic(classic) if former == Former::MustRejoin => {
                let again = Join { member_id: id.to_string(), ..join };
                classic.join(again, waiter, now, options, &mut step);
            }
            _ => step.replies.push((waiter, Reply::Join(Ok(joined)))),
        }
        step
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
            _ if is_tombstone => {}
            _ => {
                let mut fresh = Group::new(group.clone());
                fresh.apply(change.clone());
                kept.group = AnyGroup::Consumer(fresh);
            }
        }
    }

    /// The log has been replayed: from now on members must be heard of. Given what holds for a group of each kind.
    pub fn loaded(
        &mut self,
        now: Timestamp,
        consumer: impl Fn(&str) -> consumer::Options,
        share: impl Fn(&str) -> share::Options,
        streams: impl Fn(&str) -> streams::Options,
    ) {
        for (id, kept) in &mut self.groups {
            match &mut kept.group {
                AnyGroup::Consumer(group) => group.begin_sessions(now, &consumer(id)),
                AnyGroup::Share(group) => group.begin_sessions(now, &share(id)),
                AnyGroup::Streams(group) => group.begin_sessions(now, &streams(id)),
                AnyGroup::Classic(_) => continue,
            }
            self.deadlines.set(id, kept.group.next_deadline());
        }
    }

    /// Whether a member that names itself may fetch offsets.
    pub fn check_fetch(&self, group: &str, member_id: Option<&str>, epoch: i32) -> Result<(), Refused> {
        match self.groups.get(group).map(|kept| &kept.group) {
            Some(AnyGroup::Consumer(group)) => group.check_fetch(member_id, epoch),
            Some(AnyGroup::Streams(group)) => group.check_fetch(member_id, epoch),
            Some(AnyGroup::Share(_)) if member_id.is_some() || epoch >= 0 => {
                let text = format!("Group {group} is not a consumer group.");
                Err(Refused::new(GroupError::GroupIdNotFound, text))
            }
            Some(AnyGroup::Classic(_) | AnyGroup::Share(_)) | None => Ok(()),
        }
    }
}

impl Kept {
    /// An empty group of the consumer protocol, or of streams, makes room for a classic one.
    pub(super) fn clear_vacant(&mut self, now: Timestamp, step: &mut Step) {
        let gives_way = matches!(&self.group, AnyGroup::Consumer(_) | AnyGroup::Streams(_));
        if gives_way && self.group.is_vacant() {
            step.changes.extend(self.group.tombstones());
            self.group = AnyGroup::Classic(group::Group::new(self.group.id().clone(), now));
        }
    }

    /// Somebody joins a classic group with the consumer protocol. A refused one has changed nothing.
    fn upgrade(
        &mut self,
        beat: &Heartbeat,
        topics: View<'_>,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Answer, Refused> {
        let AnyGroup::Classic(classic) = &mut self.group else { unreachable!("the caller has looked") };
        let mut begun = Step::default();
        let mut group = match classic.is_empty() {
            true => Group::new(classic.id().clone()),
            false => Group::upgrade(classic, topics.image, now, options, &mut begun)?,
        };
        let answer = group.heartbeat(beat, topics, now, options, &mut begun)?;
        classic.release(step);
        step.changes.extend(self.group.tombstones());
        step.changes.extend(begun.changes);
        self.group = AnyGroup::Consumer(group);
        Ok(answer)
    }

    /// A group that only members of the classic protocol are left in is theirs again.
    pub(super) fn downgrade_if_due(
        &mut self,
        former: Former,
        topics: &TopicImage,
        now: Timestamp,
        options: &group::Options,
        step: &mut Step,
    ) {
        let AnyGroup::Consumer(group) = &self.group else { return };
        if !group.may_downgrade(options) {
            return;
        }
        let mut classic = group.downgrade(topics, now);
        step.changes.extend(self.group.tombstones());
        classic.begin(former, now, options, step);
        self.group = AnyGroup::Classic(classic);
    }
}
