//! What a streams group answers, case by case.

mod common;

use common::World;
use common::streams::{beating, counting, joining, names};
use flumen_groups::streams::{Answer, Endpoint, Heartbeat, Options, State, Status, Task, Tasks};
use flumen_groups::{Committer, GroupError};
use flumen_types::Millis;

const READY: &[(&str, i32)] = &[("in", 2), ("log", 2)];

fn at_once() -> Options {
    Options { initial_rebalance_delay: Millis(0), assignment_interval: Millis(0), ..Options::default() }
}

fn world(topics: &[(&str, i32)]) -> World {
    let mut world = World::default();
    world.set_topics(topics);
    world
}

fn join(world: &mut World, member: &str) -> Answer {
    world.streams_beat(&joining(member, member), &at_once()).unwrap()
}

fn statuses(answer: &Answer) -> Vec<Status> {
    answer.statuses.iter().map(|(status, _)| *status).collect()
}

fn active(answer: &Answer) -> Vec<i32> {
    answer.assigned.iter().flat_map(|tasks| &tasks.active).map(|task| task.partition).collect()
}

fn tasks(partitions: &[i32]) -> Tasks {
    Tasks { active: partitions.iter().map(|n| Task::new("0", *n)).collect(), ..Tasks::default() }
}

fn committer(epoch: i32) -> Committer {
    Committer { member_id: "a".into(), instance_id: None, generation: epoch, knows_epochs: true }
}

#[test]
fn a_group_is_ready_when_its_topics_are_there() {
    let mut world = world(&[]);
    let answer = join(&mut world, "a");
    assert_eq!(statuses(&answer), [Status::MissingSourceTopics]);
    assert_eq!(world.streams().unwrap().state(), State::NotReady);
    world.set_topics(&[("in", 2)]);
    let answer = world.streams_beat(&beating("a", answer.epoch, &Tasks::default()), &at_once()).unwrap();
    assert_eq!(statuses(&answer), [Status::MissingInternalTopics]);
    assert_eq!(names(&answer), ["log".into()]);
    assert_eq!(answer.missing[0].partitions, 2);
    world.set_topics(READY);
    let answer = world.streams_beat(&beating("a", answer.epoch, &Tasks::default()), &at_once()).unwrap();
    assert_eq!((statuses(&answer), active(&answer)), (vec![], vec![0, 1]));
    assert_eq!(world.streams().unwrap().state(), State::Stable);
}

#[test]
fn a_new_group_waits_for_more_members() {
    let mut world = world(READY);
    let options = Options::default();
    let first = world.streams_beat(&joining("a", "a"), &options).unwrap();
    assert_eq!((statuses(&first), active(&first)), (vec![Status::AssignmentDelayed], vec![]));
    assert_eq!(first.epoch, 1);
    world.streams_beat(&joining("b", "b"), &options).unwrap();
    world.pass(3_000);
    let mut all: Vec<i32> = Vec::new();
    for member in ["a", "b"] {
        let answer = world.streams_beat(&beating(member, 1, &Tasks::default()), &options).unwrap();
        all.extend(active(&answer));
    }
    all.sort();
    assert_eq!(all, [0, 1]);
}

#[test]
fn a_task_is_given_after_it_was_given_back() {
    let mut world = world(READY);
    let a = join(&mut world, "a");
    assert_eq!(active(&a), [0, 1]);
    let b = join(&mut world, "b");
    assert_eq!(active(&b), Vec::<i32>::new(), "a has not given back yet");
    let asked = world.streams_beat(&beating("a", a.epoch, &tasks(&[0, 1])), &at_once()).unwrap();
    assert_eq!((asked.epoch, active(&asked).len()), (a.epoch, 1));
    let kept = active(&asked);
    let again = world.streams_beat(&beating("b", b.epoch, &Tasks::default()), &at_once()).unwrap();
    assert_eq!(again.assigned, None);
    let done = world.streams_beat(&beating("a", a.epoch, &tasks(&kept)), &at_once()).unwrap();
    assert_eq!(done.epoch, b.epoch);
    let given = world.streams_beat(&beating("b", b.epoch, &Tasks::default()), &at_once()).unwrap();
    assert_eq!(active(&given).len(), 1);
    assert_ne!(active(&given), kept);
}

#[test]
fn who_does_not_give_back_in_time_is_taken_out() {
    let mut world = world(READY);
    let a = join(&mut world, "a");
    join(&mut world, "b");
    world.streams_beat(&beating("a", a.epoch, &tasks(&[0, 1])), &at_once()).unwrap();
    for _ in 0..2 {
        world.pass(30_000);
        let beat = world.streams_beat(&beating("a", a.epoch, &tasks(&[0, 1])), &at_once());
        let b = world.streams().unwrap().member("b").unwrap().current.epoch;
        world.streams_beat(&beating("b", b, &Tasks::default()), &at_once()).unwrap();
        if let Err(refused) = beat {
            assert_eq!(refused.error, GroupError::UnknownMember);
            return;
        }
    }
    panic!("it is still there");
}

#[test]
fn an_older_epoch_is_fenced_unless_the_answer_was_lost() {
    let mut world = world(READY);
    let a = join(&mut world, "a");
    let error = |world: &mut World, epoch, owned: &Tasks| {
        world.streams_beat(&beating("a", epoch, owned), &at_once()).unwrap_err().error
    };
    assert_eq!(error(&mut world, a.epoch + 1, &tasks(&[0, 1])), GroupError::FencedMemberEpoch);
    let mut changed = beating("a", a.epoch, &tasks(&[0, 1]));
    changed.tags = Some([("zone".into(), "x".into())].into());
    let next = world.streams_beat(&changed, &at_once()).unwrap();
    assert_eq!(next.epoch, a.epoch + 1);
    assert!(world.streams_beat(&beating("a", a.epoch, &tasks(&[0])), &at_once()).is_ok());
    assert_eq!(error(&mut world, a.epoch - 1, &tasks(&[0])), GroupError::FencedMemberEpoch);
}

#[test]
fn a_standby_is_in_another_process() {
    let mut world = world(READY);
    let options = Options { standby_replicas: 1, ..at_once() };
    world.streams_beat(&joining("a", "a"), &options).unwrap();
    let b = world.streams_beat(&joining("b", "b"), &options).unwrap();
    let standby = |answer: &Answer| answer.assigned.as_ref().map_or(0, |tasks| tasks.standby.len());
    assert_eq!(standby(&b), 1, "of the task that stays with a");
    let settings = Options { standby_replicas: 0, ..options };
    let b = world.streams_beat(&beating("b", b.epoch, &b.assigned.unwrap()), &settings).unwrap();
    assert_eq!(standby(&b), 0, "the settings have changed");
}

#[test]
fn another_topology_is_refused_and_an_older_one_is_told() {
    let mut world = world(READY);
    let mut newer = joining("a", "a");
    newer.topology.as_mut().unwrap().epoch = 2;
    world.streams_beat(&newer, &at_once()).unwrap();
    let older = world.streams_beat(&joining("b", "b"), &at_once()).unwrap();
    assert_eq!(statuses(&older), [Status::StaleTopology]);
    newer.member_id = "c".into();
    newer.topology.as_mut().unwrap().epoch = 3;
    let refused = world.streams_beat(&newer, &at_once()).unwrap_err();
    assert_eq!(refused.text, "Topology updates are not supported yet.");
    assert!(!world.is_member("c"));
}

#[test]
fn a_shutdown_is_told_to_all_until_they_are_gone() {
    let mut world = world(READY);
    let a = join(&mut world, "a");
    join(&mut world, "b");
    let beat = Heartbeat { shutdown: true, ..beating("a", a.epoch, &tasks(&[0, 1])) };
    assert_eq!(statuses(&world.streams_beat(&beat, &at_once()).unwrap()), [Status::ShutdownApplication]);
    let b = world.streams().unwrap().member("b").unwrap().current.epoch;
    let told = world.streams_beat(&beating("b", b, &Tasks::default()), &at_once()).unwrap();
    assert_eq!(statuses(&told), [Status::ShutdownApplication]);
    for member in ["a", "b"] {
        world.streams_beat(&beating(member, -1, &Tasks::default()), &at_once()).unwrap();
    }
    assert_eq!(world.streams().unwrap().state(), State::Empty);
    assert_eq!(statuses(&join(&mut world, "c")), []);
}

#[test]
fn endpoints_are_told_when_they_have_changed() {
    let mut world = world(READY);
    join(&mut world, "a");
    let endpoint = Some(Endpoint { host: "h".into(), port: 7 });
    let mut beat = Heartbeat { endpoint, ..joining("b", "b") };
    let b = world.streams_beat(&beat, &at_once()).unwrap();
    assert_eq!(b.endpoint_epoch, 1);
    assert_eq!(b.endpoints.unwrap().len(), 1);
    beat = Heartbeat { endpoint_epoch: 1, ..beating("b", b.epoch, &Tasks::default()) };
    assert_eq!(world.streams_beat(&beat, &at_once()).unwrap().endpoints, None);
}

#[test]
fn a_commit_names_an_epoch_at_which_the_task_was_held() {
    let mut world = world(&[("t", 2), ("log", 2)]);
    let mut beat = joining("a", "a");
    beat.topology.as_mut().unwrap().subtopologies.get_mut("0").unwrap().sources = vec!["t".into()];
    let a = world.streams_beat(&beat, &at_once()).unwrap();
    assert_eq!(world.commit(&committer(a.epoch), 0, 5, None), Ok(()));
    assert_eq!(world.commit(&committer(a.epoch + 1), 0, 5, None), Err(GroupError::StaleMemberEpoch));
    assert_eq!(world.commit(&committer(a.epoch - 1), 0, 5, None), Err(GroupError::StaleMemberEpoch));
    assert_eq!(world.commit(&committer(-1), 0, 5, None), Err(GroupError::StaleMemberEpoch));
    assert_eq!(world.commit(&Committer::simple(), 0, 5, None), Err(GroupError::UnknownMember));
    let mut changed = beating("a", a.epoch, &tasks(&[0, 1]));
    changed.tags = Some([("zone".into(), "x".into())].into());
    let next = world.streams_beat(&changed, &at_once()).unwrap();
    assert!(next.epoch > a.epoch);
    assert_eq!(world.commit(&committer(a.epoch), 0, 6, None), Ok(()), "it has had the task since then");
    assert_eq!(world.shard.check_fetch("g", Some("a"), next.epoch), Ok(()));
    let stale = world.shard.check_fetch("g", Some("a"), a.epoch).unwrap_err();
    assert_eq!(stale.error, GroupError::StaleMemberEpoch);
}

#[test]
fn a_group_without_members_can_be_deleted_and_a_classic_one_makes_room() {
    let mut world = world(READY);
    world.commit(&Committer::simple(), 0, 7, None).unwrap();
    let a = join(&mut world, "a");
    assert_eq!(world.fetch(0, false), Ok(Some(7)), "the offsets stay");
    assert_eq!(world.shard.delete("g").unwrap_err(), GroupError::NonEmptyGroup);
    world.streams_beat(&beating("a", -1, &Tasks::default()), &at_once()).unwrap();
    let gone = world.shard.delete("g").unwrap();
    world.write(gone, None);
    assert!(world.shard.get("g").is_none());
    world.restart();
    assert!(world.shard.get("g").is_none());
    let refused = world.streams_beat(&beating("a", a.epoch, &Tasks::default()), &at_once()).unwrap_err();
    assert_eq!(refused.error, GroupError::GroupIdNotFound);
}

#[test]
fn a_request_that_contradicts_itself_is_refused() {
    let mut world = world(READY);
    let refused = |beat: Heartbeat| world.streams_beat(&beat, &at_once()).unwrap_err().text;
    let join = || joining("a", "a");
    let mut texts = [
        Heartbeat { member_id: " ".into(), ..join() },
        Heartbeat { rebalance_timeout: None, ..join() },
        Heartbeat { standby: None, ..join() },
        Heartbeat { topology: None, ..join() },
        Heartbeat { topology: Some(counting()), ..beating("a", 3, &Tasks::default()) },
        Heartbeat { warmup: None, ..beating("a", 3, &Tasks::default()) },
        beating("a", -2, &Tasks::default()),
        beating("a", -3, &Tasks::default()),
    ]
    .map(refused);
    texts.iter_mut().for_each(|text| text.push('\n'));
    expect_test::expect![[r#"
        MemberId can't be empty.
        RebalanceTimeoutMs must be provided in first request.
        StandbyTasks must be empty when (re-)joining.
        Topology must be non-null when (re-)joining.
        Topology can only be provided when (re-)joining.
        If one task-type is non-null, all must be non-null.
        InstanceId can't be null.
        MemberEpoch is -3, but must be greater than or equal to -2.
    "#]]
    .assert_eq(&texts.concat());
}
