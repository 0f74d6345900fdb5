//! One member of a share group: what it says of itself, what it has, until when it must be heard of.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_types::Timestamp;

use crate::consumer::Assignment;

#[derive(Clone, Debug)]
pub struct Member {
    pub id: Arc<str>,
    pub profile: Profile,
    pub current: Current,
    /// `None` until it is heard of, or the broker has started.
    pub(super) session_ends: Option<Timestamp>,
}

/// What a member says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    pub rack_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub topics: BTreeSet<Arc<str>>,
}

/// Where a member stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current {
    pub epoch: i32,
    /// An answer may get lost: the member then comes back with the epoch before.
    pub previous_epoch: i32,
    pub assigned: Assignment,
}

impl Default for Current {
    fn default() -> Self {
        Current { epoch: 0, previous_epoch: -1, assigned: Assignment::new() }
    }
}

impl Member {
    pub(super) fn new(id: Arc<str>) -> Self {
        Member { id, profile: Profile::default(), current: Current::default(), session_ends: None }
    }
}
