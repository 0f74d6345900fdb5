//! A topology against the topics there are: how many tasks each subtopology has, which topics the broker
//! must still make, and what is in the way.
//!
//! ```text
//!   sources all there? -> repartition topics: as many partitions as their writers' inputs at most have
//!     -> copartitioned ones the same -> changelogs as many as tasks -> what exists has these numbers?
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::topology::{InternalTopic, Subtopology, TASKS_MAX, Topology};
use crate::consumer::{Refused, TopicImage};
use crate::error::GroupError;

/// What members are told beside their tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Status {
    StaleTopology = 0,
    MissingSourceTopics = 1,
    IncorrectlyPartitionedTopics = 2,
    MissingInternalTopics = 3,
    ShutdownApplication = 4,
    AssignmentDelayed = 5,
}

/// Why, with Kafka's words.
pub type Told = (Status, String);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configured {
    /// How many tasks each subtopology has; nothing if that cannot be known.
    pub tasks: BTreeMap<Arc<str>, i32>,
    /// How many partitions the internal topics have or are to have.
    pub partitions: BTreeMap<Arc<str>, i32>,
    /// Those that are not there.
    pub missing: Vec<InternalTopic>,
    /// Nothing is assigned as long as there is one.
    pub problem: Option<Told>,
    /// Of all topics that it needs, as they are.
    pub(super) topics_hash: i64,
}

/// How many names a text lists at most.
const NAMES_MAX: usize = 3;

impl Configured {
    /// A topology that can never work is refused.
    pub(super) fn new(topology: &Topology, topics: &TopicImage) -> Result<Configured, Refused> {
        let topics_hash = topics.hash(&topology.topics());
        Ok(Configured { topics_hash, ..Configured::find(topology, topics)? })
    }

    fn find(topology: &Topology, topics: &TopicImage) -> Result<Configured, Refused> {
        let missing: BTreeSet<&Arc<str>> =
            topology.subtopologies.values().flat_map(|sub| &sub.sources).collect();
        let missing: Vec<_> = missing.into_iter().filter(|name| topics.get(name).is_none()).collect();
        if !missing.is_empty() {
            let text = format!("Source topics {} are missing.", some_of(&missing));
            return Ok(Configured::hindered((Status::MissingSourceTopics, text)));
        }
        let mut counts = Counts { topics, decided: BTreeMap::new() };
        counts.decide_repartitions(topology)?;
        if let Err(text) = counts.copartition(topology) {
            return Ok(Configured::hindered((Status::IncorrectlyPartitionedTopics, text)));
        }
        let mut configured = Configured::default();
        for (id, sub) in &topology.subtopologies {
            let most = sub
                .inputs()
                .filter_map(|name| counts.get(name))
                .max()
                .ok_or_else(|| invalid(format!("No source topics found for subtopology {id}")))?;
            configured.tasks.insert(id.clone(), most);
            for topic in &sub.changelogs {
                counts.decided.insert(topic.name.clone(), most);
            }
        }
        let tasks = configured.tasks.values().map(|tasks| usize::try_from(*tasks).unwrap_or(0));
        let tasks = tasks.fold(0, usize::saturating_add);
        if tasks > TASKS_MAX {
            return Err(invalid(format!(
                "The topology has {tasks} tasks, but may have {TASKS_MAX} at most."
            )));
        }
        configured.partitions = counts.decided;
        configured.compare(topology, topics);
        Ok(configured)
    }

    fn hindered(problem: Told) -> Configured {
        Configured { problem: Some(problem), ..Configured::default() }
    }

    pub fn is_ready(&self) -> bool {
        self.problem.is_none()
    }

    /// Whether the internal topics are there, as they have to be.
    fn compare(&mut self, topology: &Topology, topics: &TopicImage) {
        let mut missing: BTreeMap<&Arc<str>, InternalTopic> = BTreeMap::new();
        for topic in
            topology.subtopologies.values().flat_map(|sub| sub.repartitions.iter().chain(&sub.changelogs))
        {
            let Some(expected) = self.partitions.get(&topic.name).copied() else { continue };
            match topics.get(&topic.name).map(|shape| shape.partitions) {
                Some(found) if found != expected => {
                    let text = format!(
                        "Existing topic {} has different number of partitions: expected {expected}, found {found}",
                        topic.name
                    );
                    *self = Configured::hindered((Status::IncorrectlyPartitionedTopics, text));
                    return;
                }
                Some(_) => {}
                None => {
                    let to_make = || InternalTopic { partitions: expected, ..topic.clone() };
                    missing.entry(&topic.name).or_insert_with(to_make);
                }
            }
        }
        self.missing = missing.into_values().collect();
        if !self.missing.is_empty() {
            let names: Vec<_> = self.missing.iter().map(|topic| &topic.name).collect();
            let text = format!("Internal topics are missing: {}", some_of(&names));
            self.problem = Some((Status::MissingInternalTopics, text));
        }
    }
}

fn invalid(text: String) -> Refused {
    Refused::new(GroupError::StreamsInvalidTopology, text)
}

fn some_of(names: &[&Arc<str>]) -> String {
    let listed: Vec<&str> = names.iter().take(NAMES_MAX).map(|name| &***name).collect();
    let listed = listed.join(", ");
    match names.len() - names.len().min(NAMES_MAX) {
        0 => listed,
        more => format!("{listed} and {more} additional topics"),
    }
}

/// How many partitions topics have or, if the application owns them, are to have.
struct Counts<'a> {
    topics: &'a TopicImage,
    decided: BTreeMap<Arc<str>, i32>,
}

impl Counts<'_> {
    fn get(&self, name: &Arc<str>) -> Option<i32> {
        self.topics.get(name).map(|shape| shape.partitions).or_else(|| self.decided.get(name).copied())
    }

    fn decide_repartitions(&mut self, topology: &Topology) -> Result<(), Refused> {
        let failed = |why: &str| {
            invalid(format!("Failed to compute number of partitions for all repartition topics{why}"))
        };
        let subs = || topology.subtopologies.values();
        for topic in subs().flat_map(|sub| &sub.repartitions).filter(|topic| topic.partitions != 0) {
            self.decided.insert(topic.name.clone(), topic.partitions);
        }
        loop {
            let is_undecided =
                |sub: &&Subtopology| sub.sinks.iter().any(|sink| !self.decided.contains_key(sink));
            let undecided: Vec<_> = subs().filter(is_undecided).collect();
            if undecided.is_empty() {
                break;
            }
            let before = self.decided.len();
            for sub in undecided {
                let Some(most) = self.most_of(sub) else { continue };
                for sink in &sub.sinks {
                    self.decided.entry(sink.clone()).or_insert(most);
                }
            }
            if self.decided.len() == before {
                return Err(failed(". There may be loops in the topology that cannot be resolved."));
            }
        }
        let decided = |topic: &InternalTopic| self.decided.contains_key(&topic.name);
        match subs().flat_map(|sub| &sub.repartitions).all(decided) {
            true => Ok(()),
            false => Err(failed(", because a repartition source topic is never used as a sink topic.")),
        }
    }

    /// As many as its inputs have at most, of those that are known.
    fn most_of(&self, sub: &Subtopology) -> Option<i32> {
        let own = sub.repartitions.iter().filter_map(|topic| self.decided.get(&topic.name).copied());
        own.chain(sub.sources.iter().filter_map(|name| self.get(name))).max()
    }

    /// Gives topics that are joined the same number of partitions; in words, why that cannot be.
    fn copartition(&mut self, topology: &Topology) -> Result<(), String> {
        let own: BTreeMap<&Arc<str>, i32> = topology
            .subtopologies
            .values()
            .flat_map(|sub| &sub.repartitions)
            .map(|topic| (&topic.name, topic.partitions))
            .collect();
        for names in topology.subtopologies.values().flat_map(Subtopology::copartitioned) {
            let Some(count) = self.agreed(&names, &own)? else { continue };
            for name in &names {
                match own.get(name) {
                    None => {}
                    Some(0) => drop(self.decided.insert(name.clone(), count)),
                    Some(fixed) if *fixed == count => {}
                    Some(fixed) => {
                        return Err(format!(
                            "Number of partitions [{fixed}] of repartition topic [{name}] doesn't match number of partitions [{count}] of the source topic."
                        ));
                    }
                }
            }
        }
        Ok(())
    }

    /// The number that the topics of others have; without any, the one that is fixed, or the most.
    fn agreed(
        &self,
        names: &BTreeSet<Arc<str>>,
        own: &BTreeMap<&Arc<str>, i32>,
    ) -> Result<Option<i32>, String> {
        let is_fixed = |name: &&Arc<str>| own.get(*name).is_some_and(|partitions| *partitions != 0);
        let foreign: Vec<_> = names.iter().filter(|name| !own.contains_key(*name)).collect();
        let fixed: Vec<_> = names.iter().filter(is_fixed).collect();
        let (binding, told): (_, Vec<_>) = match (foreign.is_empty(), fixed.is_empty()) {
            (false, _) => (foreign.clone(), foreign),
            (true, false) => (fixed, names.iter().collect()),
            (true, true) => return Ok(names.iter().filter_map(|name| self.get(name)).max()),
        };
        let counts: BTreeSet<i32> = binding.iter().filter_map(|name| self.get(name)).collect();
        if counts.len() > 1 {
            let told = told.iter().map(|name| format!("{name}={}", self.get(name).unwrap_or_default()));
            let told = told.collect::<Vec<_>>().join(", ");
            return Err(format!("Following topics do not have the same number of partitions: [{{{told}}}]"));
        }
        Ok(counts.first().copied())
    }
}

#[cfg(test)]
mod tests {
    use flumen_types::TopicId;

    use super::super::topology::Copartition;
    use super::*;
    use crate::consumer::TopicShape;

    fn image(topics: &[(&str, i32)]) -> TopicImage {
        let shape = |n: usize, partitions| TopicShape { id: TopicId::from_bytes([n as u8; 16]), partitions };
        let topics = topics.iter().enumerate();
        TopicImage::new(1, topics.map(|(n, (name, partitions))| (Arc::from(*name), shape(n, *partitions))))
    }

    fn own(name: &str, partitions: i32) -> InternalTopic {
        InternalTopic { name: name.into(), partitions, ..InternalTopic::default() }
    }

    fn names(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    /// in -> 0 -> rep -> 1 with a store.
    fn counting(partitions: i32) -> Topology {
        let first = Subtopology { sources: names(&["in"]), sinks: names(&["rep"]), ..Subtopology::default() };
        let second = Subtopology {
            repartitions: vec![own("rep", partitions)],
            changelogs: vec![own("log", 0)],
            ..Subtopology::default()
        };
        Topology { epoch: 0, subtopologies: [("0".into(), first), ("1".into(), second)].into() }
    }

    fn status(configured: &Configured) -> Option<Status> {
        configured.problem.as_ref().map(|(status, _)| *status)
    }

    #[test]
    fn a_source_that_is_missing_is_named() {
        let configured = Configured::new(&counting(0), &image(&[])).unwrap();
        assert_eq!(status(&configured), Some(Status::MissingSourceTopics));
        assert_eq!(configured.problem.unwrap().1, "Source topics in are missing.");
        assert!(configured.missing.is_empty(), "nothing is made before the sources are there");
    }

    #[test]
    fn internal_topics_follow_the_source() {
        let configured = Configured::new(&counting(0), &image(&[("in", 3)])).unwrap();
        assert_eq!(status(&configured), Some(Status::MissingInternalTopics));
        let made: Vec<_> = configured.missing.iter().map(|topic| (&*topic.name, topic.partitions)).collect();
        assert_eq!(made, [("log", 3), ("rep", 3)]);
        let there = image(&[("in", 3), ("rep", 3), ("log", 3)]);
        let configured = Configured::new(&counting(0), &there).unwrap();
        assert!(configured.is_ready());
        assert_eq!(configured.tasks, [("0".into(), 3), ("1".into(), 3)].into());
    }

    #[test]
    fn a_topology_with_more_tasks_than_a_group_may_have_is_refused() {
        let all = i32::try_from(TASKS_MAX).unwrap();
        assert!(Configured::new(&counting(all - 3), &image(&[("in", 3)])).is_ok());
        let refused = Configured::new(&counting(all - 2), &image(&[("in", 3)])).unwrap_err();
        assert_eq!(refused.error, GroupError::StreamsInvalidTopology);
        assert_eq!(refused.text, "The topology has 100001 tasks, but may have 100000 at most.");
    }

    #[test]
    fn a_number_that_is_fixed_holds_downstream() {
        let configured = Configured::new(&counting(5), &image(&[("in", 3)])).unwrap();
        assert_eq!(configured.tasks, [("0".into(), 3), ("1".into(), 5)].into());
    }

    #[test]
    fn an_internal_topic_of_another_shape_is_told() {
        let configured = Configured::new(&counting(0), &image(&[("in", 3), ("rep", 2)])).unwrap();
        assert_eq!(status(&configured), Some(Status::IncorrectlyPartitionedTopics));
    }

    #[test]
    fn what_is_joined_has_the_same_number_of_partitions() {
        let mut topology = counting(0);
        let joined = topology.subtopologies.get_mut("1").unwrap();
        joined.sources = names(&["other"]);
        joined.copartitions =
            vec![Copartition { sources: vec![0], repartitions: vec![0], ..Copartition::default() }];
        let configured = Configured::new(&topology, &image(&[("in", 3), ("other", 7)])).unwrap();
        assert_eq!(configured.partitions["rep"], 7, "as its partner has it");
        topology.subtopologies.get_mut("1").unwrap().repartitions[0].partitions = 2;
        let configured = Configured::new(&topology, &image(&[("in", 3), ("other", 7)])).unwrap();
        assert_eq!(status(&configured), Some(Status::IncorrectlyPartitionedTopics));
    }

    #[test]
    fn two_sources_that_are_joined_must_agree() {
        let sub = Subtopology {
            sources: names(&["a", "b"]),
            copartitions: vec![Copartition { sources: vec![0, 1], ..Copartition::default() }],
            ..Subtopology::default()
        };
        let topology = Topology { epoch: 0, subtopologies: [("0".into(), sub)].into() };
        let configured = Configured::new(&topology, &image(&[("a", 1), ("b", 2)])).unwrap();
        let (_, text) = configured.problem.unwrap();
        assert_eq!(text, "Following topics do not have the same number of partitions: [{a=1, b=2}]");
    }

    #[test]
    fn a_topology_that_never_ends_is_refused() {
        let looped = Subtopology {
            sinks: names(&["rep"]),
            repartitions: vec![own("rep", 0)],
            ..Subtopology::default()
        };
        let topology = Topology { epoch: 0, subtopologies: [("0".into(), looped)].into() };
        let refused = Configured::new(&topology, &image(&[])).unwrap_err();
        assert_eq!(refused.error, GroupError::StreamsInvalidTopology);
    }
}
