//! One streams group (KIP-1071): an application of Kafka Streams, whose tasks the broker gives to its members.
//!
//! ```text
//!   members, topology, topics or           the assignor has run         each member, heartbeat by heartbeat
//!   settings change
//!         group epoch  ----------------------> assignment epoch -------------------> member epoch
//!
//!   a topology:   told by the first member ---> its sources are there ---> its own topics are made ---> ready
//!   a member:     Stable ---> Unrevoked ---> Unreleased ---> Stable, as in a consumer group
//! ```
//!
//! Invariants
//! - Nobody is active on a task that another is active on, from the moment he is told of it until he has said
//!   that he gave it back, or was fenced. No process has a task twice, in whatever role.
//! - Nothing is assigned before the topology is ready.
//! - Member epoch <= assignment epoch <= group epoch.
//! - Whatever lasts changes through [`Group::apply`] and goes into the step as it does, so that the same
//!   changes read back from the log make the same group. Sessions, the time to give back, the delay before
//!   the first assignment, a shutdown that somebody asked for and who knows which endpoints do not last.
//!
//! Not here: topics that must be made. The answer names them; the caller makes them.

mod assign;
mod commit;
mod configured;
mod endpoints;
mod epochs;
mod heartbeat;
mod member;
mod reconcile;
mod settings;
mod tasks;
mod topology;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_types::{Millis, Timestamp};

pub use configured::{Configured, Status, Told};
pub use endpoints::{Partitions, Served};
pub use heartbeat::{Answer, Heartbeat};
pub use member::{Current, Endpoint, Member, Profile};
pub use settings::Defaults;
pub(crate) use settings::{HEARTBEAT, KEYS, SESSION};
pub use tasks::{Owned, Role, Task, TaskSet, Tasks, by_subtopology};
pub use topology::{Copartition, Extent, InternalTopic, Subtopology, TASKS_MAX, Topology};

use crate::consumer::{FORMER_EPOCH, FORMER_TARGET, Refused};
use crate::consumer_records::TargetEpoch;
use crate::error::GroupError;
use crate::group::Step;
use crate::group_records::GroupEntry;
use crate::streams_records::{Change, GroupEpoch};

/// The protocol type, as ListGroups tells it.
pub(crate) const STREAMS: &str = "streams";

/// Kafka's keys, of the broker or the group's own.
#[derive(Clone, Debug)]
pub struct Options {
    /// streams.session.timeout.ms
    pub session_timeout: Millis,
    /// streams.heartbeat.interval.ms
    pub heartbeat_interval: Millis,
    /// streams.assignment.interval.ms: changes within it are assigned together.
    pub assignment_interval: Millis,
    /// streams.initial.rebalance.delay.ms: how long a new group waits for more members.
    pub initial_rebalance_delay: Millis,
    /// streams.num.standby.replicas
    pub standby_replicas: usize,
    /// group.streams.max.size
    pub members_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Defaults::default().resolve(&BTreeMap::new())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Empty,
    /// Topics are missing, or have the wrong shape.
    NotReady,
    Assigning,
    Reconciling,
    Stable,
}

impl State {
    /// As StreamsGroupDescribe and ListGroups name it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::NotReady => "NotReady",
            State::Assigning => "Assigning",
            State::Reconciling => "Reconciling",
            State::Stable => "Stable",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Group {
    id: Arc<str>,
    epoch: GroupEpoch,
    target_epoch: TargetEpoch,
    topology: Option<Topology>,
    members: BTreeMap<Arc<str>, Member>,
    targets: BTreeMap<Arc<str>, Tasks>,
    /// Who has a task, or has not given it back yet.
    holders: BTreeMap<Task, BTreeSet<(Arc<str>, Role)>>,
    /// The topology against the topics of version `seen`.
    configured: Option<Configured>,
    seen: Option<i64>,
    delayed_until: Option<Timestamp>,
    /// Who has asked that all members end.
    shutdown: Option<Arc<str>>,
    /// Raised when a member with an endpoint has other tasks.
    endpoint_epoch: i32,
}

impl Group {
    pub fn new(id: Arc<str>) -> Self {
        Group {
            id,
            epoch: GroupEpoch { epoch: FORMER_EPOCH, ..GroupEpoch::default() },
            target_epoch: FORMER_TARGET,
            topology: None,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            holders: BTreeMap::new(),
            configured: None,
            seen: None,
            delayed_until: None,
            shutdown: None,
            endpoint_epoch: 0,
        }
    }

    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    pub fn epoch(&self) -> i32 {
        self.epoch.epoch
    }

    pub fn assignment_epoch(&self) -> i32 {
        self.target_epoch.epoch
    }

    pub fn topology(&self) -> Option<&Topology> {
        self.topology.as_ref()
    }

    /// The topology against the topics, if all is as it has to be.
    pub fn ready(&self) -> Option<&Configured> {
        self.configured.as_ref().filter(|configured| configured.is_ready())
    }

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// What a member is to have.
    pub fn target(&self, member_id: &str) -> Tasks {
        self.targets.get(member_id).cloned().unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether it never had a member: nothing is lost if it is forgotten.
    pub fn is_blank(&self) -> bool {
        self.members.is_empty() && self.epoch.epoch <= FORMER_EPOCH && self.topology.is_none()
    }

    pub fn state(&self) -> State {
        let topology_epoch = self.topology.as_ref().map(|topology| topology.epoch);
        if self.members.is_empty() {
            State::Empty
        } else if topology_epoch != Some(self.epoch.validated) {
            State::NotReady
        } else if self.epoch.epoch > self.target_epoch.epoch {
            State::Assigning
        } else if self.members.values().all(|member| member.is_at(self.target_epoch.epoch)) {
            State::Stable
        } else {
            State::Reconciling
        }
    }

    /// The topics that its members consume.
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        match &self.topology {
            Some(topology) if !self.members.is_empty() => topology.inputs(),
            _ => BTreeSet::new(),
        }
    }

    /// When this group has to be looked at again.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.members.values().flat_map(Member::deadlines).chain(self.delayed_until).min()
    }

    /// Takes out those that were not heard of, or did not give back, in time; ends the delay before the first
    /// assignment.
    pub fn tick(&mut self, now: Timestamp, step: &mut Step) {
        let late = self.members.values().filter(|member| member.deadlines().any(|at| at <= now));
        for id in late.map(|member| member.id.clone()).collect::<Vec<_>>() {
            self.remove(&id, step);
        }
        if self.delayed_until.take_if(|until| *until <= now).is_some()
            && !self.members.is_empty()
            && self.configured.is_some()
            && self.epoch.epoch > self.target_epoch.epoch
        {
            self.assign(now, step);
        }
    }

    /// Begins the sessions of the members that the log has brought back.
    pub fn begin_sessions(&mut self, now: Timestamp, options: &Options) {
        for member in self.members.values_mut() {
            member.heard_of(now, options);
            if !member.current.revoking.is_empty() {
                member.task_ends = Some(now.plus(member.profile.rebalance_timeout));
            }
        }
    }

    /// Whoever comes next has the others assigned anew.
    fn remove(&mut self, id: &Arc<str>, step: &mut Step) {
        self.change(Change::Current { id: id.clone(), current: None }, step);
        self.change(Change::Target { id: id.clone(), tasks: None }, step);
        self.change(Change::Member { id: id.clone(), profile: None }, step);
        let epoch = GroupEpoch { epoch: self.epoch.epoch + 1, ..self.epoch.clone() };
        self.change(Change::Epoch(Some(epoch)), step);
        if self.members.is_empty() {
            self.shutdown = None;
        }
    }

    fn known(&self, id: &str) -> Result<&Member, Refused> {
        self.members.get(id).ok_or_else(|| {
            let text = format!("Member {id} is not a member of group {}.", self.id);
            Refused::new(GroupError::UnknownMember, text)
        })
    }

    /// Takes in a lasting change, as it is decided or as the log has it.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Epoch(epoch) => {
                self.epoch =
                    epoch.unwrap_or_else(|| GroupEpoch { epoch: FORMER_EPOCH, ..GroupEpoch::default() });
            }
            Change::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or(FORMER_TARGET),
            Change::Topology(topology) => self.topology = topology,
            Change::Member { id, profile: Some(profile) } => {
                self.members.entry(id.clone()).or_insert_with(|| Member::new(id)).profile = profile;
            }
            Change::Member { id, profile: None } => {
                self.put_current(id.clone(), None);
                self.members.remove(&id);
            }
            Change::Target { id, tasks: Some(tasks) } => {
                self.targets.insert(id, tasks);
            }
            Change::Target { id, tasks: None } => {
                self.targets.remove(&id);
            }
            Change::Current { id, current } => self.put_current(id, current),
        }
    }

    fn change(&mut self, change: Change, step: &mut Step) {
        step.changes.push(GroupEntry::Streams { group: self.id.clone(), change: change.clone() });
        self.apply(change);
    }

    /// The changes that leave nothing of this group.
    pub fn tombstones(&self) -> Vec<GroupEntry> {
        let ids = || self.members.keys().cloned();
        let current = ids().map(|id| Change::Current { id, current: None });
        let targets = self.targets.keys().cloned().map(|id| Change::Target { id, tasks: None });
        let members = ids().map(|id| Change::Member { id, profile: None });
        let changes = current
            .chain(targets)
            .chain([Change::TargetEpoch(None)])
            .chain(members)
            .chain([Change::Topology(None), Change::Epoch(None)]);
        changes.map(|change| GroupEntry::Streams { group: self.id.clone(), change }).collect()
    }

    /// Everything lasting, to compare with: what the log brings back.
    pub fn lasting(&self) -> impl PartialEq + std::fmt::Debug + '_ {
        let members = self.members.values().map(|member| (&member.id, &member.profile, &member.current));
        let own = (&self.epoch, self.target_epoch, &self.topology);
        (own, members.collect::<Vec<_>>(), &self.targets, &self.holders)
    }
}
