//! The partitions that a group keeps state of, and those that it is about to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_types::{Timestamp, TopicId};

use super::{Group, Options};
use crate::consumer::TopicImage;
use crate::group::Step;
use crate::share_records::Change;

/// Partitions by their topics.
pub type Partitions = BTreeMap<TopicId, Named>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    pub name: Arc<str>,
    pub partitions: BTreeSet<i32>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatePartitions {
    pub initializing: Partitions,
    pub initialized: Partitions,
    /// Topics, by id and name, whose state is being taken back.
    pub deleting: BTreeMap<TopicId, Arc<str>>,
}

pub(super) fn add(to: &mut Partitions, more: &Partitions) {
    for (topic, named) in more {
        let there = to.entry(*topic).or_default();
        there.name = named.name.clone();
        there.partitions.extend(&named.partitions);
    }
}

pub(super) fn take_out(from: &mut Partitions, which: &Partitions) {
    for (topic, named) in which {
        if let Some(there) = from.get_mut(topic) {
            there.partitions.retain(|partition| !named.partitions.contains(partition));
        }
    }
    from.retain(|_, named| !named.partitions.is_empty());
}

impl Group {
    /// Whether initialized partitions that members work on are not assigned.
    pub(super) fn has_unassigned(&self, image: &TopicImage) -> bool {
        let Some(partitions) = self.partitions.as_ref().filter(|_| !self.members.is_empty()) else {
            return false;
        };
        let topics = self.topics();
        let mut assigned: BTreeMap<TopicId, BTreeSet<i32>> = BTreeMap::new();
        for (topic, partition) in self.targets.values().flatten() {
            assigned.entry(*topic).or_default().insert(partition.0);
        }
        let consumed = partitions.initialized.iter().filter(|(_, named)| topics.contains(&named.name));
        let mut existing = consumed.filter(|(topic, _)| image.name(**topic).is_some());
        existing.any(|(topic, named)| assigned.get(topic) != Some(&named.partitions))
    }

    /// The partitions that members work on and that have no state yet: they are being initialized from
    /// now on, and again if that took too long.
    pub(super) fn begin_initializing(
        &mut self,
        topics: &TopicImage,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Option<(i32, Partitions)> {
        let known = self.partitions.clone().unwrap_or_default();
        let mut settled = known.initialized.clone();
        if now < self.initializing_since.plus(options.initialize_retry) {
            add(&mut settled, &known.initializing);
        }
        let mut missing = Partitions::new();
        for name in self.topics() {
            let Some(shape) = topics.get(&name) else { continue };
            let mut partitions: BTreeSet<i32> = (0..shape.partitions).collect();
            if let Some(settled) = settled.get(&shape.id) {
                partitions.retain(|partition| !settled.partitions.contains(partition));
            }
            if !partitions.is_empty() {
                missing.insert(shape.id, Named { name, partitions });
            }
        }
        if missing.is_empty() {
            return None;
        }
        self.mark_initializing(&missing, now, step);
        Some((self.epoch.epoch, missing))
    }

    pub(super) fn mark_initializing(&mut self, which: &Partitions, now: Timestamp, step: &mut Step) {
        if which.is_empty() {
            return;
        }
        let mut partitions = self.partitions.clone().unwrap_or_default();
        add(&mut partitions.initializing, which);
        partitions.deleting.retain(|topic, _| !partitions.initializing.contains_key(topic));
        self.initializing_since = now;
        self.change(Change::Partitions(Some(partitions)), step);
    }

    /// These have a state now.
    pub fn initialized_now(&mut self, which: &Partitions, step: &mut Step) {
        let mut partitions = self.partitions.clone().unwrap_or_default();
        take_out(&mut partitions.initializing, which);
        add(&mut partitions.initialized, which);
        self.change(Change::Partitions(Some(partitions)), step);
    }

    /// These could not be initialized.
    pub fn not_initialized(&mut self, which: &Partitions, step: &mut Step) {
        let Some(mut partitions) = self.partitions.clone() else { return };
        take_out(&mut partitions.initializing, which);
        self.change(Change::Partitions(Some(partitions)), step);
    }

    /// Topics that are gone for good have no state.
    pub fn forget_topics(&mut self, gone: impl Fn(TopicId) -> bool, step: &mut Step) {
        let Some(before) = &self.partitions else { return };
        let mut partitions = before.clone();
        partitions.initializing.retain(|topic, _| !gone(*topic));
        partitions.initialized.retain(|topic, _| !gone(*topic));
        partitions.deleting.retain(|topic, _| !gone(*topic));
        if partitions != *before {
            self.change(Change::Partitions(Some(partitions)), step);
        }
    }
}
