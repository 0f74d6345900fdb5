//! The one request that a member sends: to join, to hear what it is to work on, to leave.

use std::sync::Arc;

use flumen_types::{Millis, Timestamp};

use super::{Current, Group, Member, Options, Partitions, Profile};
use crate::consumer::{Assignment, LEAVE, Refused, TopicImage, check_not_blank};
use crate::consumer_records::{GroupEpoch, TargetEpoch};
use crate::error::GroupError;
use crate::group::Step;
use crate::share_records::Change;

/// What did not change since the last one may be left out.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    pub member_id: String,
    /// 0 joins; -1 leaves.
    pub epoch: i32,
    pub rack_id: Option<String>,
    pub topics: Option<Vec<String>>,
    pub client_id: String,
    pub client_host: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub member_id: Arc<str>,
    pub epoch: i32,
    pub heartbeat_interval: Millis,
    /// `None`: as it was.
    pub assigned: Option<Assignment>,
    /// Whose state must be made before they can be assigned, and for which epoch of the group.
    pub initialize: Option<(i32, Partitions)>,
}

impl Heartbeat {
    pub(crate) fn joins(&self) -> bool {
        self.epoch == 0
    }

    pub(crate) fn leaves(&self) -> bool {
        self.epoch == LEAVE
    }

    /// What is wrong with it, whatever the group.
    pub(crate) fn check(&self, group: &str) -> Result<(), Refused> {
        let invalid = |text: &str| Err(Refused::new(GroupError::InvalidRequest, text));
        check_not_blank([
            ("MemberId", Some(&*self.member_id)),
            ("GroupId", Some(group)),
            ("RackId", self.rack_id.as_deref()),
        ])?;
        if self.joins() && self.topics.as_ref().is_none_or(Vec::is_empty) {
            return invalid("SubscribedTopicNames must be set in first request.");
        }
        if self.epoch < LEAVE {
            return invalid("MemberEpoch is invalid.");
        }
        Ok(())
    }

    fn profile(&self, before: &Profile) -> Profile {
        let mut profile = before.clone();
        if let Some(rack) = &self.rack_id {
            profile.rack_id = Some(rack.clone());
        }
        if let Some(topics) = &self.topics {
            profile.topics = topics.iter().map(|topic| topic.as_str().into()).collect();
        }
        profile.client_id.clone_from(&self.client_id);
        profile.client_host.clone_from(&self.client_host);
        profile
    }
}

impl Group {
    /// Of a heartbeat that was checked; a refused one has changed nothing.
    pub fn heartbeat(
        &mut self,
        beat: &Heartbeat,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Answer, Refused> {
        if beat.leaves() {
            return self.leave(beat, topics, step);
        }
        let before = self.admit(beat, options)?;
        let id = before.id.clone();
        let profile = beat.profile(&before.profile);
        let resubscribed = profile.topics != before.profile.topics;
        let is_new = !self.members.contains_key(&id);
        if is_new || profile != before.profile {
            self.change(Change::Member { id: id.clone(), profile: Some(profile) }, step);
        }
        let bumped = self.compare(resubscribed, topics, step);
        self.assign_if_due(topics, now, options, step);
        self.reconcile(&id, bumped, topics, step);
        let initialize = self.begin_initializing(topics, now, options, step);
        let member = self.members.get_mut(&id).expect("it was admitted");
        member.session_ends = Some(now.plus(options.session_timeout));
        let current = &member.current;
        let wants_all = beat.joins() || beat.topics.is_some();
        let changed = current.assigned != before.current.assigned;
        Ok(Answer {
            member_id: id,
            epoch: current.epoch,
            heartbeat_interval: options.heartbeat_interval,
            assigned: (wants_all || changed).then(|| current.assigned.clone()),
            initialize,
        })
    }

    fn leave(&mut self, beat: &Heartbeat, topics: &TopicImage, step: &mut Step) -> Result<Answer, Refused> {
        let id = self.known(&beat.member_id)?.id.clone();
        self.remove(&id, topics, step);
        let (epoch, heartbeat_interval) = (beat.epoch, Millis(0));
        Ok(Answer { member_id: id, epoch, heartbeat_interval, assigned: None, initialize: None })
    }

    /// The member as it was so far; a new one may come if there is room.
    fn admit(&self, beat: &Heartbeat, options: &Options) -> Result<Member, Refused> {
        let known = self.members.get(beat.member_id.as_str());
        if known.is_none() && self.members.len() >= options.members_max {
            let most = options.members_max;
            let text = format!("The share group has reached its maximum capacity of {most} members.");
            return Err(Refused::new(GroupError::GroupMaxSizeReached, text));
        }
        let Some(member) = known else {
            return match beat.joins() {
                true => Ok(Member::new(beat.member_id.as_str().into())),
                false => Err(self.known(&beat.member_id).expect_err("it is not there")),
            };
        };
        let Current { epoch, previous_epoch, .. } = member.current;
        let fenced = |text: String| Err(Refused::new(GroupError::FencedMemberEpoch, text));
        if beat.joins() || beat.epoch == epoch || (beat.epoch < epoch && beat.epoch == previous_epoch) {
            return Ok(member.clone());
        }
        let (word, also) = match beat.epoch > epoch {
            true => ("greater", String::new()),
            false => {
                let text = format!(", and it does not match the previous member epoch ({previous_epoch})");
                ("smaller", text)
            }
        };
        fenced(format!(
            "The share group member has a {word} member epoch ({}) than the one known by the group coordinator ({epoch}){also}. The member must abandon all its partitions and rejoin.",
            beat.epoch
        ))
    }

    /// Raises the group's epoch if there is something else to assign; whether it did.
    fn compare(&mut self, resubscribed: bool, topics: &TopicImage, step: &mut Step) -> bool {
        let is_assigned = self.target_epoch.epoch >= self.epoch.epoch;
        let mut bumps = resubscribed || (is_assigned && self.has_unassigned(topics));
        if !bumps && self.seen == Some(topics.version()) {
            return false;
        }
        let topics_hash = topics.hash(&self.topics());
        bumps |= topics_hash != self.epoch.topics_hash;
        self.seen = Some(topics.version());
        if bumps {
            let epoch = GroupEpoch { epoch: self.epoch.epoch + 1, topics_hash };
            self.change(Change::Epoch(Some(epoch)), step);
        }
        bumps
    }

    fn assign_if_due(&mut self, topics: &TopicImage, now: Timestamp, options: &Options, step: &mut Step) {
        let TargetEpoch { epoch, assigned_at } = self.target_epoch;
        let waits = now >= assigned_at && now < assigned_at.plus(options.assignment_interval);
        if epoch >= self.epoch.epoch || waits {
            return;
        }
        for (id, assignment) in self.assigned(topics) {
            if self.targets.get(&id) != Some(&assignment) {
                self.change(Change::Target { id, assignment: Some(assignment) }, step);
            }
        }
        let target_epoch = TargetEpoch { epoch: self.epoch.epoch, assigned_at: now };
        self.change(Change::TargetEpoch(Some(target_epoch)), step);
    }

    /// Gives a member what the last assignment has for it.
    fn reconcile(&mut self, id: &Arc<str>, bumped: bool, topics: &TopicImage, step: &mut Step) {
        let Some(member) = self.members.get(id) else { return };
        let (current, target_epoch) = (&member.current, self.target_epoch.epoch);
        if !bumped && current.epoch == target_epoch {
            return;
        }
        let consumed = |topic| topics.name(topic).is_some_and(|name| member.profile.topics.contains(name));
        let assigned = self.target(id).into_iter().filter(|(topic, _)| consumed(*topic)).collect();
        let previous_epoch = match current.epoch == target_epoch {
            true => current.previous_epoch,
            false => current.epoch,
        };
        let next = Current { epoch: target_epoch, previous_epoch, assigned };
        if next != *current {
            self.change(Change::Current { id: id.clone(), current: Some(next) }, step);
        }
    }
}
