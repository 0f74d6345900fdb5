//! As even as the subscriptions allow, and with as few moves as that takes.
//!
//! Members keep what they had and may have; what is nobody's goes to the least loaded; then, as long as
//! somebody has two more than a member that it can pass one to, by way of others if need be, it does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_types::{PartitionId, TopicId};

use super::{Assignment, Situation};

pub(super) fn assign(situation: &Situation) -> BTreeMap<Arc<str>, Assignment> {
    let mut shares = Shares::kept(situation);
    shares.give_out_the_rest(situation);
    shares.level();
    shares.assigned()
}

/// Members by their number, in the order of their ids.
struct Shares<'a> {
    ids: Vec<&'a Arc<str>>,
    /// Each member's partitions, by topic.
    held: Vec<BTreeMap<TopicId, BTreeSet<PartitionId>>>,
    load: Vec<usize>,
    consumers: BTreeMap<TopicId, Vec<usize>>,
}

impl<'a> Shares<'a> {
    fn kept(situation: &'a Situation) -> Self {
        let ids: Vec<_> = situation.members.keys().collect();
        let number: BTreeMap<_, _> = ids.iter().enumerate().map(|(n, id)| (*id, n)).collect();
        let consumers = situation.consumers().into_iter();
        let consumers = consumers.map(|(topic, ids)| (topic, ids.iter().map(|id| number[*id]).collect()));
        let (held, load) = (vec![BTreeMap::new(); ids.len()], vec![0; ids.len()]);
        let mut shares = Shares { held, load, consumers: consumers.collect(), ids };
        let mut taken = BTreeSet::new();
        for (n, member) in situation.members.values().enumerate() {
            for place @ (topic, partition) in &member.had {
                let exists = situation.partitions.get(topic).is_some_and(|count| partition.0 < *count);
                if exists && member.topics.contains(topic) && taken.insert(*place) {
                    shares.give(n, *topic, *partition);
                }
            }
        }
        shares
    }

    fn give(&mut self, to: usize, topic: TopicId, partition: PartitionId) {
        self.held[to].entry(topic).or_default().insert(partition);
        self.load[to] += 1;
    }

    /// Topics that few consume come first: the others have more choice.
    fn give_out_the_rest(&mut self, situation: &Situation) {
        let mut topics: Vec<_> = self.consumers.iter().map(|(topic, who)| (who.len(), *topic)).collect();
        topics.sort_unstable();
        for (_, topic) in topics {
            let consumers = self.consumers[&topic].clone();
            let held = consumers.iter().filter_map(|n| self.held[*n].get(&topic)).flatten().copied();
            let held: BTreeSet<_> = held.collect();
            let mut by_load: BTreeSet<_> = consumers.iter().map(|n| (self.load[*n], *n)).collect();
            let all = (0..situation.partitions[&topic]).map(PartitionId);
            for partition in all.filter(|partition| !held.contains(partition)) {
                let Some((load, least)) = by_load.pop_first() else { break };
                self.give(least, topic, partition);
                by_load.insert((load + 1, least));
            }
        }
    }

    fn level(&mut self) {
        let mut by_load: BTreeSet<_> = self.load.iter().copied().enumerate().map(|(n, l)| (l, n)).collect();
        // Whoever cannot pass anything on now cannot later either: passing on only evens out.
        while let Some((load, from)) = by_load.pop_last() {
            let Some(path) = self.path(from) else { continue };
            let to = path.last().map_or(from, |step| step.to);
            by_load.remove(&(self.load[to], to));
            let mut giver = from;
            for step in path {
                self.pass(giver, step.to, step.topic);
                giver = step.to;
            }
            by_load.insert((load - 1, from));
            by_load.insert((self.load[to], to));
        }
    }

    /// The shortest way from a member to one that has two less at least; among those, the least loaded.
    fn path(&self, from: usize) -> Option<Vec<Step>> {
        let mut came: BTreeMap<usize, (usize, TopicId)> = BTreeMap::new();
        let mut seen_topics = BTreeSet::new();
        let mut edge = vec![from];
        while !edge.is_empty() {
            let mut reached = Vec::new();
            for giver in edge {
                for topic in self.held[giver].keys() {
                    if !seen_topics.insert(*topic) {
                        continue;
                    }
                    for to in &self.consumers[topic] {
                        if *to != from && !came.contains_key(to) {
                            came.insert(*to, (giver, *topic));
                            reached.push(*to);
                        }
                    }
                }
            }
            let lighter = reached.iter().filter(|to| self.load[**to] + 2 <= self.load[from]);
            if let Some(to) = lighter.min_by_key(|to| (self.load[**to], **to)) {
                return Some(trace(&came, from, *to));
            }
            edge = reached;
        }
        None
    }

    fn pass(&mut self, from: usize, to: usize, topic: TopicId) {
        let Some(partitions) = self.held[from].get_mut(&topic) else { return };
        let Some(partition) = partitions.pop_last() else { return };
        if partitions.is_empty() {
            self.held[from].remove(&topic);
        }
        self.load[from] -= 1;
        self.give(to, topic, partition);
    }

    fn assigned(self) -> BTreeMap<Arc<str>, Assignment> {
        let flat = |held: BTreeMap<TopicId, BTreeSet<PartitionId>>| {
            let places = held.into_iter();
            places.flat_map(|(topic, partitions)| partitions.into_iter().map(move |p| (topic, p))).collect()
        };
        self.ids.into_iter().cloned().zip(self.held.into_iter().map(flat)).collect()
    }
}

struct Step {
    to: usize,
    topic: TopicId,
}

/// The way back, turned round.
fn trace(came: &BTreeMap<usize, (usize, TopicId)>, from: usize, to: usize) -> Vec<Step> {
    let mut path = Vec::new();
    let mut at = to;
    while at != from {
        let (giver, topic) = came[&at];
        path.push(Step { to: at, topic });
        at = giver;
    }
    path.reverse();
    path
}
