//! Thousands of random steps of clients of the consumer protocol that come, work, lose answers, fall
//! silent and go, of topics that change, and of restarts in between; after each step the promises of
//! `consumer/mod.rs` hold.
//!
//! A client may use a partition from the moment it hears of it until it has given it back, or knows that
//! it must be fenced by now: it has had no answer for as long as its session, or has not been quit of
//! what it must give back for as long as its rebalance timeout.

mod common;

use std::collections::BTreeSet;

use common::{World, first_beat};
use flumen_groups::GroupError;
use flumen_groups::consumer::{Answer, Assignment, Heartbeat, Options as ConsumerOptions, State};
use flumen_groups::group::Options;
use flumen_types::{Millis, Timestamp};
use proptest::prelude::*;

const CLIENTS: usize = 5;
const SESSION: i64 = 45_000;
const REBALANCE: i64 = 60_000;

#[derive(Clone, Debug)]
enum Do {
    /// A heartbeat, and its answer is heard.
    Beat(usize),
    /// A heartbeat whose answer is lost.
    Lose(usize),
    /// Gives back what it has to.
    GiveBack(usize),
    Leave(usize),
    /// Falls over and begins anew.
    Crash(usize),
    Subscribe(usize, usize),
    Topics(usize),
    Pass(i64),
    Restart,
}

#[derive(Clone, Debug)]
struct Client {
    n: usize,
    /// How often it has begun anew: each life has another id.
    life: usize,
    epoch: i32,
    /// What it uses.
    held: Assignment,
    /// What it was told to have; what is not in here it must give back.
    told: Assignment,
    heard_at: Timestamp,
    /// When it last heard that it has nothing to give back.
    quit_at: Timestamp,
    /// The next heartbeat says everything.
    full: bool,
    subscription: usize,
}

/// By regular expression or by name.
const SUBSCRIPTIONS: [(&[&str], &str); 4] =
    [(&["t", "u"], ""), (&["t"], ""), (&[], "t|u"), (&["u", "x"], "v.*")];
const TOPICS: [&[(&str, i32)]; 5] =
    [&[("t", 5), ("u", 3)], &[("t", 7), ("u", 3)], &[("t", 7)], &[("t", 7), ("u", 4), ("v1", 2)], &[]];

impl Client {
    fn id(&self) -> String {
        format!("m{}-{}", self.n, self.life)
    }

    /// The first client is static.
    fn instance(&self) -> Option<String> {
        (self.n == 0).then(|| "i0".to_string())
    }

    fn heartbeat(&self) -> Heartbeat {
        let (topics, regex) = SUBSCRIPTIONS[self.subscription];
        let full = self.full || self.epoch == 0;
        let says = |yes: bool| yes.then(|| self.held.clone());
        Heartbeat {
            member_id: self.id(),
            epoch: self.epoch,
            instance_id: self.instance(),
            rebalance_timeout: full.then_some(Millis(REBALANCE)),
            topics: full.then(|| topics.iter().map(ToString::to_string).collect()),
            regex: full.then(|| regex.to_string()),
            owned: says(full || self.held.is_subset(&self.told)),
            ..first_beat("")
        }
    }

    fn hear(&mut self, answer: &Answer, now: Timestamp) {
        self.epoch = answer.epoch;
        self.heard_at = now;
        self.full = false;
        if let Some(assigned) = &answer.assigned {
            self.told = assigned.clone();
            // New ones can be used at once, those that are gone only until it gives them back.
            self.held.extend(assigned.iter().copied());
        }
        if self.held.is_subset(&self.told) {
            self.quit_at = now;
        }
    }

    fn must_be_fenced(&self, now: Timestamp) -> bool {
        now.since(self.heard_at) >= SESSION || now.since(self.quit_at) >= REBALANCE
    }

    fn abandon(&mut self) {
        self.epoch = 0;
        self.held.clear();
        self.told.clear();
        self.full = true;
    }
}

struct Model {
    world: World,
    clients: Vec<Client>,
}

impl Model {
    fn new(interval: i64) -> Self {
        let consumer =
            ConsumerOptions { assignment_interval: Millis(interval), ..ConsumerOptions::default() };
        let mut world = World::new(Options { consumer, ..Options::default() });
        world.set_topics(TOPICS[0]);
        let client = |n| Client {
            n,
            life: 0,
            epoch: 0,
            held: Assignment::new(),
            told: Assignment::new(),
            heard_at: Timestamp(0),
            quit_at: Timestamp(0),
            full: true,
            subscription: 0,
        };
        Model { clients: (0..CLIENTS).map(client).collect(), world }
    }

    fn step(&mut self, step: &Do) {
        match *step {
            Do::Beat(n) => self.beat(n),
            Do::Lose(n) => {
                let beat = self.clients[n].heartbeat();
                let _ = self.world.beat(&beat);
                self.clients[n].full = true;
            }
            Do::GiveBack(n) => {
                let told = self.clients[n].told.clone();
                self.clients[n].held.retain(|place| told.contains(place));
            }
            Do::Leave(n) => self.leave(n),
            Do::Crash(n) => {
                self.clients[n].abandon();
                self.clients[n].life += 1;
            }
            Do::Subscribe(n, subscription) => {
                self.clients[n].subscription = subscription;
                self.clients[n].full = true;
            }
            Do::Topics(n) => self.world.set_topics(TOPICS[n]),
            Do::Pass(millis) => self.pass(millis),
            Do::Restart => self.restart(),
        }
        self.check();
    }

    fn beat(&mut self, n: usize) {
        let now = self.world.now;
        let client = &mut self.clients[n];
        match self.world.beat(&client.heartbeat()) {
            Ok(answer) => client.hear(&answer, now),
            Err(refused) => match refused.error {
                GroupError::FencedMemberEpoch | GroupError::UnknownMember => client.abandon(),
                // A former life of it still has its place, or nobody is there to join.
                GroupError::UnreleasedInstance | GroupError::GroupIdNotFound => client.abandon(),
                error => panic!("{error:?}: {}", refused.text),
            },
        }
    }

    fn leave(&mut self, n: usize) {
        let client = &mut self.clients[n];
        client.abandon();
        let epoch = if client.n == 0 { -2 } else { -1 };
        let beat = Heartbeat {
            member_id: client.id(),
            epoch,
            instance_id: client.instance(),
            ..Heartbeat::default()
        };
        let _ = self.world.beat(&beat);
        client.life += 1;
    }

    fn pass(&mut self, millis: i64) {
        self.world.pass(millis);
        let now = self.world.now;
        for client in &mut self.clients {
            if client.epoch > 0 && client.must_be_fenced(now) {
                client.abandon();
            }
        }
    }

    fn restart(&mut self) {
        let before = self.world.shard.get("g").map(|kept| kept.group.consumer().unwrap().clone());
        self.world.restart();
        let after = self.world.shard.get("g").map(|kept| kept.group.consumer().unwrap());
        match (&before, after) {
            (Some(before), Some(after)) => {
                assert!(before.lasting() == after.lasting(), "{:?}\n{:?}", before.lasting(), after.lasting())
            }
            (before, after) => assert!(before.is_none() && after.is_none()),
        }
    }

    fn check(&self) {
        let mut used = BTreeSet::new();
        for client in &self.clients {
            for place in &client.held {
                assert!(used.insert(*place), "{place:?} is used twice: {:?}", self.clients);
            }
        }
        let Some(group) = self.world.shard.get("g").and_then(|kept| kept.group.consumer()) else { return };
        let mut owned = BTreeSet::new();
        for member in group.members() {
            for place in member.current.places() {
                assert!(owned.insert(*place), "{place:?} is owned twice");
            }
            let current = &member.current;
            assert!(member.is_away() || current.epoch <= group.assignment_epoch(), "{member:?}");
        }
        assert!(group.assignment_epoch() <= group.epoch());
    }

    /// Everybody does what it should; then each has its even share and nothing is left over.
    fn settle(&mut self) {
        self.step(&Do::Topics(0));
        self.step(&Do::Pass(SESSION));
        for n in 0..CLIENTS {
            self.step(&Do::Subscribe(n, 0));
        }
        for _ in 0..40 {
            for n in 0..CLIENTS {
                self.step(&Do::Beat(n));
                self.step(&Do::GiveBack(n));
            }
            self.step(&Do::Pass(5_000));
        }
        let group = self.world.group();
        assert_eq!(group.state(), State::Stable, "{group:#?}");
        let mut loads: Vec<_> = self.clients.iter().map(|client| client.held.len()).collect();
        loads.sort_unstable();
        assert_eq!(loads, [1, 1, 2, 2, 2], "{:#?}", self.clients);
        self.restart();
    }
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let client = 0..CLIENTS;
    let step = prop_oneof![
        16 => client.clone().prop_map(Do::Beat),
        6 => client.clone().prop_map(Do::GiveBack),
        2 => client.clone().prop_map(Do::Lose),
        1 => client.clone().prop_map(Do::Leave),
        1 => client.clone().prop_map(Do::Crash),
        2 => (client, 0..SUBSCRIPTIONS.len()).prop_map(|(n, s)| Do::Subscribe(n, s)),
        1 => (0..TOPICS.len()).prop_map(Do::Topics),
        4 => (1..6_000i64).prop_map(Do::Pass),
        1 => (6_000..60_000i64).prop_map(Do::Pass),
        1 => Just(Do::Restart),
    ];
    proptest::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_is_used_by_one_and_all_find_their_share(
        steps in steps(),
        interval in prop_oneof![Just(0), Just(1_000)],
    ) {
        let mut model = Model::new(interval);
        for step in &steps {
            model.step(step);
        }
        model.settle();
    }
}
