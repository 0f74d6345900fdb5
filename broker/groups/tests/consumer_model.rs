//! Thousands of random steps of clients of the consumer protocol that come, work, lose answers, fall
//! silent and go, of topics that change, and of restarts in between; after each step the promises of
//! `consumer/mod.rs` hold.
//!
//! A client may use a partition from the moment it hears of it until it has given it back, or knows that
//! it must be fenced by now: it has had no answer for as long as its session, or has not been quit of
//! what it must give back for as long as its rebalance timeout.

mod common;

use std::collections::BTreeSet;

use bytes::Bytes;
use common::classic::{assigned, assignment, subscription};
use common::{World, first_beat, join, sync, topic_id};
use flumen_groups::GroupError;
use flumen_groups::consumer::{
    Answer, Assignment, Heartbeat, Options as ConsumerOptions, State, TopicImage, TopicShape,
};
use flumen_groups::group::{Join, Joined, Options, Reply, Waiter};
use flumen_types::{Millis, Timestamp, TopicId};
use proptest::prelude::*;

const CLIENTS: usize = 5;
/// This one speaks the classic protocol, so that the group goes over and back.
const CLASSIC: usize = 4;
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
    /// A join of the classic protocol that waits for others.
    joining: Option<Waiter>,
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

    /// An answer that says nothing new.
    fn hear_again(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.quit_at = now;
    }

    /// From the first time on that it is told.
    fn must_rejoin(&mut self, now: Timestamp) {
        self.heard_at = now;
        self.full = true;
    }

    /// The numbers of the partitions of a topic that it uses.
    fn numbers(&self, topic: TopicId) -> Vec<i32> {
        self.held.iter().filter(|place| place.0 == topic).map(|place| place.1.0).collect()
    }

    fn must_be_fenced(&self, now: Timestamp) -> bool {
        now.since(self.heard_at) >= SESSION || now.since(self.quit_at) >= REBALANCE
    }

    fn abandon(&mut self) {
        self.epoch = 0;
        self.held.clear();
        self.told.clear();
        self.full = true;
        self.joining = None;
    }
}

struct Model {
    world: World,
    clients: Vec<Client>,
    /// How many changes of topics there have been.
    changes: u8,
}

impl Model {
    fn new(interval: i64) -> Self {
        let consumer =
            ConsumerOptions { assignment_interval: Millis(interval), ..ConsumerOptions::default() };
        let options = Options { consumer, initial_rebalance_delay: Millis(0), ..Options::default() };
        let mut world = World::new(options);
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
            joining: None,
        };
        Model { clients: (0..CLIENTS).map(client).collect(), world, changes: 0 }
    }

    fn step(&mut self, step: &Do) {
        match *step {
            Do::Beat(n) => self.beat(n),
            Do::Lose(CLASSIC) => self.classic_turn(false),
            Do::Lose(n) => {
                let beat = self.clients[n].heartbeat();
                let _ = self.world.beat(&beat);
                self.clients[n].full = true;
            }
            Do::GiveBack(n) => {
                let client = &mut self.clients[n];
                // A classic client rejoins to say so.
                client.full |= n == CLASSIC && !client.held.is_subset(&client.told);
                client.held.retain(|place| client.told.contains(place));
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
            Do::Topics(n) => self.set_topics(TOPICS[n]),
            Do::Pass(millis) => self.pass(millis),
            Do::Restart => self.restart(),
        }
        self.check();
    }

    /// A topic that comes back under its name has another id.
    fn set_topics(&mut self, topics: &[(&str, i32)]) {
        self.changes = self.changes.wrapping_add(1);
        let before = self.world.topics.clone();
        let shapes = topics.iter().map(|(name, partitions)| {
            let mut new_id = topic_id(name).to_bytes();
            new_id[15] = self.changes;
            let id = before.get(name).map_or(TopicId::from_bytes(new_id), |shape| shape.id);
            ((*name).into(), TopicShape { id, partitions: *partitions })
        });
        self.world.topics = TopicImage::new(before.version() + 1, shapes);
    }

    fn id_of(&self, topic: &str) -> Option<TopicId> {
        self.world.topics.get(topic).map(|shape| shape.id)
    }

    fn beat(&mut self, n: usize) {
        if n == CLASSIC {
            return self.classic_turn(true);
        }
        let now = self.world.now;
        let client = &mut self.clients[n];
        match self.world.beat(&client.heartbeat()) {
            Ok(answer) => client.hear(&answer, now),
            Err(refused) => match refused.error {
                GroupError::FencedMemberEpoch | GroupError::UnknownMember => client.abandon(),
                // A former life of it still has its place, nobody is there to join, or it has been taken
                // out and the group is a classic one.
                GroupError::UnreleasedInstance | GroupError::GroupIdNotFound => client.abandon(),
                error => panic!("{error:?}: {}", refused.text),
            },
        }
    }

    /// A heartbeat, or what it takes to join again; cooperatively, as librdkafka and Java do.
    fn classic_turn(&mut self, heard: bool) {
        let now = self.world.now;
        let client = &self.clients[CLASSIC];
        let (id, epoch) = (client.id(), client.epoch);
        if epoch > 0 && !client.full {
            match self.world.heartbeat(&id, epoch) {
                Ok(()) if heard => self.clients[CLASSIC].hear_again(now),
                Err(GroupError::RebalanceInProgress) if heard => self.clients[CLASSIC].must_rejoin(now),
                Err(GroupError::UnknownMember | GroupError::IllegalGeneration) if heard => {
                    self.clients[CLASSIC].abandon();
                }
                _ => {}
            }
            return;
        }
        if client.joining.is_some() {
            return self.classic_joined();
        }
        let (topics, _) = SUBSCRIPTIONS[client.subscription];
        // It gives back what it consumes no longer before it joins.
        let consumed: Vec<_> = topics.iter().filter_map(|topic| Some((*topic, self.id_of(topic)?))).collect();
        let client = &mut self.clients[CLASSIC];
        client.held.retain(|(topic, _)| consumed.iter().any(|(_, id)| id == topic));
        let held: Vec<_> = consumed.iter().map(|(topic, id)| (*topic, client.numbers(*id))).collect();
        let metadata = subscription(&held);
        let member_id = if self.world.is_member(&id) { id.clone() } else { String::new() };
        // Whoever has lost its place has lost its partitions.
        let metadata = if member_id.is_empty() { subscription(&held_by_nobody(topics)) } else { metadata };
        if member_id.is_empty() {
            self.clients[CLASSIC].abandon();
        }
        let asked = self.world.ask_join(Join {
            session_timeout: Millis(SESSION),
            rebalance_timeout: Millis(REBALANCE),
            client_id: "m4".into(),
            protocols: vec![("cooperative-sticky".into(), metadata)],
            ..join(&member_id, &self.clients[CLASSIC].life.to_string())
        });
        self.clients[CLASSIC].full = true;
        self.clients[CLASSIC].joining = heard.then_some(asked);
        self.classic_joined();
    }

    /// Goes on if the join is answered: it may have to wait for a former life of the client.
    fn classic_joined(&mut self) {
        let Some(asked) = self.clients[CLASSIC].joining else { return };
        let Some(Reply::Join(answer)) = self.world.replies.remove(&asked) else { return };
        self.clients[CLASSIC].joining = None;
        // Refused: the group has gone over meanwhile, and it joins again.
        let Ok(joined) = answer else { return };
        self.classic_sync(&joined);
    }

    fn classic_sync(&mut self, joined: &Joined) {
        let (topics, _) = SUBSCRIPTIONS[self.clients[CLASSIC].subscription];
        let mut told = sync(&joined.member_id, joined.generation, &[]);
        if joined.leader == joined.member_id {
            told.assignments = vec![(joined.member_id.to_string(), self.all_of(topics))];
        }
        let asked = self.world.ask_sync(told);
        let Some(Reply::Sync(Ok(synced))) = self.world.replies.remove(&asked) else { return };
        let answer = Answer {
            member_id: joined.member_id.clone(),
            epoch: joined.generation,
            heartbeat_interval: Millis(0),
            assigned: Some(assigned(&synced.assignment, |topic| self.id_of(topic))),
        };
        self.clients[CLASSIC].hear(&answer, self.world.now);
    }

    /// What the only member of a classic group gives itself.
    fn all_of(&self, topics: &[&str]) -> Bytes {
        let shapes =
            topics.iter().filter_map(|topic| Some((*topic, self.world.topics.get(topic)?.partitions)));
        assignment(&shapes.map(|(topic, count)| (topic, (0..count).collect())).collect::<Vec<_>>())
    }

    fn leave(&mut self, n: usize) {
        let client = &mut self.clients[n];
        client.abandon();
        if n == CLASSIC {
            let _ = self.world.leave(&client.id());
            client.life += 1;
            return;
        }
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
        let before = self.world.shard.get("g").and_then(|kept| kept.group.consumer()).cloned();
        self.world.restart();
        // Its connection has ended with the broker, and what it asked for there.
        self.clients[CLASSIC].joining = None;
        let after = self.world.shard.get("g").and_then(|kept| kept.group.consumer());
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

fn held_by_nobody<'a>(topics: &[&'a str]) -> Vec<(&'a str, Vec<i32>)> {
    topics.iter().map(|topic| (*topic, Vec::new())).collect()
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
