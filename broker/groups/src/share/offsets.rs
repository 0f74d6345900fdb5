//! A group's offsets set anew or deleted by an admin, while nobody works; and the end of the group.

use std::collections::BTreeMap;
use std::sync::Arc;

use flumen_types::{Offset, PartitionId, Timestamp, TopicId};

use super::partitions::{Named, Partitions, add};
use super::{Group, StatePartitions};
use crate::consumer::{Refused, TopicImage};
use crate::error::GroupError;
use crate::group::Step;
use crate::share_records::Change;

/// Where partitions are to begin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Altered {
    /// The group's epoch, which fences what was before.
    pub epoch: i32,
    pub starts: BTreeMap<(TopicId, PartitionId), Offset>,
    pub partitions: Partitions,
}

/// Whose state is to be taken back, and the topics for which there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deleting {
    pub partitions: Partitions,
    /// Topics that there are, but without a state.
    pub nothing: Vec<Arc<str>>,
    /// Topics that there are not.
    pub unknown: Vec<Arc<str>>,
}

impl Group {
    fn check_empty(&self) -> Result<(), Refused> {
        match self.members.is_empty() {
            true => Ok(()),
            false => Err(Refused::new(GroupError::NonEmptyGroup, "The group is not empty.")),
        }
    }

    /// Sets where partitions begin; those that there are not have been left out by the caller.
    pub fn alter(
        &mut self,
        starts: &[(Arc<str>, PartitionId, Offset)],
        topics: &TopicImage,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Altered, Refused> {
        self.check_empty()?;
        let mut altered = Altered { epoch: self.epoch.epoch, ..Altered::default() };
        for (name, partition, start) in starts {
            let Some(shape) = topics.get(name) else { continue };
            altered.starts.insert((shape.id, *partition), *start);
            let named = altered.partitions.entry(shape.id);
            let named = named.or_insert_with(|| Named { name: name.clone(), ..Named::default() });
            named.partitions.insert(partition.0);
        }
        self.mark_initializing(&altered.partitions, now, step);
        Ok(altered)
    }

    /// Begins to take back the state of topics.
    pub fn delete_offsets(
        &mut self,
        names: &[Arc<str>],
        topics: &TopicImage,
        step: &mut Step,
    ) -> Result<Deleting, Refused> {
        self.check_empty()?;
        let mut deleting = Deleting::default();
        let Some(mut partitions) = self.partitions.clone() else { return Ok(deleting) };
        for name in names {
            let Some(shape) = topics.get(name) else {
                deleting.unknown.push(name.clone());
                continue;
            };
            if let Some(named) = partitions.initialized.remove(&shape.id) {
                partitions.deleting.insert(shape.id, name.clone());
                deleting.partitions.insert(shape.id, named);
            } else if partitions.deleting.contains_key(&shape.id) {
                deleting.partitions.insert(shape.id, whole(name, shape.partitions));
            } else {
                deleting.nothing.push(name.clone());
            }
        }
        self.set_partitions(partitions, step);
        Ok(deleting)
    }

    /// The state of these topics has been taken back.
    pub fn deleted_now(&mut self, which: &Partitions, step: &mut Step) {
        let Some(mut partitions) = self.partitions.clone() else { return };
        partitions.deleting.retain(|topic, _| !which.contains_key(topic));
        self.set_partitions(partitions, step);
    }

    /// Begins to take back all its state, before the group itself goes.
    pub fn delete_all(&mut self, topics: &TopicImage, step: &mut Step) -> Result<Partitions, Refused> {
        self.check_empty()?;
        let Some(known) = self.partitions.clone() else { return Ok(Partitions::new()) };
        let mut all = known.initialized;
        add(&mut all, &known.initializing);
        for (topic, name) in &known.deleting {
            if let Some(shape) = topics.name(*topic).and_then(|name| topics.get(name)) {
                add(&mut all, &[(*topic, whole(name, shape.partitions))].into());
            }
        }
        let deleting = all.iter().map(|(topic, named)| (*topic, named.name.clone())).collect();
        self.set_partitions(StatePartitions { deleting, ..StatePartitions::default() }, step);
        Ok(all)
    }

    fn set_partitions(&mut self, partitions: StatePartitions, step: &mut Step) {
        if self.partitions.as_ref() != Some(&partitions) {
            self.change(Change::Partitions(Some(partitions)), step);
        }
    }
}

fn whole(name: &Arc<str>, partitions: i32) -> Named {
    Named { name: name.clone(), partitions: (0..partitions).collect() }
}
