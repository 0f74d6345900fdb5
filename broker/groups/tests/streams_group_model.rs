//! Members of a streams group that come, go, fall silent, lose answers and give back late, topics that are made
//! or grow, and restarts in between: nobody works on what another works on, no process has a task twice, what
//! is in the log is the whole group, and once all is quiet every task has its member.

mod common;

use common::World;
use common::streams::{beating, joining};
use flumen_groups::GroupError;
use flumen_groups::streams::{Answer, Group, Options, State, Task, Tasks};
use flumen_types::Millis;
use proptest::prelude::*;

const MEMBERS: usize = 4;
/// Members 0 and 1 are one process.
const PROCESSES: [&str; MEMBERS] = ["p", "p", "q", "r"];
const TOPICS: [&[(&str, i32)]; 4] = [&[], &[("in", 3)], &[("in", 3), ("log", 3)], &[("in", 5), ("log", 5)]];

#[derive(Clone, Debug)]
enum Do {
    Beat(usize),
    /// The answer is lost.
    Lose(usize),
    /// It does as it was told: gives back, and begins with what is new.
    Adopt(usize),
    Leave(usize),
    Topics(usize),
    Standbys(usize),
    Pass(i64),
    Restart,
}

#[derive(Clone, Debug, Default)]
struct Client {
    epoch: i32,
    /// What it works on.
    owned: Tasks,
    told: Tasks,
    /// An answer was lost that Kafka's protocol does not repeat.
    missed: bool,
}

impl Client {
    fn may_work_on(&self, task: &Task) -> bool {
        [&self.owned, &self.told].iter().any(|tasks| tasks.active.contains(task))
    }

    fn may_have(&self, task: &Task) -> bool {
        [&self.owned, &self.told].iter().any(|tasks| tasks.all().any(|held| held == task))
    }
}

struct Model {
    world: World,
    clients: [Client; MEMBERS],
    options: Options,
}

impl Model {
    fn new() -> Self {
        let options = Options { initial_rebalance_delay: Millis(3_000), ..Options::default() };
        Model { world: World::default(), clients: Default::default(), options }
    }

    fn step(&mut self, step: &Do) {
        match *step {
            Do::Beat(n) => {
                let answer = self.beat(n);
                self.hear(n, answer);
            }
            Do::Lose(n) => {
                self.step(&Do::Adopt(n));
                match self.beat(n) {
                    Ok(_) => self.clients[n].missed = true,
                    Err(()) => self.clients[n] = Client::default(),
                }
            }
            Do::Adopt(n) => self.clients[n].owned = self.clients[n].told.clone(),
            Do::Leave(n) => self.leave(n),
            Do::Topics(n) => self.world.set_topics(TOPICS[n]),
            Do::Standbys(count) => self.options.standby_replicas = count,
            Do::Pass(millis) => self.world.pass(millis),
            Do::Restart => self.restart(),
        }
        self.check();
    }

    fn beat(&mut self, n: usize) -> Result<Answer, ()> {
        let client = &self.clients[n];
        let beat = match client.epoch {
            0 => joining(&format!("m{n}"), PROCESSES[n]),
            epoch => beating(&format!("m{n}"), epoch, &client.owned),
        };
        let answer = self.world.streams_beat(&beat, &self.options);
        answer.map_err(|refused| {
            let expected =
                [GroupError::UnknownMember, GroupError::GroupIdNotFound, GroupError::FencedMemberEpoch];
            // Of a task that is no more since the topics are others.
            let is_late = refused.error == GroupError::InvalidRequest && refused.text.starts_with("Task ");
            assert!(is_late || expected.contains(&refused.error), "{refused:?}");
        })
    }

    fn hear(&mut self, n: usize, answer: Result<Answer, ()>) {
        let client = &mut self.clients[n];
        match answer {
            Ok(answer) => {
                client.epoch = answer.epoch;
                client.told = answer.assigned.unwrap_or_else(|| client.told.clone());
            }
            Err(()) => *client = Client::default(),
        }
    }

    fn leave(&mut self, n: usize) {
        self.clients[n] = Client::default();
        let _ = self.world.streams_beat(&beating(&format!("m{n}"), -1, &Tasks::default()), &self.options);
    }

    fn group(&self) -> Option<&Group> {
        self.world.streams()
    }

    fn restart(&mut self) {
        let lasting = |group: Option<&Group>| group.map(|group| format!("{:?}", group.lasting()));
        let before = lasting(self.group());
        self.world.restart();
        assert_eq!(lasting(self.group()), before);
    }

    fn check(&self) {
        let Some(group) = self.group() else { return };
        // Who was taken out does not know it yet; what it commits is refused.
        let live = |n: &usize| self.clients[*n].epoch > 0 && group.member(&format!("m{n}")).is_some();
        let live: Vec<usize> = (0..MEMBERS).filter(live).collect();
        for task in (0..5).map(|n| Task::new("0", n)) {
            let workers = live.iter().filter(|n| self.clients[**n].may_work_on(&task));
            assert!(workers.count() <= 1, "{task:?}: {:?}", self.clients);
            for process in PROCESSES {
                let own = live.iter().filter(|n| PROCESSES[**n] == process);
                let holders = own.filter(|n| self.clients[**n].may_have(&task));
                assert!(holders.count() <= 1, "{task:?} in {process}: {:?}", self.clients);
            }
        }
    }

    /// All come often enough that nothing is left to be done.
    fn settle(&mut self) {
        self.world.set_topics(TOPICS[3]);
        (0..MEMBERS)
            .filter(|n| self.clients[*n].missed)
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|n| self.leave(n));
        for _ in 0..12 {
            for n in 0..MEMBERS {
                self.step(&Do::Beat(n));
                self.step(&Do::Adopt(n));
            }
            self.step(&Do::Pass(2_000));
        }
        let group = self.group().expect("all are members");
        assert_eq!(group.state(), State::Stable);
        for task in (0..5).map(|n| Task::new("0", n)) {
            let active = self.clients.iter().filter(|client| client.owned.active.contains(&task)).count();
            let standby = self.clients.iter().filter(|client| client.owned.standby.contains(&task)).count();
            assert_eq!((active, standby), (1, self.options.standby_replicas), "{task:?}");
        }
    }
}

fn any_step() -> impl Strategy<Value = Do> {
    let member = 0..MEMBERS;
    prop_oneof![
        8 => member.clone().prop_map(Do::Beat),
        2 => member.clone().prop_map(Do::Lose),
        5 => member.clone().prop_map(Do::Adopt),
        1 => member.prop_map(Do::Leave),
        1 => (0..TOPICS.len()).prop_map(Do::Topics),
        1 => (0..3_usize).prop_map(Do::Standbys),
        3 => prop_oneof![4 => 0..4_000_i64, 1 => 0..70_000_i64].prop_map(Do::Pass),
        2 => Just(Do::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn nobody_works_on_anothers_task_and_the_log_is_the_group(
        topics in 0..TOPICS.len(),
        steps in prop::collection::vec(any_step(), 1..100),
    ) {
        let mut model = Model::new();
        model.step(&Do::Topics(topics));
        steps.iter().for_each(|step| model.step(step));
        model.restart();
        model.settle();
        model.restart();
    }
}
