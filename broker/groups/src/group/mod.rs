//! One classic consumer group: who is in it, and where its rebalance stands.
//!
//! ```text
//!            join                     all joined, or time is up              leader has synced
//!   Empty ---------> PreparingRebalance ----------------> CompletingRebalance ----------------> Stable
//!     ^                 |      ^                                  |                               |
//!     +-----------------+      +----------------------------------+-------------------------------+
//!       nobody is left            somebody joins, leaves, or is not heard of in time
//! ```
//!
//! Invariants
//! - A group with members that is not preparing has exactly one leader, and it is one of them.
//! - In a Stable generation each member has the assignment that its leader gave it.
//! - A member leaves only by its own request, its session timeout, or by not rejoining (or not
//!   syncing) within the rebalance timeout; its waiting request is always answered.
//! - Only what `metadata()` tells is lasting; it is written when a generation becomes Stable or Empty,
//!   and when a static member is replaced.
//!
//! The newer protocol (KIP-848) is in [`crate::consumer`].

mod join;
mod member;
mod migrate;
mod rebalance;
mod session;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{Millis, Timestamp};

pub use join::Join;
pub use member::Member;
pub(crate) use migrate::{Former, FormerMember};
pub use session::{Leaving, Sync};

use crate::consumer;
use crate::error::GroupError;
use crate::group_records::{GroupEntry, GroupMetadata, MemberMetadata};
use crate::subscription;

/// A request that is answered later, named by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Waiter(pub u64);

/// What follows from a step: what must be written, and, once it is durable, who is answered.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub changes: Vec<GroupEntry>,
    pub replies: Vec<(Waiter, Reply)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    Join(Result<Joined, Refused>),
    Sync(Result<Synced, GroupError>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub leader: Arc<str>,
    pub member_id: Arc<str>,
    /// The leader of a static group that came back need not assign anew (KIP-814).
    pub skip_assignment: bool,
    /// For the leader only.
    pub members: Vec<JoinedMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    pub member_id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub metadata: Bytes,
}

/// A join that was refused; a new member learns its id even so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub error: GroupError,
    pub member_id: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synced {
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignment: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Empty,
    PreparingRebalance,
    CompletingRebalance,
    Stable,
}

impl State {
    /// As DescribeGroups and ListGroups name it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

/// Kafka's broker keys.
#[derive(Clone, Debug)]
pub struct Options {
    /// group.min.session.timeout.ms
    pub session_timeout_min: Millis,
    /// group.max.session.timeout.ms
    pub session_timeout_max: Millis,
    /// group.initial.rebalance.delay.ms
    pub initial_rebalance_delay: Millis,
    /// group.max.size
    pub members_max: usize,
    /// offset.metadata.max.bytes
    pub offset_metadata_bytes_max: usize,
    /// offsets.retention.minutes
    pub offsets_retention: Millis,
    /// group.consumer.*
    pub consumer: consumer::Options,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            session_timeout_min: Millis(6_000),
            session_timeout_max: Millis(1_800_000),
            initial_rebalance_delay: Millis(3_000),
            members_max: i32::MAX as usize,
            offset_metadata_bytes_max: 4096,
            offsets_retention: Millis(7 * 24 * 60 * 60 * 1000),
            consumer: consumer::Options::default(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Group {
    id: Arc<str>,
    state: State,
    state_since: Timestamp,
    generation: i32,
    protocol_type: Option<String>,
    protocol: Option<String>,
    leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// Instance id to member id.
    instances: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids given out that have not come back yet, and when they lapse (KIP-394).
    pending: BTreeMap<Arc<str>, Timestamp>,
    round: Option<rebalance::Round>,
    /// Until when all members must have synced.
    sync_ends_at: Option<Timestamp>,
}

impl Group {
    pub fn new(id: Arc<str>, now: Timestamp) -> Self {
        Group {
            id,
            state: State::Empty,
            state_since: now,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            pending: BTreeMap::new(),
            round: None,
            sync_ends_at: None,
        }
    }

    /// As the log has it; each member's session begins anew.
    pub fn restore(id: Arc<str>, metadata: &GroupMetadata, now: Timestamp) -> Self {
        let mut group = Group::new(id, now);
        group.generation = metadata.generation;
        group.protocol_type = Some(metadata.protocol_type.clone()).filter(|text| !text.is_empty());
        group.protocol = metadata.protocol.clone();
        if metadata.state_since != Timestamp::NONE {
            group.state_since = metadata.state_since;
        }
        let protocol = metadata.protocol.clone().unwrap_or_default();
        for member in &metadata.members {
            let member = Member::restore(member, &protocol, now);
            if let Some(instance) = &member.instance_id {
                group.instances.insert(instance.clone(), member.id.clone());
            }
            group.members.insert(member.id.clone(), member);
        }
        let leader = metadata.leader.as_deref().and_then(|leader| group.members.get_key_value(leader));
        let leader = leader.or_else(|| group.members.first_key_value());
        group.leader = leader.map(|(id, _)| id.clone());
        if !group.members.is_empty() {
            group.state = State::Stable;
        }
        group
    }

    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub fn state(&self) -> State {
        self.state
    }

    pub fn state_since(&self) -> Timestamp {
        self.state_since
    }

    pub fn generation(&self) -> i32 {
        self.generation
    }

    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    pub fn leader(&self) -> Option<&Arc<str>> {
        self.leader.as_ref()
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether it never had a member and expects none: nothing is lost if it is forgotten.
    pub fn is_blank(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty() && self.generation == 0
    }

    /// Empty, and nobody is on the way.
    pub fn is_vacant(&self) -> bool {
        self.state == State::Empty && self.members.is_empty() && self.pending.is_empty()
    }

    /// The topics that its members consume; `None` if that cannot be known.
    pub fn topics(&self) -> Option<BTreeSet<Arc<str>>> {
        if self.protocol_type.as_deref() != Some(subscription::CONSUMER) {
            return None;
        }
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            for (_, metadata) in &member.protocols {
                topics.extend(subscription::topics(metadata)?);
            }
        }
        Some(topics)
    }

    /// When this group has to be looked at again.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let members = self.members.values().filter_map(Member::deadline);
        let round = self.round.as_ref().map(|round| round.ends_at);
        members.chain(self.pending.values().copied()).chain(round).chain(self.sync_ends_at).min()
    }

    /// Whether a member that names an instance is the one that has it.
    fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), GroupError> {
        if let Some(instance_id) = instance_id {
            match self.instances.get(instance_id) {
                None => return Err(GroupError::UnknownMember),
                Some(current) if **current != *member_id => return Err(GroupError::FencedInstance),
                Some(_) => {}
            }
        }
        match self.members.contains_key(member_id) {
            true => Ok(()),
            false => Err(GroupError::UnknownMember),
        }
    }

    fn enter(&mut self, state: State, now: Timestamp) {
        self.state = state;
        self.state_since = now;
    }

    /// The lasting part of this group.
    pub fn metadata(&self) -> GroupMetadata {
        let protocol = self.protocol.as_deref();
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: member.id.to_string(),
            instance_id: member.instance_id.as_deref().map(str::to_string),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: member.session_timeout,
            subscription: protocol.map(|protocol| member.metadata(protocol)).unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        GroupMetadata {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.as_deref().map(str::to_string),
            state_since: self.state_since,
            members: members.collect(),
        }
    }

    fn record(&self, step: &mut Step) {
        step.changes.push(GroupEntry::Group { group: self.id.clone(), metadata: Some(self.metadata()) });
    }
}
