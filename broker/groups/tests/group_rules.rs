//! What Kafka's classic groups do, one fact a test.

mod common;

use bytes::Bytes;
use common::{World, join, sync};
use flumen_groups::group::{Join, Leaving, Options, State, Step};
use flumen_groups::{Committer, GroupError};
use flumen_types::Millis;

/// A stable group of `c-a` (the leader) and `c-b`; tells its generation.
fn pair(world: &mut World) -> i32 {
    let a = world.ask_join(join("", "a"));
    assert_eq!(world.joined(a).unwrap().generation, 1);
    let b = world.ask_join(join("", "b"));
    let a = world.ask_join(join("c-a", ""));
    let (a, b) = (world.joined(a).unwrap(), world.joined(b).unwrap());
    assert_eq!((a.generation, &*a.leader, &*b.leader), (2, "c-a", "c-a"));
    assert_eq!((a.members.len(), b.members.len()), (2, 0));
    let b = world.ask_sync(sync("c-b", 2, &[]));
    let a = world.ask_sync(sync("c-a", 2, &[("c-a", "0"), ("c-b", "1")]));
    assert_eq!(world.synced(a).unwrap().assignment, Bytes::from_static(b"0"));
    assert_eq!(world.synced(b).unwrap().assignment, Bytes::from_static(b"1"));
    2
}

fn state(world: &World) -> State {
    world.shard.get("g").unwrap().group.classic().unwrap().state()
}

#[test]
fn two_members_rebalance_when_one_is_silent() {
    let mut world = World::default();
    let generation = pair(&mut world);
    world.pass(6_000);
    assert_eq!(world.heartbeat("c-a", generation), Ok(()));
    world.pass(6_000);
    assert_eq!(world.heartbeat("c-a", generation), Err(GroupError::RebalanceInProgress));
    let a = world.ask_join(join("c-a", ""));
    let a = world.joined(a).unwrap();
    assert_eq!((a.generation, a.members.len()), (3, 1));
    assert_eq!(world.heartbeat("c-b", generation), Err(GroupError::UnknownMember));
}

#[test]
fn a_leader_that_is_silent_is_replaced() {
    let mut world = World::default();
    let generation = pair(&mut world);
    world.pass(6_000);
    assert_eq!(world.heartbeat("c-b", generation), Ok(()));
    world.pass(6_000);
    let b = world.ask_join(join("c-b", ""));
    assert_eq!(&*world.joined(b).unwrap().leader, "c-b");
}

#[test]
fn a_new_member_is_given_its_id_first() {
    let mut world = World::default();
    let first = Join { requires_member_id: true, ..join("", "a") };
    let asked = world.ask_join(first.clone());
    let refused = world.joined(asked).unwrap_err();
    assert_eq!((refused.error, &*refused.member_id), (GroupError::MemberIdRequired, "c-a"));
    let asked = world.ask_join(Join { member_id: "c-a".into(), ..first });
    assert_eq!(&*world.joined(asked).unwrap().member_id, "c-a");
}

#[test]
fn an_id_that_nobody_came_back_with_lapses() {
    let mut world = World::default();
    let asked = world.ask_join(Join { requires_member_id: true, ..join("", "a") });
    assert_eq!(world.joined(asked).unwrap_err().error, GroupError::MemberIdRequired);
    world.pass(10_000);
    let asked = world.ask_join(join("c-a", ""));
    assert_eq!(world.joined(asked).unwrap_err().error, GroupError::UnknownMember);
    assert!(world.shard.get("g").is_none(), "a group that never had a member is forgotten");
}

#[test]
fn an_empty_group_waits_for_more_members() {
    let mut world = World::new(Options::default());
    let a = world.ask_join(join("", "a"));
    world.pass(2_000);
    let b = world.ask_join(join("", "b"));
    world.pass(1_000);
    assert!(world.replies.is_empty(), "the second member draws the wait out");
    world.pass(3_000);
    assert_eq!(world.joined(a).unwrap().members.len(), 2);
    assert_eq!(world.joined(b).unwrap().generation, 1);
}

#[test]
fn a_member_that_does_not_rejoin_is_dropped_when_the_time_is_up() {
    let mut world = World::default();
    let generation = pair(&mut world);
    let c = world.ask_join(join("", "c"));
    let a = world.ask_join(join("c-a", ""));
    for _ in 0..9 {
        world.pass(7_000);
        let _ = world.heartbeat("c-b", generation);
    }
    let a = world.joined(a).unwrap();
    assert_eq!(a.members.iter().map(|m| &*m.member_id).collect::<Vec<_>>(), ["c-a", "c-c"]);
    assert_eq!(world.joined(c).unwrap().generation, 3);
}

#[test]
fn a_member_that_does_not_sync_is_dropped_when_the_time_is_up() {
    let mut world = World::default();
    pair(&mut world);
    let b = world.ask_join(Join { protocols: vec![("range".into(), Bytes::new())], ..join("c-b", "") });
    let a = world.ask_join(join("c-a", ""));
    world.joined(a).unwrap();
    world.joined(b).unwrap();
    let b = world.ask_sync(sync("c-b", 3, &[]));
    for _ in 0..9 {
        world.pass(7_000);
        let _ = world.heartbeat("c-a", 3);
    }
    assert_eq!(world.synced(b), Err(GroupError::RebalanceInProgress));
    assert!(world.shard.get("g").unwrap().group.classic().unwrap().member("c-a").is_none());
    let b = world.ask_join(join("c-b", ""));
    assert_eq!(&*world.joined(b).unwrap().leader, "c-b");
}

#[test]
fn session_timeouts_have_bounds() {
    let mut world = World::default();
    for timeout in [5_999, 1_800_001] {
        let asked = world.ask_join(Join { session_timeout: Millis(timeout), ..join("", "a") });
        assert_eq!(world.joined(asked).unwrap_err().error, GroupError::InvalidSessionTimeout);
    }
}

#[test]
fn protocols_must_meet() {
    let mut world = World::default();
    pair(&mut world);
    for wrong in [
        Join { protocol_type: "connect".into(), ..join("", "x") },
        Join { protocols: vec![("sticky".into(), Bytes::new())], ..join("", "x") },
        Join { protocols: vec![], ..join("", "x") },
    ] {
        let asked = world.ask_join(wrong);
        assert_eq!(world.joined(asked).unwrap_err().error, GroupError::InconsistentProtocol);
    }
}

#[test]
fn the_protocol_that_most_like_best_is_chosen() {
    let mut world = World::default();
    let speaks = |names: &[&str]| names.iter().map(|name| (name.to_string(), Bytes::new())).collect();
    let a = world.ask_join(Join { protocols: speaks(&["x", "y"]), ..join("", "a") });
    world.joined(a).unwrap();
    let b = world.ask_join(Join { protocols: speaks(&["y", "x", "z"]), ..join("", "b") });
    let c = world.ask_join(Join { protocols: speaks(&["z", "y", "x"]), ..join("", "c") });
    let a = world.ask_join(Join { protocols: speaks(&["x", "y"]), ..join("c-a", "") });
    for asked in [a, b, c] {
        assert_eq!(world.joined(asked).unwrap().protocol.as_deref(), Some("y"));
    }
}

#[test]
fn generations_are_checked() {
    let mut world = World::default();
    let generation = pair(&mut world);
    assert_eq!(world.heartbeat("c-a", generation - 1), Err(GroupError::IllegalGeneration));
    assert_eq!(world.heartbeat("c-x", generation), Err(GroupError::UnknownMember));
    let old = world.ask_sync(sync("c-a", generation - 1, &[]));
    assert_eq!(world.synced(old), Err(GroupError::IllegalGeneration));
    let member =
        |generation| Committer { member_id: "c-a".into(), instance_id: None, generation, knows_epochs: true };
    assert_eq!(world.commit(&member(generation - 1), 0, 5, None), Err(GroupError::IllegalGeneration));
    assert_eq!(world.commit(&member(generation), 0, 5, None), Ok(()));
    assert_eq!(world.commit(&Committer::simple(), 0, 6, None), Err(GroupError::UnknownMember));
    assert_eq!(world.fetch(0, false), Ok(Some(5)));
}

fn static_join(member: &str, nonce: &str) -> Join {
    Join { instance_id: Some("i".into()), requires_member_id: true, ..join(member, nonce) }
}

#[test]
fn a_static_member_that_comes_back_keeps_its_assignment_and_fences_its_former_self() {
    let mut world = World::default();
    let asked = world.ask_join(static_join("", "1"));
    assert_eq!(&*world.joined(asked).unwrap().member_id, "i-1");
    let asked = world.ask_sync(sync("i-1", 1, &[("i-1", "all")]));
    world.synced(asked).unwrap();
    let asked = world.ask_join(static_join("", "2"));
    let back = world.joined(asked).unwrap();
    assert_eq!((back.generation, &*back.member_id, back.skip_assignment), (1, "i-2", true));
    let asked = world.ask_sync(sync("i-2", 1, &[]));
    assert_eq!(world.synced(asked).unwrap().assignment, Bytes::from_static(b"all"));
    let former = Committer {
        member_id: "i-1".into(),
        instance_id: Some("i".into()),
        generation: 1,
        knows_epochs: true,
    };
    let heard = world.shard.heartbeat("g", &former, world.now, &world.options.consumer);
    assert_eq!(heard, Err(GroupError::FencedInstance));
    assert_eq!(world.commit(&former, 0, 1, None), Err(GroupError::FencedInstance));
    world.restart();
    assert!(world.shard.get("g").unwrap().group.classic().unwrap().member("i-2").is_some());
}

#[test]
fn an_administrator_removes_a_static_member_by_its_instance() {
    let mut world = World::default();
    let asked = world.ask_join(static_join("", "1"));
    world.joined(asked).unwrap();
    let mut step = Step::default();
    let leaving = ["i", "j"].map(|id| Leaving { member_id: String::new(), instance_id: Some(id.into()) });
    let answers = world.shard.leave("g", &leaving, &world.topics, world.now, &mut step);
    world.take(step);
    assert_eq!(answers, [Ok(()), Err(GroupError::UnknownMember)]);
    assert_eq!(state(&world), State::Empty);
}

#[test]
fn a_group_outlives_a_restart() {
    let mut world = World::default();
    let generation = pair(&mut world);
    world.restart();
    assert_eq!(state(&world), State::Stable);
    assert_eq!(world.heartbeat("c-a", generation), Ok(()));
    assert_eq!(world.heartbeat("c-b", generation), Ok(()));
    world.pass(10_000);
    assert_eq!(state(&world), State::Empty, "whoever does not come back has left");
}

#[test]
fn the_last_one_out_leaves_an_empty_group_that_can_be_deleted() {
    let mut world = World::default();
    pair(&mut world);
    assert_eq!(world.shard.delete("g"), Err(GroupError::NonEmptyGroup));
    assert_eq!(world.leave("c-a"), Ok(()));
    assert_eq!(world.leave("c-a"), Err(GroupError::UnknownMember));
    assert_eq!(world.leave("c-b"), Ok(()));
    assert_eq!(state(&world), State::Empty);
    let changes = world.shard.delete("g").unwrap();
    world.write(changes, None);
    assert_eq!(world.shard.delete("g"), Err(GroupError::GroupIdNotFound));
    world.restart();
    assert!(world.shard.get("g").is_none());
}

#[test]
fn the_leader_makes_the_group_assign_anew_by_joining() {
    let mut world = World::default();
    pair(&mut world);
    let b = world.ask_join(join("c-b", ""));
    assert_eq!(world.joined(b).unwrap().generation, 2, "a follower's same join is answered again");
    let a = world.ask_join(join("c-a", ""));
    let b = world.ask_join(join("c-b", ""));
    assert_eq!(world.joined(a).unwrap().generation, 3);
    assert_eq!(world.joined(b).unwrap().generation, 3);
}

#[test]
fn a_full_group_takes_no_more() {
    let mut world =
        World::new(Options { members_max: 2, initial_rebalance_delay: Millis(0), ..Options::default() });
    pair(&mut world);
    let c = world.ask_join(join("", "c"));
    assert_eq!(world.joined(c).unwrap_err().error, GroupError::GroupMaxSizeReached);
}

#[test]
fn an_id_that_is_given_up_before_its_join_moves_nobody() {
    let mut world = World::default();
    let generation = pair(&mut world);
    let asked = world.ask_join(Join { requires_member_id: true, ..join("", "z") });
    assert_eq!(world.joined(asked).unwrap_err().error, GroupError::MemberIdRequired);
    assert_eq!(world.leave("c-z"), Ok(()));
    assert_eq!(state(&world), State::Stable);
    assert_eq!(world.heartbeat("c-a", generation), Ok(()));
}

#[test]
fn a_new_member_that_asks_again_while_it_waits_keeps_its_long_wait() {
    let mut world = World::default();
    let generation = pair(&mut world);
    world.ask_join(join("", "c"));
    world.pass(1_000);
    let again = world.ask_join(join("c-c", ""));
    for _ in 0..3 {
        world.pass(8_000);
        let _ = world.heartbeat("c-a", generation);
        let _ = world.heartbeat("c-b", generation);
    }
    world.ask_join(join("c-a", ""));
    world.ask_join(join("c-b", ""));
    assert_eq!(world.joined(again).unwrap().generation, 3, "its session of 10 s has not lapsed");
}

#[test]
fn whoever_only_keeps_offsets_in_an_empty_group_may_say_who_it_is() {
    let mut world = World::default();
    let named = Committer { instance_id: Some("static".into()), ..Committer::simple() };
    assert_eq!(world.commit(&named, 0, 5, None), Ok(()));
    assert_eq!(world.commit(&named, 0, 6, None), Ok(()));
    assert_eq!(world.fetch(0, false), Ok(Some(6)));
}

#[test]
fn a_long_client_id_is_cut_in_the_member_id() {
    let mut world = World::default();
    let asked = world.ask_join(Join { client_id: "ü".repeat(16_000), ..join("", "n") });
    let joined = world.joined(asked).unwrap();
    assert!(joined.member_id.len() < 2_000 && joined.member_id.ends_with("-n"), "{}", joined.member_id.len());
}

/// Each with names of its own: a comparison of each with each would take days.
#[test]
fn members_with_very_many_protocols_are_told_apart_at_once() {
    let mut world = World::default();
    let many = |of: &str| (0..300_000).map(|n| (format!("{of}{n}"), Bytes::new())).collect();
    let first = world.ask_join(Join { protocols: many("a"), ..join("", "a") });
    world.joined(first).unwrap();
    let other = world.ask_join(Join { protocols: many("b"), ..join("", "b") });
    assert_eq!(world.joined(other).unwrap_err().error, GroupError::InconsistentProtocol);
}
