//! One member of a streams group: what it says of itself, what it has, until when it must be heard of.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_types::{Millis, Timestamp};

use super::{Options, Owned};
use crate::consumer::MemberState;

#[derive(Clone, Debug)]
pub struct Member {
    pub id: Arc<str>,
    pub profile: Profile,
    pub current: Current,
    /// `None` until it is heard of, or the broker has started.
    pub(super) session_ends: Option<Timestamp>,
    /// Until when it must have given back what it is asked to.
    pub(super) task_ends: Option<Timestamp>,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub instance_id: Option<String>,
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub rebalance_timeout: Millis,
    /// Of the topology that it was built with.
    pub topology_epoch: i32,
    /// Members of one process share its memory and disk.
    pub process_id: Arc<str>,
    /// Where other members reach its state (interactive queries).
    pub endpoint: Option<Endpoint>,
    pub tags: BTreeMap<String, String>,
}

impl Default for Profile {
    fn default() -> Self {
        Profile {
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout: Millis(-1),
            topology_epoch: -1,
            process_id: "".into(),
            endpoint: None,
            tags: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: String,
    pub port: u16,
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

    /// Whether it has all that the assignment of this epoch gives it.
    pub(super) fn is_at(&self, assignment_epoch: i32) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == assignment_epoch
    }

    pub(super) fn heard_of(&mut self, now: Timestamp, options: &Options) {
        self.session_ends = Some(now.plus(options.session_timeout));
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Timestamp> {
        self.session_ends.into_iter().chain(self.task_ends)
    }
}
