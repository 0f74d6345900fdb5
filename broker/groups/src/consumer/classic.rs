//! Members of the classic protocol in a group of the consumer protocol: their joins, syncs and
//! heartbeats, answered from what the group assigns.
//!
//! A member epoch is their generation. A heartbeat sends them to rejoin whenever a member of the consumer
//! protocol would hear of something new; the join takes them a step on, and the sync tells what they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{PartitionId, Timestamp, TopicPartition};

use super::{
    Assignment, ClassicMember, Group, Member, MemberState, MigrationPolicy, Options, Place, Profile,
    TopicImage, View,
};
use crate::error::GroupError;
use crate::group::{Join, Joined, Leaving, Refused, Step, Sync, Synced};
use crate::subscription::{self, CONSUMER, Subscription};

impl Group {
    /// The member's id, from which [`Group::joined_classic`] makes the answer.
    pub(crate) fn join_classic(
        &mut self,
        join: &Join,
        topics: View<'_>,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Arc<str>, Refused> {
        let refuse = |error| Refused { error, member_id: join.member_id.as_str().into() };
        let is_known = self.members.contains_key(join.member_id.as_str());
        if self.members.len() >= options.members_max && !is_known {
            return Err(refuse(GroupError::GroupMaxSizeReached));
        }
        let is_disabled = options.migration == MigrationPolicy::Disabled;
        let Some((_, metadata)) = join.protocols.first().filter(|_| !is_disabled && self.speaks(join)) else {
            return Err(refuse(GroupError::InconsistentProtocol));
        };
        let said = Subscription::read(metadata).map_err(|_| refuse(GroupError::InconsistentProtocol))?;
        let id: Arc<str> = match join.member_id.as_str() {
            "" => join.new_member_id().into(),
            known => known.into(),
        };
        if join.member_id.is_empty() && join.instance_id.is_none() && join.requires_member_id {
            return Err(Refused { error: GroupError::MemberIdRequired, member_id: id });
        }
        if let Some(instance) = join.instance_id.as_deref() {
            let holder = self.instances.get(instance).and_then(|id| self.members.get(id));
            if join.member_id.is_empty() {
                if let Some(former) = holder.map(|holder| holder.id.clone()) {
                    self.replace(&former, &id, step);
                }
            } else {
                self.static_member(instance, holder, &id).map_err(|refused| refuse(refused.error))?;
            }
        }
        let owned = place_all(&said.owned, topics.image);
        let profile = join.profile(said, self.profile(&id));
        let resubscribed = self.update(&id, profile, step);
        self.compare_topics(resubscribed, topics, now, options, step);
        self.assign_if_due(topics.image, now, options, step);
        self.reconcile(&id, Some(&owned), topics.image, now, step);
        if let Some(member) = self.members.get_mut(&id) {
            member.heard_of(now, options);
            member.task_ends = Some(now.plus(member.profile.rebalance_timeout));
        }
        Ok(id)
    }

    /// There is no leader: the broker assigns.
    pub(crate) fn joined_classic(&self, id: &Arc<str>) -> Joined {
        let member = self.members.get(id);
        Joined {
            generation: member.map_or(-1, |member| member.current.epoch),
            protocol_type: Some(CONSUMER.into()),
            protocol: member.and_then(Member::protocol).map(str::to_string),
            leader: "".into(),
            member_id: id.clone(),
            skip_assignment: false,
            members: Vec::new(),
        }
    }

    /// Whether there is a protocol that it and all others of the classic protocol speak.
    fn speaks(&self, join: &Join) -> bool {
        let mut others = self.members.values().filter_map(|member| member.profile.classic.as_ref());
        let shared =
            |name: &str, other: &ClassicMember| other.protocols.iter().any(|(known, _)| known == name);
        let first = others.next();
        join.protocol_type == CONSUMER
            && join
                .protocols
                .iter()
                .any(|(name, _)| first.into_iter().chain(others.clone()).all(|other| shared(name, other)))
    }

    pub(crate) fn sync_classic(
        &mut self,
        sync: &Sync,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
    ) -> Result<Synced, GroupError> {
        let id = self.check_classic(&sync.member_id, sync.instance_id.as_deref(), sync.generation)?;
        let assignment_epoch = self.target_epoch.epoch;
        let member = self.members.get_mut(&id).ok_or(GroupError::UnknownMember)?;
        let other_type = sync.protocol_type.as_deref().is_some_and(|told| told != CONSUMER);
        if other_type || (sync.protocol.is_some() && sync.protocol.as_deref() != member.protocol()) {
            return Err(GroupError::InconsistentProtocol);
        }
        // One that gives back must hear what it keeps before it can rejoin.
        if member.current.epoch < assignment_epoch && member.current.state != MemberState::Unrevoked {
            member.must_rejoin(now);
            return Err(GroupError::RebalanceInProgress);
        }
        member.heard_of(now, options);
        member.task_ends = None;
        Ok(Synced {
            protocol_type: sync.protocol_type.clone(),
            protocol: sync.protocol.clone(),
            assignment: classic_assignment(member, member.current.assigned.keys(), topics),
        })
    }

    pub(crate) fn heartbeat_classic(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Timestamp,
        options: &Options,
    ) -> Result<(), GroupError> {
        let id = self.check_classic(member_id, instance_id, generation)?;
        let must_assign = self.must_assign(now, options);
        let is_behind = generation < self.target_epoch.epoch || must_assign;
        let could_go_on = self.members.get(&id).is_some_and(|member| match member.current.state {
            MemberState::Stable => false,
            MemberState::Unrevoked => true,
            MemberState::Unreleased => !self.waits_for_others(member),
        });
        let member = self.members.get_mut(&id).ok_or(GroupError::UnknownMember)?;
        member.heard_of(now, options);
        if is_behind || could_go_on {
            member.must_rejoin(now);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether something that it is to have is another's still.
    fn waits_for_others(&self, member: &Member) -> bool {
        let target = self.targets.get(&member.id).into_iter().flatten();
        target.into_iter().any(|place| self.owners.get(place).is_some_and(|owner| *owner != member.id))
    }

    /// One answer for each that leaves; an administrator may take out members of either protocol.
    pub(crate) fn leave_classic(
        &mut self,
        leaving: &[Leaving],
        step: &mut Step,
    ) -> Vec<Result<(), GroupError>> {
        let leave_one = |leaving: &Leaving| {
            let id = self.leaver(leaving)?;
            self.remove(&id, step);
            Ok(())
        };
        leaving.iter().map(leave_one).collect()
    }

    fn leaver(&self, leaving: &Leaving) -> Result<Arc<str>, GroupError> {
        let member = match leaving.instance_id.as_deref() {
            None => self.known(&leaving.member_id),
            Some(instance) => {
                let holder = self.instances.get(instance).and_then(|id| self.members.get(id));
                // An administrator removes a static member by its instance id alone.
                let named = match leaving.member_id.as_str() {
                    "" => holder.map(|holder| &*holder.id).unwrap_or_default(),
                    id => id,
                };
                self.static_member(instance, holder, named)
            }
        };
        member.map(|member| member.id.clone()).map_err(|refused| refused.error)
    }

    fn check_classic(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<Arc<str>, GroupError> {
        let member = match instance_id {
            None => self.known(member_id),
            Some(instance) => {
                let holder = self.instances.get(instance).and_then(|id| self.members.get(id));
                self.static_member(instance, holder, member_id)
            }
        };
        let member = member.map_err(|refused| refused.error)?;
        member.profile.classic.as_ref().ok_or(GroupError::UnknownMember)?;
        match member.current.epoch == generation {
            true => Ok(member.id.clone()),
            false => Err(GroupError::IllegalGeneration),
        }
    }
}

impl Join {
    /// What a member of the classic protocol says of itself.
    fn profile(&self, said: Subscription, before: Profile) -> Profile {
        Profile {
            instance_id: self.instance_id.as_deref().map(Arc::from).or(before.instance_id),
            rack_id: said.rack.or(before.rack_id),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            topics: said.topics,
            regex: before.regex,
            rebalance_timeout: self.rebalance_timeout,
            assignor: before.assignor,
            classic: Some(ClassicMember {
                session_timeout: self.session_timeout,
                protocols: self.protocols.clone(),
            }),
        }
    }
}

impl Member {
    /// Of the classic protocol: the one that it likes best.
    pub(super) fn protocol(&self) -> Option<&str> {
        Some(&self.profile.classic.as_ref()?.protocols.first()?.0)
    }

    /// It has been told to; what it is asked to already goes on.
    fn must_rejoin(&mut self, now: Timestamp) {
        self.task_ends.get_or_insert(now.plus(self.profile.rebalance_timeout));
    }
}

/// Partitions of topics that exist.
pub(super) fn place_all(partitions: &[TopicPartition], topics: &TopicImage) -> Assignment {
    let place = |tp: &TopicPartition| Some((topics.get(&tp.topic)?.id, tp.partition));
    partitions.iter().filter_map(place).collect()
}

/// Partitions as the classic protocol tells them to a member.
pub(super) fn classic_assignment<'a>(
    member: &Member,
    places: impl IntoIterator<Item = &'a Place>,
    topics: &TopicImage,
) -> Bytes {
    let mut named: BTreeMap<Arc<str>, Vec<PartitionId>> = BTreeMap::new();
    for (topic, partition) in places {
        if let Some(name) = topics.name(*topic) {
            named.entry(name.clone()).or_default().push(*partition);
        }
    }
    let classic = member.profile.classic.as_ref();
    let metadata = classic.and_then(|classic| classic.protocols.first()).map(|(_, metadata)| metadata);
    let version = metadata.and_then(|metadata| Subscription::read(metadata).ok()).map(|said| said.version);
    subscription::write_assignment(version.unwrap_or(0), &named.into_iter().collect::<Vec<_>>())
}
