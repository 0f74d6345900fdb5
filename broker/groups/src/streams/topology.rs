//! What an application has told of its topology: the parts that can run apart, and the topics of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many tasks a topology may have in all, standby replicas aside.
pub const TASKS_MAX: usize = 100_000;

/// How large a topology is, counted before anything is made of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extent {
    pub subtopologies: usize,
    /// Wherever one is named, as often as it is.
    pub topics: usize,
    /// Settings of topics.
    pub configs: usize,
    /// Groups of inputs that are joined, and the inputs in them.
    pub copartitions: usize,
    /// Of all names and settings.
    pub text_bytes: usize,
}

impl Extent {
    /// In words, which bound it exceeds.
    pub fn check(&self) -> Result<(), String> {
        let bounds = [
            (self.subtopologies, 1_000, "subtopologies"),
            (self.topics, 10_000, "topic names"),
            (self.configs, 10_000, "topic configs"),
            (self.copartitions, 10_000, "copartition groups and their topics"),
            (self.text_bytes, 1 << 20, "bytes of names and configs"),
        ];
        match bounds.into_iter().find(|(found, most, _)| found > most) {
            None => Ok(()),
            Some((found, most, what)) => {
                Err(format!("The topology has {found} {what}, but may have {most} at most."))
            }
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    pub epoch: i32,
    pub subtopologies: BTreeMap<Arc<str>, Subtopology>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subtopology {
    pub sources: Vec<Arc<str>>,
    pub source_regexes: Vec<String>,
    /// The changes of its state; made by the broker.
    pub changelogs: Vec<InternalTopic>,
    /// The repartition topics that it writes.
    pub sinks: Vec<Arc<str>>,
    /// The repartition topics that it reads; made by the broker.
    pub repartitions: Vec<InternalTopic>,
    pub copartitions: Vec<Copartition>,
}

/// A topic of the application's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InternalTopic {
    pub name: Arc<str>,
    /// 0: as the others make it.
    pub partitions: i32,
    /// 0: as the broker has it.
    pub replication_factor: i16,
    pub configs: Vec<(String, String)>,
}

/// Inputs that must have the same number of partitions, by their places in the lists of the subtopology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copartition {
    pub sources: Vec<i16>,
    pub source_regexes: Vec<i16>,
    pub repartitions: Vec<i16>,
}

impl Topology {
    /// Every topic that it needs.
    pub fn topics(&self) -> BTreeSet<Arc<str>> {
        let needed = self.subtopologies.values().flat_map(|sub| {
            let changelogs = sub.changelogs.iter().map(|topic| &topic.name);
            sub.inputs().chain(changelogs)
        });
        needed.cloned().collect()
    }

    /// Every topic that it reads.
    pub fn inputs(&self) -> BTreeSet<Arc<str>> {
        self.subtopologies.values().flat_map(Subtopology::inputs).cloned().collect()
    }

    /// The subtopology that reads a topic.
    pub fn reader_of(&self, topic: &str) -> Option<&Arc<str>> {
        let mut readers = self.subtopologies.iter();
        readers.find(|(_, sub)| sub.inputs().any(|name| **name == *topic)).map(|(id, _)| id)
    }
}

impl Subtopology {
    pub fn inputs(&self) -> impl Iterator<Item = &Arc<str>> {
        self.sources.iter().chain(self.repartitions.iter().map(|topic| &topic.name))
    }

    pub fn has_state(&self) -> bool {
        !self.changelogs.is_empty()
    }

    /// The topics of each group that must have the same number of partitions.
    pub(super) fn copartitioned(&self) -> impl Iterator<Item = BTreeSet<Arc<str>>> + '_ {
        self.copartitions.iter().map(|group| {
            let sources = group.sources.iter().filter_map(|at| self.sources.get(usize::try_from(*at).ok()?));
            let own = group.repartitions.iter();
            let own = own.filter_map(|at| self.repartitions.get(usize::try_from(*at).ok()?));
            sources.chain(own.map(|topic| &topic.name)).cloned().collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topology_may_be_so_large_and_no_larger() {
        let most = Extent {
            subtopologies: 1_000,
            topics: 10_000,
            configs: 10_000,
            copartitions: 10_000,
            text_bytes: 1 << 20,
        };
        assert_eq!(most.check(), Ok(()));
        let larger = [
            (Extent { subtopologies: 1_001, ..most }, "1001 subtopologies"),
            (Extent { topics: 10_001, ..most }, "10001 topic names"),
            (Extent { configs: 10_001, ..most }, "10001 topic configs"),
            (Extent { copartitions: 10_001, ..most }, "10001 copartition groups"),
            (Extent { text_bytes: (1 << 20) + 1, ..most }, "1048577 bytes"),
        ];
        for (extent, told) in larger {
            let text = extent.check().unwrap_err();
            assert!(text.contains(told), "{text}");
        }
    }
}
