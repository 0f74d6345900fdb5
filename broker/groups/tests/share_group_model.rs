//! Members of a share group that come, go and fall silent, topics that change, states that are made late or
//! not, and restarts in between: what is in the log is the whole group, and once all is quiet every
//! partition that has a state has somebody who works on it.

mod common;

use common::World;
use flumen_groups::GroupError;
use flumen_groups::group::Step;
use flumen_groups::share::{Group, Heartbeat, Options, Partitions};
use flumen_types::PartitionId;
use proptest::prelude::*;

const MEMBERS: usize = 4;
const SUBSCRIPTIONS: [&[&str]; 3] = [&["t"], &["t", "u"], &["u"]];
const TOPICS: [&[(&str, i32)]; 2] = [&[("t", 5), ("u", 2)], &[("t", 7), ("u", 2)]];

#[derive(Clone, Debug)]
enum Do {
    Beat(usize),
    Leave(usize),
    Subscribe(usize, usize),
    /// The states that were asked for are made, or cannot be.
    Make(bool),
    /// A topic has more partitions.
    Grow,
    Pass(i64),
    Restart,
}

struct Model {
    world: World,
    epochs: [i32; MEMBERS],
    subscriptions: [usize; MEMBERS],
    asked: Partitions,
}

impl Model {
    fn new() -> Self {
        let mut world = World::default();
        world.set_topics(TOPICS[0]);
        let asked = Partitions::new();
        Model { world, epochs: [0; MEMBERS], subscriptions: [0; MEMBERS], asked }
    }

    fn step(&mut self, step: &Do) {
        match *step {
            Do::Beat(n) => self.beat(n, self.epochs[n]),
            Do::Leave(n) => self.beat(n, -1),
            Do::Subscribe(n, subscription) => self.subscriptions[n] = subscription,
            Do::Make(done) => self.make(done),
            Do::Grow => self.world.set_topics(TOPICS[1]),
            Do::Pass(millis) => self.pass(millis),
            Do::Restart => self.restart(),
        }
    }

    fn beat(&mut self, n: usize, epoch: i32) {
        let topics = SUBSCRIPTIONS[self.subscriptions[n]].iter().map(ToString::to_string).collect();
        let beat =
            Heartbeat { member_id: format!("m{n}"), epoch, topics: Some(topics), ..Heartbeat::default() };
        let mut step = Step::default();
        let (topics, now) = (self.world.topics.clone(), self.world.now);
        let options = Options::default();
        let answer = self.world.shard.share_heartbeat("g", &beat, &topics, now, &options, &mut step);
        self.world.take(step);
        match answer {
            Ok(answer) => {
                self.epochs[n] = answer.epoch.max(0);
                if let Some((_, which)) = answer.initialize {
                    self.asked = which;
                }
            }
            Err(refused) => {
                let error = refused.error;
                let gone = [GroupError::UnknownMember, GroupError::GroupIdNotFound];
                assert!(gone.contains(&error) || error == GroupError::FencedMemberEpoch, "{refused:?}");
                self.epochs[n] = 0;
            }
        }
    }

    fn make(&mut self, done: bool) {
        let mut step = Step::default();
        self.world.shard.share_initialized("g", &std::mem::take(&mut self.asked), done, &mut step);
        self.world.take(step);
    }

    fn pass(&mut self, millis: i64) {
        self.world.now.0 += millis;
        let topics = self.world.topics.clone();
        let step = self.world.shard.tick(&topics, self.world.now);
        self.world.take(step);
    }

    fn group(&self) -> Option<&Group> {
        self.world.shard.get("g").and_then(|kept| kept.group.share())
    }

    fn restart(&mut self) {
        let lasting = |group: Option<&Group>| group.map(|group| format!("{:?}", group.lasting()));
        let before = lasting(self.group());
        self.world.restart();
        assert_eq!(lasting(self.group()), before);
    }

    /// All that are there come often enough that nothing is left to be done.
    fn settle(&mut self) {
        for _ in 0..6 {
            (0..MEMBERS).for_each(|n| self.beat(n, self.epochs[n]));
            self.make(true);
            self.pass(2_000);
        }
        let group = self.group().expect("all are members");
        assert_eq!(group.members().count(), MEMBERS);
        for (topic, named) in group.initialized() {
            let is_wanted = self.subscriptions.iter().any(|n| SUBSCRIPTIONS[*n].contains(&&*named.name));
            for partition in &named.partitions {
                let mut workers = group.members().map(|member| group.target(&member.id));
                let has_worker = workers.any(|target| target.contains(&(topic, PartitionId(*partition))));
                assert_eq!(has_worker, is_wanted, "{} {partition}", named.name);
            }
        }
    }
}

fn any_step() -> impl Strategy<Value = Do> {
    let member = 0..MEMBERS;
    prop_oneof![
        8 => member.clone().prop_map(Do::Beat),
        1 => member.clone().prop_map(Do::Leave),
        2 => (member, 0..SUBSCRIPTIONS.len()).prop_map(|(n, to)| Do::Subscribe(n, to)),
        4 => prop::bool::weighted(0.8).prop_map(Do::Make),
        1 => Just(Do::Grow),
        3 => (0..50_000_i64).prop_map(Do::Pass),
        2 => Just(Do::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_log_is_the_group_and_every_partition_has_a_worker(
        steps in prop::collection::vec(any_step(), 1..80),
    ) {
        let mut model = Model::new();
        steps.iter().for_each(|step| model.step(step));
        model.restart();
        model.settle();
        model.restart();
    }
}
