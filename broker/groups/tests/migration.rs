//! An application goes over from the classic to the consumer protocol, member by member, and back.

mod common;

use bytes::Bytes;
use common::classic::subscription;
use common::{World, beat, first_beat, join, places, sync};
use flumen_groups::consumer::{Heartbeat, MigrationPolicy, Options as ConsumerOptions, State};
use flumen_groups::group::{Join, Options, State as ClassicState};
use flumen_groups::{Committer, GroupError};
use flumen_types::Millis;

fn world(migration: MigrationPolicy) -> World {
    let consumer =
        ConsumerOptions { assignment_interval: Millis(0), migration, ..ConsumerOptions::default() };
    let mut world =
        World::new(Options { consumer, initial_rebalance_delay: Millis(0), ..Options::default() });
    world.set_topics(&[("t", 4)]);
    world
}

fn assignment(assigned: &[i32]) -> Bytes {
    common::classic::assignment(&[("t", assigned.to_vec())])
}

fn classic(member: &str, nonce: &str, owned: &[i32]) -> Join {
    Join {
        protocols: vec![("cooperative-sticky".into(), subscription(&[("t", owned.to_vec())]))],
        ..join(member, nonce)
    }
}

/// A stable classic group of one, `c-a`, with all partitions; its generation.
fn classic_group(world: &mut World) -> i32 {
    let asked = world.ask_join(classic("", "a", &[]));
    let generation = world.joined(asked).unwrap().generation;
    let mut told = sync("c-a", generation, &[]);
    told.assignments = vec![("c-a".into(), assignment(&[0, 1, 2, 3]))];
    let asked = world.ask_sync(told);
    world.synced(asked).unwrap();
    generation
}

/// The classic member joins with what it has, and hears its generation and assignment.
fn rejoin(world: &mut World, owned: &[i32]) -> (i32, Bytes) {
    let asked = world.ask_join(classic("c-a", "", owned));
    let joined = world.joined(asked).unwrap();
    assert_eq!((&*joined.leader, joined.protocol.as_deref()), ("", Some("cooperative-sticky")));
    let asked = world.ask_sync(sync("c-a", joined.generation, &[]));
    (joined.generation, world.synced(asked).unwrap().assignment)
}

fn is_classic(world: &World) -> bool {
    world.shard.get("g").is_some_and(|kept| kept.group.classic().is_some())
}

#[test]
fn a_group_s_own_assignment_interval_holds_for_its_members_of_the_classic_protocol() {
    let mut world = world(MigrationPolicy::Bidirectional);
    // The broker's is 0.
    let own = Millis(1_000);
    world.options.consumer.assignment_interval = own;
    classic_group(&mut world);
    world.now = world.now.plus(own);
    let epoch = world.beat(&first_beat("b")).unwrap().epoch;
    world.now = world.now.plus(own);
    world.beat(&beat("b", epoch)).unwrap();
    assert_eq!(world.group().assignment_epoch(), world.group().epoch());

    let asked = world.ask_join(classic("", "c", &[]));
    world.joined(asked).unwrap();
    assert_eq!(world.group().assignment_epoch(), world.group().epoch(), "the time is over");
    let asked = world.ask_join(classic("", "d", &[]));
    let late = world.joined(asked).unwrap().generation;
    assert!(world.group().assignment_epoch() < world.group().epoch(), "others may still come");
    let asked = world.ask_sync(sync("c-d", late, &[]));
    world.synced(asked).unwrap();
    assert_eq!(world.heartbeat("c-d", late), Ok(()), "nothing is to be heard yet");
    world.now = world.now.plus(own);
    assert_eq!(world.heartbeat("c-d", late), Err(GroupError::RebalanceInProgress));
    let asked = world.ask_join(classic("c-d", "", &[]));
    world.joined(asked).unwrap();
    assert_eq!(world.group().assignment_epoch(), world.group().epoch());
}

#[test]
fn members_go_over_one_by_one_and_back() {
    let mut world = world(MigrationPolicy::Bidirectional);
    let generation = classic_group(&mut world);
    world
        .commit(&Committer { member_id: "c-a".into(), generation, ..Committer::simple() }, 0, 5, None)
        .unwrap();

    let answer = world.beat(&first_beat("b")).unwrap();
    assert_eq!((answer.epoch, answer.assigned), (2, Some(places("t", []))), "the other has all");
    world.restart();
    assert_eq!(world.group().members().count(), 2);
    assert_eq!(world.heartbeat("c-a", generation), Err(GroupError::RebalanceInProgress));
    let (epoch, assigned) = rejoin(&mut world, &[0, 1, 2, 3]);
    assert_eq!((epoch, assigned), (generation, assignment(&[0, 1])), "it is asked to give back");
    assert_eq!(world.heartbeat("c-a", generation), Err(GroupError::RebalanceInProgress));
    let (epoch, assigned) = rejoin(&mut world, &[0, 1]);
    assert_eq!((epoch, assigned), (2, assignment(&[0, 1])));
    assert_eq!(world.heartbeat("c-a", 2), Ok(()));
    assert_eq!(world.beat(&beat("b", 2)).unwrap().assigned, Some(places("t", [2, 3])));
    assert_eq!(world.group().state(), State::Stable);
    let from = Committer { member_id: "c-a".into(), generation: 2, knows_epochs: false, instance_id: None };
    assert_eq!(world.commit(&from, 0, 6, None), Ok(()));
    let newer = Committer { generation: 3, ..from };
    assert_eq!(world.commit(&newer, 0, 7, None), Err(GroupError::IllegalGeneration));

    world.beat(&beat("b", -1)).unwrap();
    assert!(is_classic(&world), "only the classic one is left");
    assert_eq!(world.heartbeat("c-a", 2), Err(GroupError::RebalanceInProgress));
    world.restart();
    let group = world.shard.get("g").unwrap().group.classic().unwrap();
    assert_eq!((group.generation(), group.members().count()), (3, 1));
    assert_eq!(
        world.heartbeat("c-a", 2),
        Err(GroupError::IllegalGeneration),
        "it must join after a restart too"
    );
    assert_eq!(world.fetch(0, false), Ok(Some(6)));
    let asked = world.ask_join(classic("c-a", "", &[0, 1]));
    let joined = world.joined(asked).unwrap();
    assert_eq!((joined.generation, &*joined.leader, joined.members.len()), (4, "c-a", 1));
}

#[test]
fn what_a_member_has_not_given_back_is_its_own_on_the_way_to_and_fro() {
    let mut world = world(MigrationPolicy::Bidirectional);
    classic_group(&mut world);
    world.beat(&first_beat("b")).unwrap();
    assert_eq!(rejoin(&mut world, &[0, 1, 2, 3]).1, assignment(&[0, 1]));
    world.beat(&beat("b", -1)).unwrap();
    assert!(is_classic(&world));
    let answer = world.beat(&first_beat("d")).unwrap();
    assert_eq!(answer.assigned, Some(places("t", [])), "the classic member may use all of them still");
}

#[test]
fn what_a_classic_leaver_had_goes_to_the_others() {
    let mut world = world(MigrationPolicy::Bidirectional);
    classic_group(&mut world);
    world.beat(&first_beat("b")).unwrap();
    world.leave("c-a").unwrap();
    assert_eq!(world.beat(&beat("b", 2)).unwrap().assigned, Some(places("t", 0..4)));
    assert_eq!(world.heartbeat("b", 3), Err(GroupError::UnknownMember), "it speaks the other protocol");
    assert_eq!(world.leave("b"), Ok(()), "an administrator may take it out");
}

#[test]
fn a_classic_member_joins_a_group_of_the_consumer_protocol() {
    let mut world = world(MigrationPolicy::Bidirectional);
    world.beat(&first_beat("b")).unwrap();
    let asked = world.ask_join(Join { requires_member_id: true, ..classic("", "a", &[]) });
    assert_eq!(world.joined(asked).unwrap_err().error, GroupError::MemberIdRequired);
    let (epoch, assigned) = rejoin(&mut world, &[]);
    assert_eq!((epoch, assigned), (3, assignment(&[])), "they are the other's still");
    assert_eq!(world.heartbeat("c-a", 3), Ok(()), "it waits");
    world.beat(&Heartbeat { owned: Some(places("t", 0..4)), ..beat("b", 2) }).unwrap();
    world.beat(&Heartbeat { owned: Some(places("t", [0, 1])), ..beat("b", 2) }).unwrap();
    assert_eq!(world.heartbeat("c-a", 3), Err(GroupError::RebalanceInProgress), "they are free now");
    assert_eq!(rejoin(&mut world, &[]).1, assignment(&[2, 3]));
    assert_eq!(world.group().state(), State::Stable);
    let other =
        Join { protocols: vec![("range".into(), subscription(&[("t", vec![])]))], ..classic("", "x", &[]) };
    let asked = world.ask_join(other);
    assert_eq!(world.joined(asked).unwrap_err().error, GroupError::InconsistentProtocol);
}

#[test]
fn a_classic_member_that_does_not_rejoin_or_sync_in_time_is_taken_out() {
    for joins in [false, true] {
        let mut world = world(MigrationPolicy::Bidirectional);
        let generation = classic_group(&mut world);
        world.beat(&first_beat("b")).unwrap();
        let generation = match joins {
            true => {
                let asked = world.ask_join(classic("c-a", "", &[]));
                world.joined(asked).unwrap().generation
            }
            false => generation,
        };
        for _ in 0..13 {
            let _ = world.heartbeat("c-a", generation);
            let epoch = world.group().member("b").unwrap().current.epoch;
            world.beat(&beat("b", epoch)).unwrap();
            world.pass(5_000);
        }
        assert!(world.group().member("c-a").is_none());
    }
}

#[test]
fn whoever_waits_is_sent_to_join_again() {
    let mut world = world(MigrationPolicy::Bidirectional);
    classic_group(&mut world);
    let waits = world.ask_join(classic("", "z", &[]));
    world.beat(&first_beat("b")).unwrap();
    assert_eq!(world.joined(waits).unwrap_err().error, GroupError::RebalanceInProgress);
    let ids: Vec<_> = world.group().members().map(|member| member.id.to_string()).collect();
    assert_eq!(ids, ["b", "c-a", "c-z"]);
}

#[test]
fn a_static_member_goes_over_and_back_under_its_instance() {
    let mut world = world(MigrationPolicy::Bidirectional);
    let is_static = |join: Join| Join { instance_id: Some("i".into()), ..join };
    let asked = world.ask_join(is_static(classic("", "1", &[])));
    let generation = world.joined(asked).unwrap().generation;
    let mut told = sync("i-1", generation, &[]);
    told.assignments = vec![("i-1".into(), assignment(&[0, 1, 2, 3]))];
    world.ask_sync(told);
    let over = Heartbeat { instance_id: Some("i".into()), ..first_beat("m") };
    assert_eq!(world.beat(&over).unwrap().assigned, Some(places("t", 0..4)), "it takes its own place");
    assert_eq!(world.group().members().count(), 1);
    let back = world.ask_join(is_static(classic("", "2", &[])));
    let joined = world.joined(back).unwrap();
    assert_eq!((&*joined.member_id, joined.generation), ("i-2", generation), "nothing moves");
    assert!(is_classic(&world));
    let asked = world.ask_sync(sync("i-2", generation, &[]));
    assert_eq!(world.synced(asked).unwrap().assignment, assignment(&[0, 1, 2, 3]));
    world.restart();
    assert!(is_classic(&world));
}

#[test]
fn groups_that_must_not_or_cannot_go_over_stay() {
    for migration in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let mut world = world(migration);
        classic_group(&mut world);
        let refused = world.beat(&first_beat("b")).unwrap_err();
        assert_eq!(refused.error, GroupError::GroupIdNotFound);
        assert_eq!(world.shard.get("g").unwrap().group.classic().unwrap().state(), ClassicState::Stable);
    }
    let mut world = world(MigrationPolicy::Disabled);
    world.beat(&first_beat("b")).unwrap();
    let asked = world.ask_join(classic("", "a", &[]));
    assert_eq!(world.joined(asked).unwrap_err().error, GroupError::InconsistentProtocol);

    let mut world = self::world(MigrationPolicy::Bidirectional);
    let asked = world.ask_join(Join { protocol_type: "connect".into(), ..join("", "a") });
    world.joined(asked).unwrap();
    assert_eq!(world.beat(&first_beat("b")).unwrap_err().error, GroupError::GroupIdNotFound);
}
