//! What a group of the consumer protocol promises, one fact each.

mod common;

use std::sync::Arc;

use common::{World, beat, first_beat, join, places};
use flumen_groups::consumer::{Heartbeat, Options as ConsumerOptions, State};
use flumen_groups::group::Options;
use flumen_groups::{Committer, GroupError};
use flumen_types::Millis;

fn world(partitions: i32) -> World {
    let consumer = ConsumerOptions { assignment_interval: Millis(0), ..ConsumerOptions::default() };
    let mut world = World::new(Options { consumer, ..Options::default() });
    world.set_topics(&[("t", partitions)]);
    world
}

/// Members `a` and `b`, each with two of the four partitions, at epoch 3.
fn pair(world: &mut World) {
    world.beat(&first_beat("a")).unwrap();
    world.beat(&first_beat("b")).unwrap();
    world.beat(&Heartbeat { owned: Some(places("t", [0, 1])), ..beat("a", 2) }).unwrap();
    world.beat(&beat("b", 3)).unwrap();
    assert_eq!(world.group().state(), State::Stable);
}

fn error(world: &mut World, heartbeat: &Heartbeat) -> GroupError {
    world.beat(heartbeat).unwrap_err().error
}

fn assigned(world: &World, member: &str) -> Vec<i32> {
    let member = world.group().member(member).unwrap();
    member.current.assigned.keys().map(|(_, partition)| partition.0).collect()
}

fn is_static(heartbeat: Heartbeat) -> Heartbeat {
    Heartbeat { instance_id: Some("i".into()), ..heartbeat }
}

#[test]
fn the_first_member_gets_everything_at_once() {
    let mut world = world(4);
    let answer = world.beat(&first_beat("a")).unwrap();
    assert_eq!((answer.epoch, answer.assigned), (2, Some(places("t", 0..4))));
    let answer = world.beat(&beat("a", 2)).unwrap();
    assert_eq!((answer.epoch, answer.assigned), (2, None), "nothing is new");
}

#[test]
fn a_partition_goes_over_only_after_it_was_given_back() {
    let mut world = world(4);
    world.beat(&first_beat("a")).unwrap();
    assert_eq!(world.beat(&first_beat("b")).unwrap().assigned, Some(places("t", [])));
    let all = Heartbeat { owned: Some(places("t", 0..4)), ..beat("a", 2) };
    let answer = world.beat(&all).unwrap();
    assert_eq!((answer.epoch, answer.assigned), (2, Some(places("t", [0, 1]))), "it is asked to give back");
    assert_eq!(world.beat(&beat("b", 3)).unwrap().assigned, None, "they are not free yet");
    assert_eq!(world.beat(&all).unwrap().epoch, 2, "it still has them");
    let given_back = Heartbeat { owned: Some(places("t", [0, 1])), ..beat("a", 2) };
    assert_eq!(world.beat(&given_back).unwrap().epoch, 3);
    assert_eq!(world.beat(&beat("b", 3)).unwrap().assigned, Some(places("t", [2, 3])));
    assert_eq!(world.group().state(), State::Stable);
}

#[test]
fn what_a_leaver_had_goes_to_the_others_and_nothing_else_moves() {
    let mut world = world(4);
    pair(&mut world);
    world.beat(&beat("b", -1)).unwrap();
    assert_eq!(world.group().state(), State::Assigning);
    assert_eq!(world.beat(&beat("a", 3)).unwrap().assigned, Some(places("t", 0..4)));
}

#[test]
fn a_member_that_falls_silent_is_taken_out() {
    let mut world = world(4);
    pair(&mut world);
    for _ in 0..9 {
        world.pass(5_000);
        let epoch = world.group().member("a").unwrap().current.epoch;
        world.beat(&beat("a", epoch)).unwrap();
    }
    assert!(world.group().member("b").is_none());
    assert_eq!(error(&mut world, &beat("b", 3)), GroupError::UnknownMember);
    let epoch = world.group().member("a").unwrap().current.epoch;
    world.beat(&beat("a", epoch)).unwrap();
    assert_eq!(assigned(&world, "a"), [0, 1, 2, 3]);
}

#[test]
fn a_member_that_does_not_give_back_in_time_is_taken_out() {
    let mut world = world(4);
    world.beat(&Heartbeat { rebalance_timeout: Some(Millis(10_000)), ..first_beat("a") }).unwrap();
    world.beat(&first_beat("b")).unwrap();
    world.beat(&beat("a", 2)).unwrap();
    for _ in 0..2 {
        world.pass(5_000);
        let _ = world.beat(&beat("a", 2));
    }
    assert!(world.group().member("a").is_none());
    world.beat(&beat("b", 3)).unwrap();
    assert_eq!(assigned(&world, "b"), [0, 1, 2, 3]);
}

#[test]
fn an_answer_that_was_lost_is_asked_for_again() {
    let mut world = world(4);
    pair(&mut world);
    world.beat(&beat("b", -1)).unwrap();
    world.beat(&beat("a", 3)).unwrap();
    let again = Heartbeat { owned: Some(places("t", [0, 1])), ..beat("a", 3) };
    assert_eq!(world.beat(&again).unwrap().epoch, 4);
    let more = Heartbeat { owned: Some(places("u", [0])), ..beat("a", 3) };
    assert_eq!(error(&mut world, &more), GroupError::FencedMemberEpoch, "it has what it was never given");
    assert_eq!(error(&mut world, &beat("a", 2)), GroupError::FencedMemberEpoch);
    assert_eq!(error(&mut world, &beat("a", 5)), GroupError::FencedMemberEpoch);
}

#[test]
fn a_fenced_member_joins_again_under_its_id() {
    let mut world = world(4);
    pair(&mut world);
    let answer = world.beat(&first_beat("a")).unwrap();
    assert_eq!((answer.epoch, answer.assigned), (3, Some(places("t", [0, 1]))));
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut world = world(4);
    world.beat(&is_static(first_beat("a"))).unwrap();
    world.beat(&first_beat("b")).unwrap();
    world.beat(&Heartbeat { owned: Some(places("t", [0, 1])), ..beat("a", 2) }).unwrap();
    assert_eq!(error(&mut world, &is_static(first_beat("a2"))), GroupError::UnreleasedInstance);
    world.beat(&is_static(beat("a", -2))).unwrap();
    let (epoch, had) = (world.group().epoch(), world.beat(&beat("b", 3)).unwrap());
    assert_eq!(had.assigned, Some(places("t", [2, 3])), "nothing of the one that is away");
    let back = world.beat(&is_static(first_beat("a2"))).unwrap();
    assert_eq!((back.epoch, back.assigned), (3, Some(places("t", [0, 1]))));
    assert_eq!(world.group().epoch(), epoch, "nobody else notices");
    assert_eq!(error(&mut world, &is_static(beat("a", 3))), GroupError::FencedInstance);
    world.restart();
    assert_eq!(world.beat(&is_static(beat("a2", 3))).unwrap().epoch, 3);
}

#[test]
fn a_static_member_that_stays_away_is_taken_out() {
    let mut world = world(4);
    world.beat(&is_static(first_beat("a"))).unwrap();
    world.beat(&is_static(beat("a", -2))).unwrap();
    world.pass(45_000);
    assert_eq!(world.group().state(), State::Empty);
    assert_eq!(error(&mut world, &is_static(beat("a", 2))), GroupError::UnknownMember);
}

#[test]
fn topics_that_come_grow_and_go_are_assigned_anew() {
    let mut world = world(1);
    let both = Some(vec!["t".to_string(), "u".to_string()]);
    world.beat(&Heartbeat { topics: both, ..first_beat("a") }).unwrap();
    world.set_topics(&[("t", 2), ("u", 1)]);
    let answer = world.beat(&beat("a", 2)).unwrap();
    let all: flumen_groups::consumer::Assignment =
        places("t", [0, 1]).union(&places("u", [0])).copied().collect();
    assert_eq!((answer.epoch, answer.assigned), (3, Some(all)));
    world.set_topics(&[("t", 2), ("v", 9)]);
    assert_eq!(world.beat(&beat("a", 3)).unwrap().assigned, Some(places("t", [0, 1])));
    let epoch = world.group().epoch();
    world.set_topics(&[("t", 2), ("v", 10)]);
    world.beat(&Heartbeat { owned: Some(places("t", [0, 1])), ..beat("a", 3) }).unwrap();
    assert_eq!(world.group().epoch(), epoch, "a topic that nobody consumes changes nothing");
}

#[test]
fn a_regular_expression_finds_topics_that_come_later() {
    let mut world = world(1);
    let by_regex = Heartbeat { topics: None, regex: Some("t|u.*".into()), ..first_beat("a") };
    assert_eq!(world.beat(&by_regex).unwrap().assigned, Some(places("t", [0])));
    world.set_topics(&[("t", 1), ("u-1", 1), ("xu", 1)]);
    let answer = world.beat(&beat("a", 2)).unwrap();
    assert_eq!(answer.assigned.unwrap().len(), 2);
    world.restart();
    let before = world.group().epoch();
    world.beat(&beat("a", 3)).unwrap();
    assert_eq!(world.group().epoch(), before, "a restart changes nothing");
    let wrong = Heartbeat { regex: Some("(".into()), ..beat("a", 3) };
    assert_eq!(error(&mut world, &wrong), GroupError::InvalidRegularExpression);
}

#[test]
fn a_regular_expression_finds_what_its_sender_may_know_of() {
    let mut world = world(1);
    let member = |id| Heartbeat { topics: None, regex: Some("t|u.*".into()), ..first_beat(id) };
    let topics = |world: &World| world.group().topics().iter().map(ToString::to_string).collect::<Vec<_>>();
    world.set_topics(&[("t", 1), ("u-1", 1), ("u-2", 1)]);
    let bob = |topic: &str| topic != "u-2";
    world.beat_of(&member("a"), &bob).unwrap();
    assert_eq!(topics(&world), ["t", "u-1"]);
    world.beat(&member("b")).unwrap();
    assert_eq!(topics(&world), ["t", "u-1"], "it was looked up already");

    world.set_topics(&[("t", 1), ("u-1", 1), ("u-2", 1), ("u-3", 1)]);
    world.beat_of(&beat("a", 2), &bob).unwrap();
    assert_eq!(topics(&world), ["t", "u-1", "u-3"], "a new topic, for whom hears of it first");
    let epoch = world.group().epoch();
    // Without a tick, so that no session ends.
    world.now = world.now.plus(Millis(600_001));
    world.beat_of(&beat("a", 2), &|topic| topic == "t").unwrap();
    assert_eq!(topics(&world), ["t"], "what a rule has taken is seen when the time has come");
    assert!(world.group().epoch() > epoch);
    world.restart();
    assert_eq!(topics(&world), ["t"]);
}

#[test]
fn an_unsubscribed_topic_is_given_back_at_once() {
    let mut world = world(4);
    pair(&mut world);
    let answer = world.beat(&Heartbeat { topics: Some(vec![]), ..beat("a", 3) }).unwrap();
    assert_eq!(answer.assigned, Some(places("t", [])));
    world.beat(&beat("b", 3)).unwrap();
    assert_eq!(assigned(&world, "b"), [2, 3], "a has not given them back yet");
    world.beat(&Heartbeat { owned: Some(places("t", [])), ..beat("a", 3) }).unwrap();
    world.beat(&beat("b", 4)).unwrap();
    assert_eq!(assigned(&world, "b"), [0, 1, 2, 3]);
}

#[test]
fn changes_close_together_are_assigned_together() {
    let mut world = World::default();
    world.set_topics(&[("t", 4)]);
    world.beat(&first_beat("a")).unwrap();
    world.pass(100);
    assert_eq!(world.beat(&first_beat("b")).unwrap().epoch, 2, "not assigned yet");
    assert_eq!(world.group().state(), State::Assigning);
    world.pass(1_000);
    assert_eq!(world.beat(&beat("b", 2)).unwrap().epoch, 3);
}

#[test]
fn a_full_group_takes_nobody_else() {
    let consumer = ConsumerOptions { members_max: 1, ..ConsumerOptions::default() };
    let mut world = World::new(Options { consumer, ..Options::default() });
    world.beat(&first_beat("a")).unwrap();
    assert_eq!(error(&mut world, &first_beat("b")), GroupError::GroupMaxSizeReached);
    assert_eq!(world.beat(&first_beat("a")).unwrap().epoch, 2);
}

#[test]
fn a_request_that_makes_no_sense_leaves_no_group() {
    let mut world = world(1);
    let wrong = [
        Heartbeat { member_id: String::new(), ..first_beat("a") },
        Heartbeat { rebalance_timeout: None, ..first_beat("a") },
        Heartbeat { owned: None, ..first_beat("a") },
        Heartbeat { owned: Some(places("t", [0])), ..first_beat("a") },
        Heartbeat { topics: None, ..first_beat("a") },
        Heartbeat { instance_id: Some(" ".into()), ..first_beat("a") },
        beat("a", -2),
        beat("a", -3),
    ];
    for wrong in wrong {
        assert_eq!(error(&mut world, &wrong), GroupError::InvalidRequest, "{wrong:?}");
    }
    let assignor = Heartbeat { assignor: Some("sticky".into()), ..first_beat("a") };
    assert_eq!(error(&mut world, &assignor), GroupError::UnsupportedAssignor);
    assert_eq!(error(&mut world, &beat("a", 3)), GroupError::GroupIdNotFound);
    assert_eq!(error(&mut world, &beat("a", -1)), GroupError::GroupIdNotFound);
    assert!(world.shard.get("g").is_none());
}

#[test]
fn members_commit_what_they_have_had_since_the_epoch_they_name() {
    let mut world = world(4);
    pair(&mut world);
    let from = |member: &str, generation| Committer {
        member_id: member.into(),
        instance_id: None,
        generation,
        knows_epochs: true,
    };
    assert_eq!(world.commit(&from("a", 3), 0, 5, None), Ok(()));
    assert_eq!(world.commit(&from("a", 2), 0, 6, None), Ok(()), "it has had it since epoch 2");
    assert_eq!(
        world.commit(&from("a", 2), 3, 7, None),
        Err(GroupError::StaleMemberEpoch),
        "it has it no more"
    );
    assert_eq!(
        world.commit(&from("b", 2), 2, 7, None),
        Err(GroupError::StaleMemberEpoch),
        "it had it not yet"
    );
    assert_eq!(world.commit(&from("a", 4), 0, 7, None), Err(GroupError::StaleMemberEpoch));
    assert_eq!(world.commit(&from("z", 3), 0, 7, None), Err(GroupError::UnknownMember));
    assert_eq!(world.commit(&Committer::simple(), 0, 7, None), Err(GroupError::UnknownMember));
    assert_eq!(world.commit(&Committer::simple(), 0, 7, Some(1)), Ok(()), "an older client's transaction");
    let old = Committer { knows_epochs: false, ..from("a", 3) };
    assert_eq!(world.commit(&old, 0, 7, None), Err(GroupError::UnsupportedVersion));
    assert_eq!(world.fetch(0, false), Ok(Some(6)));
    assert_eq!(world.group().check_fetch(Some("a"), 3), Ok(()));
    assert_eq!(world.group().check_fetch(Some("a"), 2).unwrap_err().error, GroupError::StaleMemberEpoch);
    assert_eq!(world.group().check_fetch(None, -1), Ok(()));
}

#[test]
fn offsets_of_consumed_topics_stay() {
    let mut world = world(4);
    world.beat(&first_beat("a")).unwrap();
    let from = Committer { member_id: "a".into(), generation: 2, ..Committer::simple() };
    world.commit(&from, 0, 5, None).unwrap();
    let t = [flumen_types::TopicPartition::new("t", 0), flumen_types::TopicPartition::new("u", 0)];
    let (_, answers) = world.shard.delete_offsets("g", &t).unwrap();
    assert_eq!(answers, [Err(GroupError::SubscribedToTopic), Ok(())]);
    assert_eq!(world.shard.delete("g").unwrap_err(), GroupError::NonEmptyGroup);
    let retention = world.options.offsets_retention;
    world.now = world.now.plus(retention);
    assert_eq!(world.shard.expire(world.now), []);
    world.pass(0);
    let expired = world.shard.expire(world.now);
    world.write(expired, None);
    assert!(world.shard.get("g").is_none(), "nobody is left, and nothing is kept");
    world.restart();
    assert!(world.shard.get("g").is_none());
}

#[test]
fn an_empty_group_goes_over_to_the_other_protocol_with_its_offsets() {
    let mut world = world(4);
    world.commit(&Committer::simple(), 0, 5, None).unwrap();
    world.beat(&first_beat("a")).unwrap();
    world.restart();
    assert_eq!(world.group().members().count(), 1);
    world.beat(&beat("a", -1)).unwrap();
    let asked = world.ask_join(join("", "x"));
    world.pass(3_000);
    let generation = world.joined(asked).unwrap().generation;
    world.ask_sync(common::sync("c-x", generation, &[("c-x", "all")]));
    world.restart();
    let classic = |world: &World| world.shard.get("g").is_some_and(|kept| kept.group.classic().is_some());
    assert!(classic(&world));
    assert_eq!(world.fetch(0, false), Ok(Some(5)));
    world.leave("c-x").unwrap();
    world.beat(&first_beat("a")).unwrap();
    world.restart();
    assert!(!classic(&world));
    assert_eq!(world.fetch(0, false), Ok(Some(5)));
}

#[test]
fn a_deleted_group_leaves_nothing_behind() {
    let mut world = world(4);
    let by_regex = Heartbeat { regex: Some("t.*".into()), ..is_static(first_beat("a")) };
    world.beat(&by_regex).unwrap();
    world.beat(&is_static(beat("a", -1))).unwrap();
    let gone = world.shard.delete("g").unwrap();
    world.write(gone, None);
    assert!(world.shard.get("g").is_none());
    world.restart();
    assert!(world.shard.get("g").is_none());
}

#[test]
fn sessions_begin_anew_after_a_restart() {
    let mut world = world(4);
    pair(&mut world);
    world.pass(40_000);
    world.restart();
    world.pass(44_000);
    assert_eq!(world.group().members().count(), 2);
    world.pass(1_000);
    assert_eq!(world.group().members().count(), 0);
}

#[test]
fn the_assignor_that_most_ask_for_decides() {
    let mut world = world(4);
    let asks = |member, assignor: &str| Heartbeat { assignor: Some(assignor.into()), ..first_beat(member) };
    world.beat(&first_beat("a")).unwrap();
    assert_eq!(world.group().assignor(&world.options.consumer).name(), "uniform");
    world.beat(&asks("b", "range")).unwrap();
    assert_eq!(world.group().assignor(&world.options.consumer).name(), "range");
    let members: Vec<Arc<str>> = world.group().members().map(|member| member.id.clone()).collect();
    assert_eq!(members.len(), 2);
}
