//! One share group (KIP-932): its members work on the same partitions, several on one if need be.
//!
//! ```text
//!   subscriptions or topics change,       the assignor has run        each member's next heartbeat
//!   or more partitions are initialized
//!         group epoch  ----------------> assignment epoch ------------------> member epoch
//!
//!   a partition:   subscribed to ---> initializing ---> initialized ---> deleting
//!                                     (its state is written to __share_group_state)
//! ```
//!
//! Invariants
//! - Only initialized partitions are assigned.
//! - Member epoch <= assignment epoch <= group epoch. Nothing is revoked: a partition has no owner, so that
//!   a member has all that it should have with its next heartbeat.
//! - Whatever lasts changes through [`Group::apply`] and goes into the step as it does, so that the same
//!   changes read back from the log make the same group. Sessions begin anew at start.
//!
//! Not here: the records of a partition ([`crate::share_partition`]) and what lasts of them
//! ([`crate::share_state`]). Which partitions must be initialized is told; the caller does it.

mod assign;
mod heartbeat;
mod member;
mod offsets;
mod partitions;
mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_types::{Millis, Timestamp};

pub use heartbeat::{Answer, Heartbeat};
pub use member::{Current, Member, Profile};
pub use offsets::{Altered, Deleting};
pub use partitions::{Named, Partitions, StatePartitions};
pub use settings::{Begin, Defaults, Settings};
pub(crate) use settings::{HEARTBEAT, KEYS, SESSION};

use crate::consumer::{Assignment, FORMER_EPOCH, FORMER_TARGET, Refused, TopicImage};
use crate::consumer_records::{GroupEpoch, TargetEpoch};
use crate::error::GroupError;
use crate::group::Step;
use crate::group_records::GroupEntry;
use crate::share_records::Change;

/// The protocol type, as ListGroups tells it.
pub(crate) const SHARE: &str = "share";
/// The only assignor.
pub const ASSIGNOR: &str = "simple";

/// Kafka's keys, of the broker or the group's own.
#[derive(Clone, Debug)]
pub struct Options {
    /// share.session.timeout.ms
    pub session_timeout: Millis,
    /// share.heartbeat.interval.ms
    pub heartbeat_interval: Millis,
    /// share.assignment.interval.ms: changes within it are assigned together.
    pub assignment_interval: Millis,
    /// group.share.max.size
    pub members_max: usize,
    /// group.share.initialize.retry.interval.ms
    pub initialize_retry: Millis,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            session_timeout: Millis(45_000),
            heartbeat_interval: Millis(5_000),
            assignment_interval: Millis(1_000),
            members_max: 200,
            initialize_retry: Millis(30_000),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Group {
    id: Arc<str>,
    epoch: GroupEpoch,
    target_epoch: TargetEpoch,
    members: BTreeMap<Arc<str>, Member>,
    targets: BTreeMap<Arc<str>, Assignment>,
    partitions: Option<StatePartitions>,
    /// Since when the ones that are being initialized are.
    initializing_since: Timestamp,
    /// The topics that the subscriptions were last compared with.
    seen: Option<i64>,
}

impl Group {
    pub fn new(id: Arc<str>) -> Self {
        Group {
            id,
            epoch: GroupEpoch { epoch: FORMER_EPOCH, topics_hash: 0 },
            target_epoch: FORMER_TARGET,
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            partitions: None,
            initializing_since: Timestamp::default(),
            seen: None,
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

    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    pub fn target(&self, member_id: &str) -> Assignment {
        self.targets.get(member_id).cloned().unwrap_or_default()
    }

    /// The partitions whose state is kept.
    pub fn initialized(&self) -> Partitions {
        self.partitions.as_ref().map(|partitions| partitions.initialized.clone()).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether nothing is lost if it is forgotten.
    pub fn is_blank(&self) -> bool {
        self.members.is_empty() && self.epoch.epoch <= FORMER_EPOCH && self.partitions.is_none()
    }

    /// As ShareGroupDescribe and ListGroups name it.
    pub fn state_name(&self) -> &'static str {
        if self.members.is_empty() { "Empty" } else { "Stable" }
    }

    /// The topics that its members work on.
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        self.members.values().flat_map(|member| &member.profile.topics).cloned().collect()
    }

    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.members.values().filter_map(|member| member.session_ends).min()
    }

    /// Takes out those that were not heard of in time.
    pub fn tick(&mut self, topics: &TopicImage, now: Timestamp, step: &mut Step) {
        let late = self.members.values().filter(|member| member.session_ends.is_some_and(|at| at <= now));
        for id in late.map(|member| member.id.clone()).collect::<Vec<_>>() {
            self.remove(&id, topics, step);
        }
    }

    /// Begins the sessions of the members that the log has brought back.
    pub fn begin_sessions(&mut self, now: Timestamp, options: &Options) {
        self.initializing_since = now;
        for member in self.members.values_mut() {
            member.session_ends = Some(now.plus(options.session_timeout));
        }
    }

    fn remove(&mut self, id: &Arc<str>, topics: &TopicImage, step: &mut Step) {
        self.change(Change::Current { id: id.clone(), current: None }, step);
        self.change(Change::Target { id: id.clone(), assignment: None }, step);
        self.change(Change::Member { id: id.clone(), profile: None }, step);
        let topics_hash = topics.hash(&self.topics());
        let epoch = GroupEpoch { epoch: self.epoch.epoch + 1, topics_hash };
        self.change(Change::Epoch(Some(epoch)), step);
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
                self.epoch = epoch.unwrap_or(GroupEpoch { epoch: FORMER_EPOCH, topics_hash: 0 });
            }
            Change::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or(FORMER_TARGET),
            Change::Member { id, profile: Some(profile) } => {
                self.members.entry(id.clone()).or_insert_with(|| Member::new(id)).profile = profile;
            }
            Change::Member { id, profile: None } => {
                self.members.remove(&id);
            }
            Change::Target { id, assignment: Some(assignment) } => {
                self.targets.insert(id, assignment);
            }
            Change::Target { id, assignment: None } => {
                self.targets.remove(&id);
            }
            Change::Current { id, current: Some(current) } => {
                self.members.entry(id.clone()).or_insert_with(|| Member::new(id)).current = current;
            }
            Change::Current { id, current: None } => {
                if let Some(member) = self.members.get_mut(&id) {
                    member.current = Current::default();
                }
            }
            Change::Partitions(partitions) => self.partitions = partitions,
        }
    }

    fn change(&mut self, change: Change, step: &mut Step) {
        step.changes.push(GroupEntry::Share { group: self.id.clone(), change: change.clone() });
        self.apply(change);
    }

    /// The changes that leave nothing of this group.
    pub fn tombstones(&self) -> Vec<GroupEntry> {
        let ids = || self.members.keys().cloned();
        let current = ids().map(|id| Change::Current { id, current: None });
        let targets = self.targets.keys().cloned().map(|id| Change::Target { id, assignment: None });
        let members = ids().map(|id| Change::Member { id, profile: None });
        let changes = current
            .chain(targets)
            .chain([Change::TargetEpoch(None)])
            .chain(members)
            .chain([Change::Partitions(None), Change::Epoch(None)]);
        changes.map(|change| GroupEntry::Share { group: self.id.clone(), change }).collect()
    }

    /// Everything lasting, to compare with: what the log brings back.
    pub fn lasting(&self) -> impl PartialEq + std::fmt::Debug + '_ {
        let members = self.members.values().map(|member| (&member.id, &member.profile, &member.current));
        (self.epoch, self.target_epoch, members.collect::<Vec<_>>(), &self.targets, &self.partitions)
    }
}
