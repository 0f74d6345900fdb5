//! One group of the consumer protocol (KIP-848): the broker assigns, and members follow by heartbeats.
//!
//! ```text
//!   subscriptions or topics change      an assignor has run         each member, heartbeat by heartbeat
//!         group epoch  ------------------> assignment epoch -------------------> member epoch
//!
//!   a member:   Stable ---> Unrevoked ---> Unreleased ---> Stable
//!               (what it     (it has to     (what it is to get
//!                should)      give back)     others still have)
//! ```
//!
//! Invariants
//! - A partition belongs to one member at most, from the moment it is told of it until it has said that
//!   it gave it back, or was fenced: `owners` says who, whether assigned or being revoked.
//! - Member epoch <= assignment epoch <= group epoch, but for a static member that is away (-2).
//! - Whatever lasts changes through [`Group::apply`] and goes into the step as it does, so that the same
//!   changes read back from the log make the same group. Sessions and the time to revoke do not last:
//!   they begin anew at start.
//!
//! Members of the classic protocol may be among the others while an application goes over from one to
//! the other (`classic`); when only they are left, the group becomes theirs again (`migrate`).
//!
//! Not here: members that wait. Every request is answered at once.

mod assign;
mod classic;
mod commit;
mod epochs;
mod heartbeat;
mod member;
mod membership;
mod migrate;
mod pattern;
mod reconcile;
mod settings;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_types::{Millis, PartitionId, Timestamp, TopicId};

pub use assign::{Assignor, Candidate, Situation};
pub(crate) use heartbeat::check_not_blank;
pub use heartbeat::{Answer, Heartbeat, Refused};
pub use member::{ClassicMember, Current, Member, MemberState, Owned, Profile};
pub use pattern::{NamePattern, Resolved};
pub use settings::Defaults;
pub(crate) use settings::{HEARTBEAT, KEYS, SESSION};
pub use topics::{Shows, TopicImage, TopicShape, View};

use crate::consumer_records::{Change, GroupEpoch, TargetEpoch};
use crate::group::Step;
use crate::group_records::GroupEntry;

/// What a member is to have.
pub type Assignment = BTreeSet<Place>;

/// A partition by its topic's id: one made again under its name is another.
pub type Place = (TopicId, PartitionId);

/// The epoch that a new group goes on from, as Kafka has it.
pub(crate) const FORMER_EPOCH: i32 = 1;
/// The target epoch of such a group.
pub(crate) const FORMER_TARGET: TargetEpoch = TargetEpoch { epoch: FORMER_EPOCH, assigned_at: Timestamp(0) };
/// The epoch of a member that leaves.
pub(crate) const LEAVE: i32 = -1;
/// The epoch of a static member that leaves and means to come back.
pub(crate) const LEAVE_STATIC: i32 = -2;

/// Kafka's broker keys.
#[derive(Clone, Debug)]
pub struct Options {
    /// group.consumer.session.timeout.ms
    pub session_timeout: Millis,
    /// group.consumer.heartbeat.interval.ms
    pub heartbeat_interval: Millis,
    /// group.consumer.max.size
    pub members_max: usize,
    /// group.consumer.assignors: the first is what a group gets whose members do not say.
    pub assignors: Vec<Assignor>,
    /// group.consumer.assignment.interval.ms: changes within it are assigned together.
    pub assignment_interval: Millis,
    /// group.consumer.regex.refresh.interval.ms: a rule that was given or taken is heard of after it.
    pub regex_refresh_interval: Millis,
    /// group.consumer.migration.policy
    pub migration: MigrationPolicy,
}

/// Which groups with members may go over to the other protocol; those without always may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    #[default]
    Bidirectional,
    Upgrade,
    Downgrade,
    Disabled,
}

impl MigrationPolicy {
    pub fn name(self) -> &'static str {
        match self {
            MigrationPolicy::Bidirectional => "bidirectional",
            MigrationPolicy::Upgrade => "upgrade",
            MigrationPolicy::Downgrade => "downgrade",
            MigrationPolicy::Disabled => "disabled",
        }
    }

    fn upgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Upgrade)
    }

    fn downgrades(self) -> bool {
        matches!(self, MigrationPolicy::Bidirectional | MigrationPolicy::Downgrade)
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            session_timeout: Millis(45_000),
            heartbeat_interval: Millis(5_000),
            members_max: i32::MAX as usize,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            assignment_interval: Millis(1_000),
            regex_refresh_interval: Millis(600_000),
            migration: MigrationPolicy::default(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    Empty,
    Assigning,
    Reconciling,
    Stable,
}

impl State {
    /// As ConsumerGroupDescribe and ListGroups name it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
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
    members: BTreeMap<Arc<str>, Member>,
    targets: BTreeMap<Arc<str>, Assignment>,
    patterns: BTreeMap<Arc<str>, Resolved>,
    /// Instance id to member id.
    instances: BTreeMap<Arc<str>, Arc<str>>,
    owners: BTreeMap<Place, Arc<str>>,
    /// Whether the log still has an older broker's record of the topics.
    legacy_topics: bool,
    /// The topics that the subscriptions were last compared with.
    seen: Option<i64>,
    /// Those among which all patterns were last looked up, and when.
    resolved: Option<(i64, Timestamp)>,
}

impl Group {
    pub fn new(id: Arc<str>) -> Self {
        Group {
            id,
            epoch: GroupEpoch::default(),
            target_epoch: TargetEpoch::default(),
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            patterns: BTreeMap::new(),
            instances: BTreeMap::new(),
            owners: BTreeMap::new(),
            legacy_topics: false,
            seen: None,
            resolved: None,
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

    /// What a member is to have.
    pub fn target(&self, member_id: &str) -> Assignment {
        self.targets.get(member_id).cloned().unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether it never had a member: nothing is lost if it is forgotten.
    pub fn is_blank(&self) -> bool {
        self.members.is_empty() && self.epoch.epoch == 0
    }

    pub fn state(&self) -> State {
        if self.members.is_empty() {
            State::Empty
        } else if self.epoch.epoch > self.target_epoch.epoch {
            State::Assigning
        } else if self.members.values().all(|member| member.is_at(self.target_epoch.epoch)) {
            State::Stable
        } else {
            State::Reconciling
        }
    }

    /// The one that most members ask for, or else the first that the broker offers.
    pub fn assignor(&self, options: &Options) -> Assignor {
        let mut votes: BTreeMap<Assignor, usize> = BTreeMap::new();
        for member in self.members.values() {
            if let Some(assignor) = member.profile.assignor.as_deref().and_then(Assignor::named) {
                *votes.entry(assignor).or_default() += 1;
            }
        }
        let most = votes.values().copied().max();
        let voted = votes.into_iter().find(|(_, count)| Some(*count) == most).map(|(assignor, _)| assignor);
        voted.or(options.assignors.first().copied()).unwrap_or_default()
    }

    /// The topics that a member consumes, whether they exist or not.
    fn topics_of<'a>(&'a self, profile: &'a Profile) -> impl Iterator<Item = &'a Arc<str>> {
        let pattern = profile.pattern().and_then(|regex| self.patterns.get(regex));
        profile.topics.iter().chain(pattern.into_iter().flat_map(|resolved| &resolved.topics))
    }

    /// The topics that its members consume.
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        self.members.values().flat_map(|member| self.topics_of(&member.profile)).cloned().collect()
    }

    /// When this group has to be looked at again.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.members.values().flat_map(Member::deadlines).min()
    }

    /// Takes in a lasting change, as it is decided or as the log has it.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Epoch(epoch) => self.epoch = epoch.unwrap_or_default(),
            Change::TargetEpoch(epoch) => self.target_epoch = epoch.unwrap_or_default(),
            Change::LegacyTopics { present } => self.legacy_topics = present,
            Change::Member { id, profile: Some(profile) } => self.put_profile(id, profile),
            Change::Member { id, profile: None } => self.forget(&id),
            Change::Target { id, assignment: Some(assignment) } => {
                self.targets.insert(id, assignment);
            }
            Change::Target { id, assignment: None } => {
                self.targets.remove(&id);
            }
            Change::Current { id, current } => self.put_current(id, current),
            Change::Pattern { regex, resolved: Some(resolved) } => {
                self.patterns.insert(regex, resolved);
            }
            Change::Pattern { regex, resolved: None } => {
                self.patterns.remove(&regex);
            }
        }
    }

    fn put_profile(&mut self, id: Arc<str>, profile: Profile) {
        if let Some(instance) = &profile.instance_id {
            self.instances.insert(instance.clone(), id.clone());
        }
        self.members.entry(id.clone()).or_insert_with(|| Member::new(id)).profile = profile;
    }

    /// Compaction may have left a member's place in the log before what it says of itself.
    fn put_current(&mut self, id: Arc<str>, current: Option<Current>) {
        let Some(member) = self.members.get_mut(&id) else {
            if let Some(current) = current {
                self.members.insert(id.clone(), Member::new(id.clone()));
                self.put_current(id, Some(current));
            }
            return;
        };
        let before = std::mem::replace(&mut member.current, current.unwrap_or_default());
        for place in before.places() {
            if self.owners.get(place) == Some(&id) {
                self.owners.remove(place);
            }
        }
        self.owners.extend(member.current.places().map(|place| (*place, id.clone())));
    }

    fn forget(&mut self, id: &Arc<str>) {
        self.put_current(id.clone(), None);
        let Some(member) = self.members.remove(id) else { return };
        if let Some(instance) = member.profile.instance_id
            && self.instances.get(&instance) == Some(id)
        {
            self.instances.remove(&instance);
        }
    }

    /// Makes a lasting change.
    fn change(&mut self, change: Change, step: &mut Step) {
        step.changes.push(GroupEntry::Consumer { group: self.id.clone(), change: change.clone() });
        self.apply(change);
    }

    /// The changes that leave nothing of this group.
    pub fn tombstones(&self) -> Vec<GroupEntry> {
        let ids = || self.members.keys().cloned();
        let current = ids().map(|id| Change::Current { id, current: None });
        let targets = self.targets.keys().cloned().map(|id| Change::Target { id, assignment: None });
        let members = ids().map(|id| Change::Member { id, profile: None });
        let patterns = self.patterns.keys().cloned().map(|regex| Change::Pattern { regex, resolved: None });
        let legacy = self.legacy_topics.then_some(Change::LegacyTopics { present: false });
        let changes = current
            .chain(targets)
            .chain([Change::TargetEpoch(None)])
            .chain(members)
            .chain(patterns)
            .chain(legacy)
            .chain([Change::Epoch(None)]);
        changes.map(|change| GroupEntry::Consumer { group: self.id.clone(), change }).collect()
    }

    /// Everything lasting, to compare with: what the log brings back.
    pub fn lasting(&self) -> impl PartialEq + std::fmt::Debug + '_ {
        let members = self.members.values().map(|member| (&member.id, &member.profile, &member.current));
        let epochs = (self.epoch, self.target_epoch, self.legacy_topics);
        (epochs, members.collect::<Vec<_>>(), &self.targets, &self.patterns, &self.instances, &self.owners)
    }
}
