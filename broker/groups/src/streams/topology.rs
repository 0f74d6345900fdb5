//! What an application has told of its topology: the parts that can run apart, and the topics of each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

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
