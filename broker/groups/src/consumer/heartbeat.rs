//! The one request that a member sends: to join, to say what it has, to hear what it is to have, to
//! leave; and what time does to members that send none.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_types::{Millis, Timestamp};

use super::assign::{Candidate, Situation};
use super::{
    Assignment, Assignor, Current, Group, LEAVE, LEAVE_STATIC, Member, MemberState, Options, Owned, Profile,
    Resolved, TopicImage, pattern,
};
use crate::consumer_records::{Change, GroupEpoch, TargetEpoch};
use crate::error::GroupError;
use crate::group::Step;

/// The epoch that a new group goes on from, as Kafka has it.
const FORMER_EPOCH: i32 = 1;

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
    fn joins(&self) -> bool {
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
        let is_blank = |text: Option<&str>| text.is_some_and(|text| text.trim().is_empty());
        if is_blank(Some(&self.member_id)) {
            return invalid("MemberId can't be empty.");
        }
        if is_blank(Some(group)) {
            return invalid("GroupId can't be empty.");
        }
        if is_blank(self.instance_id.as_deref()) {
            return invalid("InstanceId can't be empty.");
        }
        if is_blank(self.rack_id.as_deref()) {
            return invalid("RackId can't be empty.");
        }
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
        topics: &TopicImage,
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
        self.compare_topics(resubscribed, topics, now, step);
        self.assign_if_due(topics, now, options, step);
        self.reconcile(&id, beat.owned.as_ref(), topics, now, step);
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

    /// Whether it may be a member; the id of the static member whose place it takes.
    fn admit(&self, beat: &Heartbeat) -> Result<Option<Arc<str>>, Refused> {
        let Some(instance) = beat.instance_id.as_deref() else {
            if let Some(member) = self.members.get(beat.member_id.as_str()) {
                check_epoch(member, beat)?;
            } else if !beat.joins() {
                return Err(self.known(&beat.member_id).expect_err("it is not there"));
            }
            return Ok(None);
        };
        let holder = self.instances.get(instance).and_then(|id| self.members.get(id));
        match holder {
            None if beat.joins() => Ok(None),
            Some(holder) if beat.joins() => match holder.is_away() || holder.profile.classic.is_some() {
                true => Ok(Some(holder.id.clone())),
                false => Err(Refused::new(
                    GroupError::UnreleasedInstance,
                    format!(
                        "Static member {} with instance id {instance} cannot join the group because the instance id is owned by {} member.",
                        beat.member_id, holder.id
                    ),
                )),
            },
            holder => {
                check_epoch(self.static_member(instance, holder, &beat.member_id)?, beat)?;
                Ok(None)
            }
        }
    }

    pub(super) fn static_member<'a>(
        &self,
        instance: &str,
        holder: Option<&'a Member>,
        member_id: &str,
    ) -> Result<&'a Member, Refused> {
        let Some(holder) = holder else {
            let text = format!("Instance id {instance} is unknown.");
            return Err(Refused::new(GroupError::UnknownMember, text));
        };
        if *holder.id == *member_id {
            return Ok(holder);
        }
        let text = format!(
            "Static member {member_id} with instance id {instance} was fenced by member {}.",
            holder.id
        );
        Err(Refused::new(GroupError::FencedInstance, text))
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

    /// Takes a member out; whoever comes next has the others assigned anew.
    pub(super) fn remove(&mut self, id: &Arc<str>, step: &mut Step) {
        self.take_out(id, step);
        let epoch = GroupEpoch { epoch: self.epoch.epoch + 1, ..self.epoch };
        self.change(Change::Epoch(Some(epoch)), step);
        // Its topics may have been those of nobody else.
        self.seen = None;
    }

    fn take_out(&mut self, id: &Arc<str>, step: &mut Step) {
        self.change(Change::Current { id: id.clone(), current: None }, step);
        self.change(Change::Target { id: id.clone(), assignment: None }, step);
        let member = self.members.get(id);
        let pattern = member.and_then(|member| member.profile.pattern()).cloned();
        self.change(Change::Member { id: id.clone(), profile: None }, step);
        self.drop_unused(pattern, step);
    }

    /// A static member has come back under another id: it has what its former self had.
    pub(super) fn replace(&mut self, former: &Arc<str>, id: &Arc<str>, step: &mut Step) {
        let Some(member) = self.members.get(former).cloned() else { return };
        let target = self.targets.get(former).cloned();
        for change in [
            Change::Current { id: former.clone(), current: None },
            Change::Target { id: former.clone(), assignment: None },
            Change::Member { id: former.clone(), profile: None },
            Change::Member { id: id.clone(), profile: Some(member.profile) },
            Change::Target { id: id.clone(), assignment: Some(target.unwrap_or_default()) },
            Change::Current {
                id: id.clone(),
                current: Some(Current { epoch: 0, previous_epoch: 0, ..member.current }),
            },
        ] {
            self.change(change, step);
        }
    }

    /// What it has said of itself so far.
    pub(super) fn profile(&self, id: &str) -> Profile {
        self.members.get(id).map(|member| member.profile.clone()).unwrap_or_default()
    }

    /// Takes in what it says of itself; whether it consumes other topics now.
    pub(super) fn update(&mut self, id: &Arc<str>, profile: Profile, step: &mut Step) -> bool {
        let is_new = !self.members.contains_key(id);
        let before = self.profile(id);
        let same_pattern = profile.pattern() == before.pattern();
        let resubscribed = is_new || profile.topics != before.topics || !same_pattern;
        if is_new || profile != before {
            self.change(Change::Member { id: id.clone(), profile: Some(profile) }, step);
        }
        if !same_pattern {
            self.drop_unused(before.pattern().cloned(), step);
        }
        resubscribed
    }

    fn drop_unused(&mut self, regex: Option<Arc<str>>, step: &mut Step) {
        let Some(regex) = regex else { return };
        let used = self.members.values().any(|member| member.profile.pattern() == Some(&regex));
        if !used && self.patterns.contains_key(&regex) {
            self.change(Change::Pattern { regex, resolved: None }, step);
        }
    }

    /// Raises the group's epoch if its members consume other topics, or these are others now.
    pub(super) fn compare_topics(
        &mut self,
        resubscribed: bool,
        topics: &TopicImage,
        now: Timestamp,
        step: &mut Step,
    ) {
        if !resubscribed && self.seen == Some(topics.version()) {
            return;
        }
        self.resolve_patterns(topics, now, step);
        let topics_hash = topics.hash(&self.topics());
        if resubscribed || topics_hash != self.epoch.topics_hash {
            if self.legacy_topics {
                self.change(Change::LegacyTopics { present: false }, step);
            }
            // An epoch that nothing was assigned for yet (somebody has left) stands for this change too.
            let is_open = self.epoch.epoch > self.target_epoch.epoch && !resubscribed;
            let epoch = self.epoch.epoch.max(FORMER_EPOCH) + i32::from(!is_open);
            self.change(Change::Epoch(Some(GroupEpoch { epoch, topics_hash })), step);
        }
        self.seen = Some(topics.version());
    }

    fn resolve_patterns(&mut self, topics: &TopicImage, now: Timestamp, step: &mut Step) {
        let used = self.members.values().filter_map(|member| member.profile.pattern());
        for regex in used.cloned().collect::<BTreeSet<_>>() {
            let found = pattern::resolve(&regex, topics);
            if self.patterns.get(&regex).is_none_or(|before| before.topics != found) {
                let resolved = Resolved { topics: found, version: topics.version(), at: now };
                self.change(Change::Pattern { regex, resolved: Some(resolved) }, step);
            }
        }
    }

    /// Whether changes wait to be assigned, and have waited for each other long enough.
    pub(super) fn must_assign(&self, now: Timestamp, options: &Options) -> bool {
        let TargetEpoch { epoch, assigned_at } = self.target_epoch;
        // A member that is alone need not be assigned together with others.
        let waits = epoch > 0 && self.members.len() > 1 && now >= assigned_at;
        let waits = waits && now < assigned_at.plus(options.assignment_interval);
        self.epoch.epoch > epoch && !waits
    }

    pub(super) fn assign_if_due(
        &mut self,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) {
        if !self.must_assign(now, options) {
            return;
        }
        let assigned = self.assignor(options).assign(&self.situation(topics));
        for (id, assignment) in assigned {
            if self.targets.get(&id) != Some(&assignment) {
                self.change(Change::Target { id, assignment: Some(assignment) }, step);
            }
        }
        let target_epoch = TargetEpoch { epoch: self.epoch.epoch, assigned_at: now };
        self.change(Change::TargetEpoch(Some(target_epoch)), step);
    }

    fn situation(&self, topics: &TopicImage) -> Situation {
        let mut situation = Situation::default();
        for (id, member) in &self.members {
            let shapes = self.topics_of(&member.profile).filter_map(|name| topics.get(name));
            let mut candidate = Candidate {
                instance_id: member.profile.instance_id.clone(),
                topics: BTreeSet::new(),
                had: self.target(id),
            };
            for shape in shapes {
                candidate.topics.insert(shape.id);
                situation.partitions.insert(shape.id, shape.partitions);
            }
            situation.members.insert(id.clone(), candidate);
        }
        situation
    }

    /// Begins the sessions of the members that the log has brought back.
    pub fn begin_sessions(&mut self, now: Timestamp, options: &Options) {
        for member in self.members.values_mut() {
            member.heard_of(now, options);
            if member.profile.classic.is_none() && member.current.state == MemberState::Unrevoked {
                member.task_ends = Some(now.plus(member.profile.rebalance_timeout));
            }
        }
    }

    /// Takes out those that were not heard of in time, or did not give back in time.
    pub fn tick(&mut self, now: Timestamp, step: &mut Step) {
        let late = self.members.values().filter(|member| member.deadlines().any(|at| at <= now));
        for id in late.map(|member| member.id.clone()).collect::<Vec<_>>() {
            self.remove(&id, step);
        }
    }
}

fn check_regex(beat: &Heartbeat) -> Result<(), Refused> {
    let Some(regex) = beat.regex.as_deref().filter(|regex| !regex.is_empty()) else { return Ok(()) };
    pattern::compile(regex).map(|_| ()).map_err(|wrong| {
        let text = format!("SubscribedTopicRegex `{regex}` is not a valid regular expression: {wrong}.");
        Refused::new(GroupError::InvalidRegularExpression, text)
    })
}

/// The epoch must be the member's, or the one before if the answer that raised it was lost.
fn check_epoch(member: &Member, beat: &Heartbeat) -> Result<(), Refused> {
    let current = &member.current;
    let fenced = |word| {
        let text = format!(
            "The consumer group member has a {word} member epoch ({}) than the one known by the group coordinator ({}). The member must abandon all its partitions and rejoin.",
            beat.epoch, current.epoch
        );
        Err(Refused::new(GroupError::FencedMemberEpoch, text))
    };
    if beat.joins() || beat.epoch == current.epoch {
        return Ok(());
    }
    if beat.epoch > current.epoch {
        return fenced("greater");
    }
    let has_no_more =
        beat.owned.as_ref().is_some_and(|owned| owned.iter().all(|p| current.assigned.contains_key(p)));
    match beat.epoch == current.previous_epoch && has_no_more {
        true => Ok(()),
        false => fenced("smaller"),
    }
}
