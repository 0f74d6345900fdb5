//! Who serves which state: what members with an endpoint tell each other through the broker.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::tasks::by_subtopology;
use super::{Endpoint, Group, Member, Task};
use crate::consumer::TopicImage;

/// Partitions, topic by topic.
pub type Partitions = BTreeMap<Arc<str>, Vec<i32>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    pub endpoint: Endpoint,
    pub active: Partitions,
    pub standby: Partitions,
}

impl Group {
    /// Of all members, the one that is told at last.
    pub(super) fn endpoints(&self, told: &Arc<str>, topics: &TopicImage) -> Vec<Served> {
        let others = self.members.values().filter(|member| member.id != *told);
        let all = others.chain(self.members.get(told));
        all.filter_map(|member| self.served(member, topics)).collect()
    }

    fn served(&self, member: &Member, topics: &TopicImage) -> Option<Served> {
        let endpoint = member.profile.endpoint.clone()?;
        let assigned = &member.current.assigned;
        let active = self.partitions(assigned.active.keys(), topics);
        Some(Served { endpoint, active, standby: self.partitions(&assigned.standby, topics) })
    }

    /// The inputs of tasks.
    fn partitions<'a>(&self, tasks: impl IntoIterator<Item = &'a Task>, topics: &TopicImage) -> Partitions {
        let mut all = Partitions::new();
        let Some(topology) = &self.topology else { return all };
        for (subtopology, numbers) in by_subtopology(tasks) {
            let Some(subtopology) = topology.subtopologies.get(subtopology) else { continue };
            for input in subtopology.inputs() {
                // A narrower input has no partition for some of the tasks.
                let count = topics.get(input).map_or(0, |shape| shape.partitions);
                let read = numbers.iter().copied().filter(|number| *number < count);
                all.entry(input.clone()).or_default().extend(read);
            }
        }
        all
    }
}
