//! The one request that a member sends: to join, to say what it has, to hear what it is to have, to
//! leave.

use std::sync::Arc;

use flumen_types::{Millis, Timestamp};

use super::{
    Assignment, Assignor, Current, Group, LEAVE, LEAVE_STATIC, Options, Owned, Profile, View, pattern,
};
use crate::consumer_records::Change;
use crate::error::GroupError;
use crate::group::Step;

/// What did not change since the last one may be left out.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    pub member_id: String,
    /// 0 joins; -1 leaves; -2 leaves, and a static member means to come back.
    pub epoch: i32,
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub rebalance_timeout: Option<Millis>,
    pub topics: Option<Vec<String>>,
    pub regex: Option<String>,
    pub assignor: Option<String>,
    pub owned: Option<Assignment>,
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
}

/// Why not, with Kafka's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub error: GroupError,
    pub text: String,
}

impl Refused {
    pub(crate) fn new(error: GroupError, text: impl Into<String>) -> Self {
        Refused { error, text: text.into() }
    }
}

impl Heartbeat {
    pub(super) fn joins(&self) -> bool {
        self.epoch == 0
    }

    pub(crate) fn leaves(&self) -> bool {
        self.epoch == LEAVE || self.epoch == LEAVE_STATIC
    }

    /// Whether it says everything that it can: then it wants to hear everything too.
    fn is_full(&self) -> bool {
        self.joins() || (self.rebalance_timeout.is_some() && self.topics.is_some() && self.owned.is_some())
    }

    /// What is wrong with it, whatever the group.
    pub(crate) fn check(&self, group: &str, options: &Options) -> Result<(), Refused> {
        let invalid = |text: &str| Err(Refused::new(GroupError::InvalidRequest, text));
        check_not_blank([
            ("MemberId", Some(&*self.member_id)),
            ("GroupId", Some(group)),
            ("InstanceId", self.instance_id.as_deref()),
            ("RackId", self.rack_id.as_deref()),
        ])?;
        if self.joins() {
            if self.rebalance_timeout.is_none() {
                return invalid("RebalanceTimeoutMs must be provided in first request.");
            }
            if !self.owned.as_ref().is_some_and(Assignment::is_empty) {
                return invalid("TopicPartitions must be empty when (re-)joining.");
            }
            if self.topics.is_none() && self.regex.is_none() {
                return invalid(
                    "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                );
            }
        } else if self.epoch == LEAVE_STATIC && self.instance_id.is_none() {
            return invalid("InstanceId can't be null.");
        } else if self.epoch < LEAVE_STATIC {
            return invalid("MemberEpoch is invalid.");
        }
        self.check_assignor(options)
    }

    fn check_assignor(&self, options: &Options) -> Result<(), Refused> {
        let Some(asked) = &self.assignor else { return Ok(()) };
        if Assignor::named(asked).is_some_and(|assignor| options.assignors.contains(&assignor)) {
            return Ok(());
        }
        let known = options.assignors.iter().map(|assignor| assignor.name()).collect::<Vec<_>>().join(", ");
        let text = format!("ServerAssignor {asked} is not supported. Supported assignors: {known}.");
        Err(Refused::new(GroupError::UnsupportedAssignor, text))
    }

    /// What the member says of itself now.
    fn profile(&self, before: &Profile) -> Profile {
        let mut profile = before.clone();
        if let Some(instance) = &self.instance_id {
            profile.instance_id = Some(instance.as_str().into());
        }
        if let Some(rack) = &self.rack_id {
            profile.rack_id = Some(rack.clone());
        }
        if let Some(timeout) = self.rebalance_timeout {
            profile.rebalance_timeout = timeout;
        }
        if let Some(assignor) = &self.assignor {
            profile.assignor = Some(assignor.clone());
        }
        if let Some(topics) = &self.topics {
            profile.topics = topics.iter().map(|topic| topic.as_str().into()).collect();
        }
        if let Some(regex) = &self.regex {
            profile.regex = Some(regex.as_str().into());
        }
        profile.client_id.clone_from(&self.client_id);
        profile.client_host.clone_from(&self.client_host);
        profile.classic = None;
        profile
    }
}

impl Group {
    /// Of a heartbeat that was checked; a refused one has changed nothing.
    pub fn heartbeat(
        &mut self,
        beat: &Heartbeat,
        topics: View<'_>,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Answer, Refused> {
        if beat.leaves() {
            return self.leave(beat, step);
        }
        let is_known = self.members.contains_key(beat.member_id.as_str());
        if self.members.len() >= options.members_max && !is_known {
            let most = options.members_max;
            let text = format!("The consumer group has reached its maximum capacity of {most} members.");
            return Err(Refused::new(GroupError::GroupMaxSizeReached, text));
        }
        let replaced = self.admit(beat)?;
        check_regex(beat)?;
        let id: Arc<str> = beat.member_id.as_str().into();
        if let Some(former) = replaced {
            self.replace(&former, &id, step);
        }
        let before = self.members.get(&id).map(|member| member.current.assigned.clone()).unwrap_or_default();
        let profile = beat.profile(&self.profile(&id));
        let resubscribed = self.update(&id, profile, step);
        self.compare_topics(resubscribed, topics, now, options, step);
        self.assign_if_due(topics.image, now, options, step);
        self.reconcile(&id, beat.owned.as_ref(), topics.image, now, step);
        Ok(self.answer(&id, beat, &before, now, options))
    }

    fn answer(
        &mut self,
        id: &Arc<str>,
        beat: &Heartbeat,
        before: &Owned,
        now: Timestamp,
        options: &Options,
    ) -> Answer {
        let member = self.members.get_mut(id).expect("it was admitted");
        member.heard_of(now, options);
        let assigned = &member.current.assigned;
        let changed = !assigned.keys().eq(before.keys());
        Answer {
            member_id: id.clone(),
            epoch: member.current.epoch,
            heartbeat_interval: options.heartbeat_interval,
            assigned: (changed || beat.is_full()).then(|| assigned.keys().copied().collect()),
        }
    }

    fn leave(&mut self, beat: &Heartbeat, step: &mut Step) -> Result<Answer, Refused> {
        let member = match beat.instance_id.as_deref() {
            None => self.known(&beat.member_id)?,
            Some(instance) => {
                let holder = self.instances.get(instance).and_then(|id| self.members.get(id));
                self.static_member(instance, holder, &beat.member_id)?
            }
        };
        let id = member.id.clone();
        if beat.epoch == LEAVE_STATIC {
            let current = Current { epoch: LEAVE_STATIC, revoking: Owned::new(), ..member.current.clone() };
            self.change(Change::Current { id: id.clone(), current: Some(current) }, step);
            if let Some(member) = self.members.get_mut(&id) {
                member.task_ends = None;
            }
        } else {
            self.remove(&id, step);
        }
        let (epoch, heartbeat_interval) = (beat.epoch, Millis(0));
        Ok(Answer { member_id: id, epoch, heartbeat_interval, assigned: None })
    }
}

/// Whether every name that is said says something.
pub(crate) fn check_not_blank<const N: usize>(names: [(&str, Option<&str>); N]) -> Result<(), Refused> {
    match names.into_iter().find(|(_, name)| name.is_some_and(|name| name.trim().is_empty())) {
        None => Ok(()),
        Some((what, _)) => Err(Refused::new(GroupError::InvalidRequest, format!("{what} can't be empty."))),
    }
}

fn check_regex(beat: &Heartbeat) -> Result<(), Refused> {
    let Some(regex) = beat.regex.as_deref().filter(|regex| !regex.is_empty()) else { return Ok(()) };
    pattern::compile(regex).map(|_| ()).map_err(|wrong| {
        let text = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {wrong}.");
        Refused::new(GroupError::InvalidRegularExpression, text)
    })
}
