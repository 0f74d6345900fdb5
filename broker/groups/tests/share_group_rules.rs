//! What a share group promises, one fact each.

mod common;

use common::World;
use flumen_groups::group::{self, Step};
use flumen_groups::share::{Answer, Heartbeat, Options};
use flumen_types::Millis;

fn beat(world: &mut World, epoch: i32) -> Answer {
    let beat = Heartbeat {
        member_id: "a".into(),
        epoch,
        topics: (epoch == 0).then(|| vec!["t".into()]),
        ..Heartbeat::default()
    };
    let (mut step, options) = (Step::default(), world.share.clone());
    let answer =
        world.shard.share_heartbeat("g", &beat, &world.topics, world.now, &options, &mut step).unwrap();
    world.take(step);
    answer
}

/// A member whose partition has its state.
fn world(share: Options) -> World {
    let mut world = World::new(group::Options::default());
    world.share = share;
    world.set_topics(&[("t", 1)]);
    let (_, partitions) = beat(&mut world, 0).initialize.expect("a partition that is new");
    let mut step = Step::default();
    world.shard.share_initialized("g", &partitions, true, &mut step);
    world.take(step);
    world
}

#[test]
fn a_session_lasts_as_long_as_its_group_says_after_a_restart_too() {
    let mut world = world(Options { session_timeout: Millis(60_000), ..Options::default() });
    world.restart();
    world.pass(59_999);
    assert!(world.is_member("a"));
    world.pass(1);
    assert!(!world.is_member("a"));
}

#[test]
fn offsets_that_are_not_there_are_deleted_without_a_record() {
    let mut world = world(Options::default());
    beat(&mut world, -1);
    let mut delete = |topic: &str| {
        let mut step = Step::default();
        let names = [topic.into()];
        let deleting = world.shard.share_delete_offsets("g", &names, &world.topics, &mut step).unwrap();
        let count = step.changes.len();
        world.take(step);
        (deleting.partitions.len(), count)
    };
    assert_eq!(delete("unknown"), (0, 0));
    assert_eq!(delete("t"), (1, 1));
    assert_eq!(delete("t"), (1, 0), "it is being deleted already");
}
