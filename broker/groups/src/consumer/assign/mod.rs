//! Who is to have which partition.
//!
//! Invariants: every partition of a topic that somebody consumes is given to exactly one member that
//! consumes it, and none else is given. The same input gives the same output.

mod range;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_types::TopicId;

use super::Assignment;

/// What an assignor knows of a member.
#[derive(Clone, Debug, Default)]
pub struct Candidate {
    pub instance_id: Option<Arc<str>>,
    /// The existing topics that it consumes.
    pub topics: BTreeSet<TopicId>,
    /// What it was given the last time.
    pub had: Assignment,
}

/// The members, and how many partitions each of their topics has.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    pub members: BTreeMap<Arc<str>, Candidate>,
    pub partitions: BTreeMap<TopicId, i32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// As even as the subscriptions allow, and with as few moves as that takes.
    #[default]
    Uniform,
    /// Of each topic a contiguous range, so that equal partitions of topics of one size go together.
    Range,
}

impl Assignor {
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Uniform => "uniform",
            Assignor::Range => "range",
        }
    }

    pub fn named(name: &str) -> Option<Assignor> {
        [Assignor::Uniform, Assignor::Range].into_iter().find(|assignor| assignor.name() == name)
    }

    pub fn assign(self, situation: &Situation) -> BTreeMap<Arc<str>, Assignment> {
        match self {
            Assignor::Uniform => uniform::assign(situation),
            Assignor::Range => range::assign(situation),
        }
    }
}

impl Situation {
    /// The members that consume each topic.
    fn consumers(&self) -> BTreeMap<TopicId, Vec<&Arc<str>>> {
        let mut consumers: BTreeMap<TopicId, Vec<&Arc<str>>> = BTreeMap::new();
        for (id, member) in &self.members {
            for topic in member.topics.iter().filter(|topic| self.partitions.contains_key(topic)) {
                consumers.entry(*topic).or_default().push(id);
            }
        }
        consumers
    }
}
