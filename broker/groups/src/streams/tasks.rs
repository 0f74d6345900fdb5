//! What members of a streams group are given: tasks, each a subtopology on one partition of its inputs.
//!
//! An active task works; a standby one keeps a copy of the state; a warm-up one fetches it, so that it can
//! become active soon. Kafka 4.3 assigns none of the last kind.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Task {
    pub subtopology: Arc<str>,
    pub partition: i32,
}

pub type TaskSet = BTreeSet<Task>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Active,
    Standby,
    Warmup,
}

/// What a member is to have, or says that it has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tasks {
    pub active: TaskSet,
    pub standby: TaskSet,
    pub warmup: TaskSet,
}

/// What a member has, and the epoch at which it got each active task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    pub active: BTreeMap<Task, i32>,
    pub standby: TaskSet,
    pub warmup: TaskSet,
}

impl Task {
    pub fn new(subtopology: impl Into<Arc<str>>, partition: i32) -> Task {
        Task { subtopology: subtopology.into(), partition }
    }
}

impl Tasks {
    pub fn count(&self) -> usize {
        self.active.len() + self.standby.len() + self.warmup.len()
    }

    pub fn all(&self) -> impl Iterator<Item = &Task> {
        self.active.iter().chain(&self.standby).chain(&self.warmup)
    }

    pub fn has_any(&self, others: &Owned) -> bool {
        others.active.keys().any(|task| self.active.contains(task))
            || others.standby.iter().any(|task| self.standby.contains(task))
            || others.warmup.iter().any(|task| self.warmup.contains(task))
    }
}

impl Owned {
    pub fn is_empty(&self) -> bool {
        self.active.is_empty() && self.standby.is_empty() && self.warmup.is_empty()
    }

    pub fn all(&self) -> impl Iterator<Item = (&Task, Role)> {
        let active = self.active.keys().map(|task| (task, Role::Active));
        let standby = self.standby.iter().map(|task| (task, Role::Standby));
        active.chain(standby).chain(self.warmup.iter().map(|task| (task, Role::Warmup)))
    }

    pub fn has_all(&self, others: &Tasks) -> bool {
        others.active.iter().all(|task| self.active.contains_key(task))
            && others.standby.is_subset(&self.standby)
            && others.warmup.is_subset(&self.warmup)
    }

    /// Without the epochs.
    pub fn tasks(&self) -> Tasks {
        Tasks {
            active: self.active.keys().cloned().collect(),
            standby: self.standby.clone(),
            warmup: self.warmup.clone(),
        }
    }
}

/// Subtopology by subtopology, as messages and records name tasks.
pub fn by_subtopology<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> BTreeMap<&'a str, Vec<i32>> {
    let mut all: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for task in tasks {
        all.entry(&task.subtopology).or_default().push(task.partition);
    }
    all
}
