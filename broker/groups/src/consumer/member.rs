//! One member: what it says of itself, what it has, and until when it must be heard of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{Millis, Timestamp};

use super::{LEAVE_STATIC, Options, Place};

/// Partitions, and the epoch at which the member got each.
pub type Owned = BTreeMap<Place, i32>;

#[derive(Clone, Debug)]
pub struct Member {
    pub id: Arc<str>,
    pub profile: Profile,
    pub current: Current,
    /// `None` until it is heard of, or the broker has started.
    pub(super) session_ends: Option<Timestamp>,
    /// Until when it must have done what it is asked to: give back; of the classic protocol, rejoin or
    /// sync.
    pub(super) task_ends: Option<Timestamp>,
}

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub instance_id: Option<Arc<str>>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: BTreeSet<Arc<str>>,
    /// Empty is none.
    pub regex: Option<Arc<str>>,
    pub rebalance_timeout: Millis,
    pub assignor: Option<String>,
    /// Set while it speaks the classic protocol.
    pub classic: Option<ClassicMember>,
}

/// What only members of the classic protocol have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicMember {
    pub session_timeout: Millis,
    /// Name and metadata, the best first.
    pub protocols: Vec<(String, Bytes)>,
}

/// Where a member stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    /// An answer may get lost: the member then comes back with the epoch before.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: Owned,
    /// No longer its own, but not yet given back.
    pub revoking: Owned,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i8)]
pub enum MemberState {
    /// It has all that it should have at its epoch.
    #[default]
    Stable = 0,
    /// It must give something back before it goes on.
    Unrevoked = 1,
    /// Something that it is to have is still another's.
    Unreleased = 2,
}

impl MemberState {
    pub(crate) fn read(found: i8) -> Option<MemberState> {
        [MemberState::Stable, MemberState::Unrevoked, MemberState::Unreleased]
            .into_iter()
            .find(|state| *state as i8 == found)
    }
}

impl Current {
    /// All that nobody else may have: what it has, and what it has not given back.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.assigned.keys().chain(self.revoking.keys())
    }
}

impl Profile {
    /// Its regular expression, if it has one.
    pub fn pattern(&self) -> Option<&Arc<str>> {
        self.regex.as_ref().filter(|regex| !regex.is_empty())
    }
}

impl Member {
    pub(super) fn new(id: Arc<str>) -> Self {
        Member {
            id,
            profile: Profile::default(),
            current: Current::default(),
            session_ends: None,
            task_ends: None,
        }
    }

    /// A static member that has left and may come back.
    pub fn is_away(&self) -> bool {
        self.current.epoch == LEAVE_STATIC
    }

    /// Whether it has all that the assignment of this epoch gives it.
    pub(super) fn is_at(&self, assignment_epoch: i32) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == assignment_epoch
    }

    /// It is heard of now.
    pub(super) fn heard_of(&mut self, now: Timestamp, options: &Options) {
        let classic = self.profile.classic.as_ref().map(|classic| classic.session_timeout);
        self.session_ends = Some(now.plus(classic.unwrap_or(options.session_timeout)));
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Timestamp> {
        self.session_ends.into_iter().chain(self.task_ends)
    }
}
