//! What every assignment is: whole, nobody's twice, only of what a member consumes; and what the
//! uniform one is beside that: even, and loath to move.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::topic_id;
use flumen_groups::consumer::{Assignment, Assignor, Candidate, Situation};
use proptest::prelude::*;

type Assigned = BTreeMap<Arc<str>, Assignment>;

const TOPICS: [&str; 4] = ["a", "b", "c", "d"];

fn situation(partitions: &[i32], members: &[Vec<usize>]) -> Situation {
    let partitions = TOPICS.iter().zip(partitions).map(|(topic, count)| (topic_id(topic), *count));
    let members = members.iter().enumerate().map(|(n, topics)| {
        let topics = topics.iter().map(|topic| topic_id(TOPICS[*topic])).collect();
        (format!("m{n:02}").into(), Candidate { topics, ..Candidate::default() })
    });
    Situation { members: members.collect(), partitions: partitions.collect() }
}

/// The same situation after an assignment.
fn after(mut situation: Situation, assigned: &Assigned) -> Situation {
    for (id, member) in &mut situation.members {
        member.had = assigned.get(id).cloned().unwrap_or_default();
    }
    situation
}

fn check_whole(situation: &Situation, assigned: &Assigned) {
    let mut given = BTreeSet::new();
    for (id, places) in assigned {
        for place in places {
            assert!(situation.members[id].topics.contains(&place.0), "{id} does not consume {place:?}");
            assert!(given.insert(*place), "{place:?} is given twice");
        }
    }
    let consumed: BTreeSet<_> = situation.members.values().flat_map(|member| &member.topics).collect();
    let wanted = situation.partitions.iter().filter(|(topic, _)| consumed.contains(topic));
    assert_eq!(given.len() as i32, wanted.map(|(_, count)| count).sum::<i32>(), "all are given");
}

/// Nobody could pass one on to a member with two less.
fn check_even(situation: &Situation, assigned: &Assigned) {
    for (from, places) in assigned {
        for (to, others) in assigned {
            let shared = places.iter().any(|(topic, _)| situation.members[to].topics.contains(topic));
            assert!(!shared || places.len() < others.len() + 2, "{from} has {places:?}, {to} has {others:?}");
        }
    }
}

fn moved(before: &Assigned, now: &Assigned) -> usize {
    let none = Assignment::new();
    now.iter().map(|(id, places)| places.difference(before.get(id).unwrap_or(&none)).count()).sum()
}

fn subscriptions() -> impl Strategy<Value = Vec<Vec<usize>>> {
    let one = proptest::collection::btree_set(0..TOPICS.len(), 0..=TOPICS.len());
    let mixed = proptest::collection::vec(one.prop_map(|topics| topics.into_iter().collect()), 1..9);
    prop_oneof![mixed, (1..9usize).prop_map(|members| vec![vec![0, 1, 2, 3]; members])]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn assignments_are_whole_and_even(
        partitions in proptest::collection::vec(0..12i32, 4),
        members in subscriptions(),
        next in subscriptions(),
    ) {
        let first = situation(&partitions, &members);
        check_whole(&first, &Assignor::Range.assign(&first));
        let assigned = Assignor::Uniform.assign(&first);
        check_whole(&first, &assigned);
        check_even(&first, &assigned);
        let settled = after(first, &assigned);
        prop_assert_eq!(moved(&assigned, &Assignor::Uniform.assign(&settled)), 0, "what is even stays");
        let second = after(situation(&partitions, &next), &assigned);
        let assigned = Assignor::Uniform.assign(&second);
        check_whole(&second, &assigned);
        check_even(&second, &assigned);
    }

    #[test]
    fn a_newcomer_takes_its_share_and_a_leaver_leaves_its_own(
        partitions in proptest::collection::vec(0..12i32, 4),
        members in 1..8usize,
    ) {
        let all = vec![0, 1, 2, 3];
        let first = situation(&partitions, &vec![all.clone(); members]);
        let before = Assignor::Uniform.assign(&first);
        let joined = after(situation(&partitions, &vec![all.clone(); members + 1]), &before);
        let assigned = Assignor::Uniform.assign(&joined);
        let newcomer: Arc<str> = format!("m{members:02}").into();
        prop_assert_eq!(moved(&before, &assigned), assigned[&newcomer].len(), "only to the newcomer");
        let left = after(first, &assigned);
        prop_assert_eq!(moved(&assigned, &Assignor::Uniform.assign(&left)), assigned[&newcomer].len());
    }
}

#[test]
fn a_chain_of_members_is_levelled_to_its_end() {
    // The first can pass on to the second only, the second to the third only.
    let mut chain = situation(&[2, 2, 1], &[vec![0], vec![0, 1], vec![1, 2]]);
    let a = [0, 1].map(|n| (topic_id("a"), flumen_types::PartitionId(n)));
    let b = [0, 1].map(|n| (topic_id("b"), flumen_types::PartitionId(n)));
    for (id, had) in [("m00", &a[..]), ("m01", &b[..])] {
        chain.members.get_mut(id).unwrap().had = had.iter().copied().collect();
    }
    let assigned = Assignor::Uniform.assign(&chain);
    let loads: Vec<_> = assigned.values().map(BTreeSet::len).collect();
    assert_eq!(loads, [2, 2, 1], "none can get two less than another");
    let ranges = Assignor::Range.assign(&chain);
    assert_eq!(ranges["m01"].len(), 2, "{ranges:?}");
}

#[test]
fn equal_partitions_of_equal_topics_go_together_by_range() {
    let ranges = Assignor::Range.assign(&situation(&[5, 5], &[vec![0, 1], vec![0, 1]]));
    for places in ranges.values() {
        let of =
            |topic| places.iter().filter(move |p| p.0 == topic_id(topic)).map(|p| p.1).collect::<Vec<_>>();
        assert_eq!(of("a"), of("b"));
    }
    assert_eq!(ranges["m00"].len(), 6);
}

#[test]
fn a_static_member_keeps_its_range_under_another_id() {
    let mut both = situation(&[4], &[vec![0], vec![0]]);
    both.members.get_mut("m01").unwrap().instance_id = Some("i".into());
    let before = Assignor::Range.assign(&both);
    let member = both.members.remove("m01").unwrap();
    both.members.insert("a new id".into(), member);
    assert_eq!(Assignor::Range.assign(&both)["a new id"], before["m01"]);
}
