//! A group with members goes over from one protocol to the other, and they notice a rebalance only.

use flumen_types::Timestamp;

use super::classic::{classic_assignment, place_all};
use super::{ClassicMember, Current, Group, MemberState, Options, Owned, Profile, Refused, TopicImage};
use crate::consumer_records::{Change, GroupEpoch, TargetEpoch};
use crate::error::GroupError;
use crate::group::{self, Step};
use crate::subscription::{self, CONSUMER, Subscription};

impl Group {
    /// What a classic group becomes when somebody joins it with the consumer protocol: each member keeps
    /// what it has.
    pub(crate) fn upgrade(
        classic: &group::Group,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<Group, Refused> {
        let refuse = |why: &str| {
            let text =
                format!("Cannot upgrade classic group {} to consumer group because {why}.", classic.id());
            Refused::new(GroupError::GroupIdNotFound, text)
        };
        let malformed = |_| refuse("the embedded consumer protocol is malformed");
        if !options.migration.upgrades() {
            return Err(refuse("online upgrade is disabled"));
        }
        if classic.protocol_type() != Some(CONSUMER) {
            return Err(refuse("the group does not use the consumer embedded protocol"));
        }
        if classic.members().count() > options.members_max {
            return Err(refuse("the group size exceeds the consumer group maximum size"));
        }
        let mut group = Group::new(classic.id().clone());
        let epoch = classic.generation();
        for member in classic.members() {
            let metadata = match classic.protocol() {
                Some(protocol) => member.metadata(protocol),
                None => member.protocols.first().map(|(_, metadata)| metadata.clone()).unwrap_or_default(),
            };
            let said = Subscription::read(&metadata).map_err(malformed)?;
            let (had, custom) = subscription::read_assignment(&member.assignment).map_err(malformed)?;
            if custom {
                return Err(refuse(
                    "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default assignor before re-attempting the upgrade",
                ));
            }
            let target = place_all(&had, topics);
            let assigned: Owned = target.iter().map(|place| (*place, epoch)).collect();
            let current = Current {
                epoch,
                previous_epoch: epoch,
                state: MemberState::Stable,
                assigned,
                revoking: Owned::new(),
            };
            let id = member.id.clone();
            let profile = Some(upgraded(member, said));
            group.change(Change::Member { id: id.clone(), profile }, step);
            group.change(Change::Target { id: id.clone(), assignment: Some(target) }, step);
            group.change(Change::Current { id, current: Some(current) }, step);
        }
        let topics_hash = topics.hash(&group.topics());
        group.change(Change::Epoch(Some(GroupEpoch { epoch, topics_hash })), step);
        let target_epoch = TargetEpoch { epoch, assigned_at: Timestamp(0) };
        group.change(Change::TargetEpoch(Some(target_epoch)), step);
        group.begin_sessions(now, options);
        Ok(group)
    }

    /// Whether only members of the classic protocol are left, and it may become theirs again.
    pub(crate) fn may_downgrade(&self, options: &group::Options) -> bool {
        options.consumer.migration.downgrades()
            && !self.members.is_empty()
            && self.members.len() <= options.members_max
            && self.members.values().all(|member| member.profile.classic.is_some())
    }

    /// The classic group that it becomes. Its generation is the epoch that the members have been told.
    pub(crate) fn downgrade(&self, topics: &TopicImage, now: Timestamp) -> group::Group {
        let members = self.members.values().map(|member| {
            let profile = &member.profile;
            let classic = profile.classic.as_ref();
            group::FormerMember {
                id: member.id.clone(),
                instance_id: profile.instance_id.clone(),
                client_id: profile.client_id.clone(),
                client_host: profile.client_host.clone(),
                session_timeout: classic.map(|classic| classic.session_timeout).unwrap_or_default(),
                rebalance_timeout: profile.rebalance_timeout,
                protocols: classic.map(|classic| classic.protocols.clone()).unwrap_or_default(),
                // What it has not given back yet, it may still use.
                assignment: classic_assignment(member, member.current.places(), topics),
            }
        });
        group::Group::of_former(self.id.clone(), self.target_epoch.epoch, members.collect(), now)
    }
}

fn upgraded(member: &group::Member, said: Subscription) -> Profile {
    Profile {
        instance_id: member.instance_id.clone(),
        rack_id: said.rack,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: said.topics,
        regex: None,
        rebalance_timeout: member.rebalance_timeout,
        assignor: None,
        classic: Some(ClassicMember {
            session_timeout: member.session_timeout,
            protocols: member.protocols.clone(),
        }),
    }
}
