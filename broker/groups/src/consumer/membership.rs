//! Who is a member, under which epoch and instance, and what time does to members that send nothing.

use std::sync::Arc;

use flumen_types::Timestamp;

use super::{Current, Group, Heartbeat, Member, MemberState, Options, Profile, Refused};
use crate::consumer_records::{Change, GroupEpoch};
use crate::error::GroupError;
use crate::group::Step;

impl Group {
    /// Whether it may be a member; the id of the static member whose place it takes.
    pub(super) fn admit(&self, beat: &Heartbeat) -> Result<Option<Arc<str>>, Refused> {
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
