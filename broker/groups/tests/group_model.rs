//! Thousands of random steps of clients that come, work, fall silent and go, and restarts in between;
//! after each step the promises of `group/mod.rs` hold.

mod common;

use std::collections::BTreeMap;

use common::{World, join, sync};
use flumen_groups::GroupError;
use flumen_groups::group::{Join, Options, Reply, State, Waiter};
use flumen_types::Millis;
use proptest::prelude::*;

const CLIENTS: usize = 5;

#[derive(Clone, Debug)]
enum Do {
    /// What the client would do next: join, sync, heartbeat.
    GoOn(usize),
    /// Its requests are lost and it begins anew, forgetting its id.
    Forget(usize),
    /// It joins again as it is.
    Rejoin(usize),
    Leave(usize),
    Pass(i64),
    Restart,
}

#[derive(Clone, Debug, Default)]
struct Client {
    member_id: String,
    generation: i32,
    phase: Phase,
}

#[derive(Clone, Debug, Default)]
enum Phase {
    #[default]
    Out,
    Joining(Waiter),
    Joined(Vec<String>),
    Syncing(Waiter),
    Member,
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let client = 0..CLIENTS;
    let step = prop_oneof![
        12 => client.clone().prop_map(Do::GoOn),
        1 => client.clone().prop_map(Do::Forget),
        1 => client.clone().prop_map(Do::Rejoin),
        1 => client.prop_map(Do::Leave),
        4 => (1..7_000i64).prop_map(Do::Pass),
        1 => (7_000..70_000i64).prop_map(Do::Pass),
        1 => Just(Do::Restart).prop_filter("rare", |_| true),
    ];
    proptest::collection::vec(step, 1..400)
}

struct Run {
    world: World,
    clients: Vec<Client>,
    drawn: usize,
    is_static: bool,
}

impl Run {
    fn new(is_static: bool, delay: i64) -> Self {
        let options = Options { initial_rebalance_delay: Millis(delay), ..Options::default() };
        Run { world: World::new(options), clients: vec![Client::default(); CLIENTS], drawn: 0, is_static }
    }

    fn step(&mut self, step: &Do) {
        match *step {
            Do::GoOn(client) => self.go_on(client),
            Do::Forget(client) => self.clients[client] = Client::default(),
            Do::Rejoin(client) => self.join(client),
            Do::Leave(client) => {
                let left = self.world.leave(&self.clients[client].member_id.clone());
                if left.is_ok() {
                    self.clients[client] = Client::default();
                }
            }
            Do::Pass(millis) => self.world.pass(millis),
            Do::Restart => {
                self.world.restart();
                self.world.replies.clear();
                for client in &mut self.clients {
                    if !matches!(client.phase, Phase::Member) {
                        client.phase = Phase::Out;
                    }
                }
            }
        }
        self.hear();
        self.check();
    }

    fn join(&mut self, client: usize) {
        self.drawn += 1;
        let member_id = self.clients[client].member_id.clone();
        let instance_id = (self.is_static && client < 2).then(|| format!("i{client}"));
        let request = Join {
            instance_id,
            requires_member_id: true,
            ..join(&member_id, &format!("{client}.{}", self.drawn))
        };
        let waiter = self.world.ask_join(request);
        self.clients[client].phase = Phase::Joining(waiter);
    }

    fn go_on(&mut self, client: usize) {
        let state = self.clients[client].clone();
        match state.phase {
            Phase::Out => self.join(client),
            Phase::Joining(_) | Phase::Syncing(_) => {}
            Phase::Joined(members) => {
                let assignments: Vec<_> = members.iter().map(|id| (id.as_str(), id.as_str())).collect();
                let waiter = self.world.ask_sync(sync(&state.member_id, state.generation, &assignments));
                self.clients[client].phase = Phase::Syncing(waiter);
            }
            Phase::Member => match self.world.heartbeat(&state.member_id, state.generation) {
                Ok(()) => {}
                Err(GroupError::RebalanceInProgress) => self.join(client),
                Err(_) => self.clients[client] = Client::default(),
            },
        }
    }

    /// Lets the clients hear their answers.
    fn hear(&mut self) {
        for client in &mut self.clients {
            let waiter = match client.phase {
                Phase::Joining(waiter) | Phase::Syncing(waiter) => waiter,
                _ => continue,
            };
            match self.world.replies.remove(&waiter) {
                None => {}
                Some(Reply::Join(Ok(joined))) => {
                    let members = joined.members.iter().map(|member| member.member_id.to_string());
                    client.member_id = joined.member_id.to_string();
                    client.generation = joined.generation;
                    client.phase = Phase::Joined(members.collect());
                }
                Some(Reply::Join(Err(refused))) => {
                    let keeps_id = refused.error == GroupError::MemberIdRequired;
                    *client = Client::default();
                    if keeps_id {
                        client.member_id = refused.member_id.to_string();
                    }
                }
                Some(Reply::Sync(Ok(synced))) => {
                    // The assignment was made for this member, or (it skipped that) for its former self.
                    assert!(!synced.assignment.is_empty(), "a member of a generation has an assignment");
                    client.phase = Phase::Member;
                }
                Some(Reply::Sync(Err(GroupError::RebalanceInProgress))) => client.phase = Phase::Out,
                Some(Reply::Sync(Err(_))) => *client = Client::default(),
            }
        }
    }

    fn check(&self) {
        let Some(kept) = self.world.shard.get("g") else { return };
        let group = kept.group.classic().expect("nobody speaks the newer protocol");
        let leader = group.leader();
        match group.state() {
            State::Empty => assert!(group.is_empty() && leader.is_none(), "{group:?}"),
            State::PreparingRebalance => {}
            State::CompletingRebalance | State::Stable => {
                let leader = leader.expect("a generation has a leader");
                assert!(group.member(leader).is_some(), "the leader {leader} is a member: {group:?}");
            }
        }
        if group.state() == State::Stable {
            assert!(group.members().all(|member| !member.assignment.is_empty()), "{group:?}");
        }
        let mut instances = BTreeMap::new();
        for member in group.members() {
            if let Some(instance) = &member.instance_id {
                assert!(instances.insert(instance.clone(), &member.id).is_none(), "{instance} twice");
            }
        }
        let due = group.next_deadline();
        assert!(due.is_none_or(|due| due > self.world.now), "what is due is done: {group:?}");
    }

    /// No member is lost: those that keep at it end up in one stable generation.
    fn comes_to_rest(&mut self) {
        for _ in 0..2_000 {
            for client in 0..CLIENTS {
                self.step(&Do::GoOn(client));
            }
            if self.at_rest() {
                return;
            }
            self.step(&Do::Pass(1_000));
        }
        panic!("not at rest: {:?}\n{:?}", self.clients, self.world.shard.get("g"));
    }

    fn at_rest(&self) -> bool {
        let Some(group) = self.world.shard.get("g").and_then(|kept| kept.group.classic()) else {
            return false;
        };
        group.state() == State::Stable
            && group.members().count() == CLIENTS
            && self.clients.iter().all(|client| {
                matches!(client.phase, Phase::Member)
                    && client.generation == group.generation()
                    && group.member(&client.member_id).is_some()
            })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_group_keeps_its_promises(steps in steps(), is_static in any::<bool>(), delay in prop_oneof![Just(0), Just(3_000)]) {
        let mut run = Run::new(is_static, delay);
        for step in &steps {
            run.step(step);
        }
        run.comes_to_rest();
    }
}
