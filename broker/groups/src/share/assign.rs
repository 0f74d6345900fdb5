//! The simple assignor: every partition has a member, and every member as many partitions as any other.
//!
//! With fewer members than partitions each partition is one member's; with more, several work on one.
//! Members keep what they had as far as that leaves the shares even. Members that all work on the same
//! topics share all partitions together, others share topic by topic.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flumen_types::{PartitionId, TopicId};

use super::{Group, Member};
use crate::consumer::{Assignment, Place, TopicImage};

impl Group {
    /// What each member is to have.
    pub(super) fn assigned(&self, topics: &TopicImage) -> BTreeMap<Arc<str>, Assignment> {
        let mut assigned: BTreeMap<_, _> =
            self.members.keys().map(|id| (id.clone(), Assignment::new())).collect();
        let initialized = self.initialized();
        let places = |names: &BTreeSet<Arc<str>>| -> Vec<Place> {
            let found = names.iter().filter_map(|name| topics.get(name)).map(|shape| shape.id);
            found.flat_map(|topic| places_of(topic, &initialized)).collect()
        };
        let mut give = |members: &[&Member], places: Vec<Place>| {
            let had: Vec<_> = members.iter().map(|member| self.target(&member.id)).collect();
            for (member, share) in members.iter().zip(share(&places, &had)) {
                assigned.entry(member.id.clone()).or_default().extend(share);
            }
        };
        let all: Vec<&Member> = self.members.values().collect();
        let Some(first) = all.first() else { return assigned };
        if all.iter().all(|member| member.profile.topics == first.profile.topics) {
            give(&all, places(&first.profile.topics));
            return assigned;
        }
        for topic in self.topics() {
            let consumers = all.iter().copied().filter(|member| member.profile.topics.contains(&topic));
            give(&consumers.collect::<Vec<_>>(), places(&[topic].into()));
        }
        assigned
    }
}

fn places_of(topic: TopicId, initialized: &super::Partitions) -> Vec<Place> {
    let partitions = initialized.get(&topic).into_iter().flat_map(|named| &named.partitions);
    partitions.map(|partition| (topic, PartitionId(*partition))).collect()
}

/// Each member's share of some partitions, given what it had.
fn share(places: &[Place], had: &[Assignment]) -> Vec<Assignment> {
    let members = had.len();
    if places.is_empty() || members == 0 {
        return vec![Assignment::new(); members];
    }
    // So many members work on each partition, and so many partitions are each member's.
    let sharing = members.div_ceil(places.len());
    let upto = |n: usize| (sharing * places.len() * n).div_ceil(members);
    let wanted: Vec<usize> = (0..members).map(|n| upto(n + 1) - upto(n)).collect();
    let mut workers: BTreeMap<Place, BTreeSet<usize>> =
        places.iter().map(|place| (*place, BTreeSet::new())).collect();
    let mut shares = vec![Assignment::new(); members];
    for (n, had) in had.iter().enumerate() {
        for place in had {
            let Some(workers) = workers.get_mut(place) else { continue };
            if shares[n].len() < wanted[n] && workers.len() < sharing {
                workers.insert(n);
                shares[n].insert(*place);
            }
        }
    }
    let mut open: Vec<usize> = (0..members).filter(|n| shares[*n].len() < wanted[*n]).collect();
    let mut turn = 0;
    for (place, workers) in &mut workers {
        let mut passed = 0;
        while workers.len() < sharing && passed < open.len() {
            let at = turn % open.len();
            let n = open[at];
            if !workers.insert(n) {
                (turn, passed) = (turn + 1, passed + 1);
                continue;
            }
            shares[n].insert(*place);
            passed = 0;
            if shares[n].len() == wanted[n] {
                open.remove(at);
                turn = at;
            } else {
                turn += 1;
            }
        }
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn places(count: usize) -> Vec<Place> {
        (0..count).map(|n| (TopicId::from_bytes([n as u8 / 3; 16]), PartitionId(n as i32))).collect()
    }

    fn check(places: &[Place], shares: &[Assignment]) {
        let sharing = shares.len().div_ceil(places.len());
        for place in places {
            let workers = shares.iter().filter(|share| share.contains(place)).count();
            assert!((1..=sharing).contains(&workers), "{workers} on {place:?}");
        }
        let sizes = shares.iter().map(Assignment::len);
        let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
        assert!(most - least <= 1, "{least} to {most}");
    }

    proptest! {
        #[test]
        fn everything_has_a_worker_and_shares_are_even(
            before in (1..12usize, 1..9usize), after in (1..12usize, 1..9usize),
        ) {
            let first = share(&places(before.0), &vec![Assignment::new(); before.1]);
            check(&places(before.0), &first);
            let mut had = first;
            had.resize(after.1, Assignment::new());
            check(&places(after.0), &share(&places(after.0), &had));
        }
    }

    #[test]
    fn members_keep_what_they_had() {
        let two = share(&places(4), &vec![Assignment::new(); 2]);
        assert_eq!(share(&places(4), &two), two);
        let mut three = two.clone();
        three.push(Assignment::new());
        let three = share(&places(4), &three);
        assert!(three[0].is_subset(&two[0]) && three[1].is_subset(&two[1]), "{three:?} after {two:?}");
    }
}
