//! Committed offsets: who may commit, what a transaction hides, what is kept how long.

mod common;

use common::{World, committed, join, sync};
use flumen_groups::{Committed, Committer, GroupEntry, GroupError};
use flumen_types::{Timestamp, TopicPartition};

const DAY: i64 = 24 * 60 * 60 * 1000;

#[test]
fn a_consumer_without_a_group_keeps_its_offsets() {
    let mut world = World::default();
    assert_eq!(world.fetch(0, false), Ok(None));
    assert_eq!(world.commit(&Committer::simple(), 0, 7, None), Ok(()));
    world.restart();
    assert_eq!(world.fetch(0, true), Ok(Some(7)));
    let ghost = Committer { generation: 3, ..Committer::simple() };
    assert_eq!(world.commit(&ghost, 0, 9, None), Err(GroupError::UnknownMember));
}

#[test]
fn a_transactions_offsets_are_seen_after_its_commit_marker() {
    for (commit, seen) in [(true, Some(9)), (false, Some(7))] {
        let mut world = World::default();
        world.commit(&Committer::simple(), 0, 7, None).unwrap();
        world.commit(&Committer::simple(), 0, 9, Some(1)).unwrap();
        world.restart();
        assert_eq!(world.fetch(0, false), Ok(Some(7)));
        assert_eq!(world.fetch(0, true), Err(GroupError::UnstableOffsetCommit));
        assert_eq!(world.fetch(1, true), Ok(None));
        world.mark(1, commit);
        assert_eq!(world.fetch(0, true), Ok(seen));
        world.restart();
        assert_eq!(world.fetch(0, true), Ok(seen));
    }
}

#[test]
fn a_commit_written_later_than_the_transactions_wins() {
    let mut world = World::default();
    world.commit(&Committer::simple(), 0, 9, Some(1)).unwrap();
    world.commit(&Committer::simple(), 0, 11, None).unwrap();
    world.mark(1, true);
    assert_eq!(world.fetch(0, true), Ok(Some(11)));
}

#[test]
fn a_group_of_aborted_offsets_only_is_forgotten() {
    let mut world = World::default();
    world.commit(&Committer::simple(), 0, 9, Some(1)).unwrap();
    world.mark(1, false);
    assert!(world.shard.get("g").is_none());
}

#[test]
fn metadata_has_a_bound() {
    let mut world = World::default();
    let fat = Committed { metadata: "m".repeat(4097).into(), ..committed(1, world.now) };
    let offsets =
        vec![(TopicPartition::new("t", 0), fat), (TopicPartition::new("t", 1), committed(2, world.now))];
    let (changes, results) =
        world.shard.commit("g", &Committer::simple(), offsets, false, &world.topics, world.now).unwrap();
    assert_eq!((changes.len(), results), (1, vec![Err(GroupError::OffsetMetadataTooLarge), Ok(())]));
}

fn expire(world: &mut World) -> usize {
    let changes = world.shard.expire(world.now);
    let count = changes.len();
    world.write(changes, None);
    count
}

#[test]
fn offsets_are_forgotten_when_their_time_is_up() {
    let mut world = World::default();
    world.commit(&Committer::simple(), 0, 7, None).unwrap();
    world.pass(6 * DAY);
    world.commit(&Committer::simple(), 1, 8, None).unwrap();
    world.pass(DAY);
    assert_eq!(expire(&mut world), 1);
    assert_eq!((world.fetch(0, false), world.fetch(1, false)), (Ok(None), Ok(Some(8))));
    world.pass(6 * DAY);
    assert_eq!(expire(&mut world), 2, "the last offset takes the group with it");
    assert!(world.shard.get("g").is_none());
}

#[test]
fn a_plugins_place_in_its_input_is_never_forgotten() {
    let mut world = World::default();
    for group in ["flumen.orders-db", "g"] {
        let offsets = vec![(TopicPartition::new("t", 0), committed(7, world.now))];
        let (changes, results) = world
            .shard
            .commit(group, &Committer::simple(), offsets, false, &world.topics, world.now)
            .unwrap();
        assert_eq!(results, [Ok(())]);
        world.write(changes, None);
    }
    world.pass(90 * DAY);
    assert_eq!(expire(&mut world), 2, "the other group's offset, and the group with it");
    assert!(world.shard.get("g").is_none() && world.shard.get("flumen.orders-db").is_some());
}

#[test]
fn an_offset_of_an_open_transaction_is_not_forgotten() {
    let mut world = World::default();
    world.commit(&Committer::simple(), 0, 7, None).unwrap();
    world.commit(&Committer::simple(), 0, 8, Some(1)).unwrap();
    world.pass(9 * DAY);
    assert_eq!(expire(&mut world), 0);
}

#[test]
fn a_group_at_work_keeps_the_offsets_of_its_topics() {
    let mut world = World::default();
    let asked = world.ask_join(join("", "a"));
    world.joined(asked).unwrap();
    let asked = world.ask_sync(sync("c-a", 1, &[("c-a", "all")]));
    world.synced(asked).unwrap();
    let member = Committer { member_id: "c-a".into(), instance_id: None, generation: 1, knows_epochs: true };
    world.commit(&member, 0, 5, None).unwrap();
    let other = vec![(TopicPartition::new("other", 0), committed(1, world.now))];
    let (changes, _) = world.shard.commit("g", &member, other, false, &world.topics, world.now).unwrap();
    world.write(changes, None);
    for _ in 0..(8 * DAY / 9_000) {
        world.now = Timestamp(world.now.0 + 9_000);
        world.heartbeat("c-a", 1).unwrap();
    }
    world.pass(0);
    assert_eq!(expire(&mut world), 1, "only that of the topic it does not consume");
    assert_eq!(world.fetch(0, false), Ok(Some(5)));
    let (subscribed, free) = (TopicPartition::new("t", 0), TopicPartition::new("other", 0));
    let (_, results) = world.shard.delete_offsets("g", &[subscribed, free]).unwrap();
    assert_eq!(results, [Err(GroupError::SubscribedToTopic), Ok(())]);
    world.leave("c-a").unwrap();
    assert_eq!(expire(&mut world), 0, "the time counts from when the group became empty");
    world.pass(7 * DAY);
    assert_eq!(expire(&mut world), 2);
}

#[test]
fn a_deleted_topics_offsets_go() {
    let mut world = World::default();
    world.commit(&Committer::simple(), 0, 7, None).unwrap();
    world.commit(&Committer::simple(), 1, 7, Some(4)).unwrap();
    let changes = world.shard.delete_topic("t");
    assert!(matches!(changes[..], [GroupEntry::Offset { committed: None, .. }, _]), "{changes:?}");
    world.write(changes, None);
    world.mark(4, true);
    assert_eq!((world.fetch(0, false), world.fetch(1, false)), (Ok(None), Ok(None)));
}
