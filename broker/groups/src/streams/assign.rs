//! The sticky assignor: every task has one member that works on it, processes bear even loads, and members
//! keep what they had as far as that leaves these even. Tasks with state get their standby replicas, each in
//! a process of its own.
//!
//! ```text
//!   active:   to who was active on it --> to who stood by --> to the process with the least load
//!   standby:  to who was active on it --> to who stood by --> to the process with the least load
//! ```

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Task, TaskSet, Tasks};

/// A member, as the assignor sees it.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidate {
    pub(super) process_id: Arc<str>,
    /// What it was to have.
    pub(super) had: Tasks,
}

/// A subtopology, as the assignor sees it.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) subtopology: Arc<str>,
    pub(super) tasks: i32,
    pub(super) has_state: bool,
}

/// What each member is to have.
pub(super) fn assign(
    members: &BTreeMap<Arc<str>, Candidate>,
    work: &[Work],
    standby_replicas: usize,
) -> BTreeMap<Arc<str>, Tasks> {
    let mut sharing = Sharing::new(members, work, standby_replicas);
    if !members.is_empty() {
        let tasks = |only_with_state: bool| -> Vec<Task> {
            let work = work.iter().filter(|work| work.has_state || !only_with_state);
            work.flat_map(|work| (0..work.tasks).map(|n| Task::new(work.subtopology.clone(), n))).collect()
        };
        sharing.give_active(tasks(false));
        if standby_replicas > 0 {
            sharing.give_standby(tasks(true), standby_replicas);
        }
    }
    sharing.assigned
}

/// How many tasks are a member's share; those who have theirs no longer count.
struct Quota {
    tasks: usize,
    members: usize,
}

impl Quota {
    fn share(&self) -> usize {
        if self.members == 0 { 0 } else { self.tasks.div_ceil(self.members) }
    }

    /// A member has so many now.
    fn filled(&mut self, count: usize) {
        let share = self.share();
        if count == share {
            self.tasks -= share.min(self.tasks);
            self.members -= self.members.min(1);
        }
    }
}

struct Process<'a> {
    members: Vec<&'a Arc<str>>,
    /// Its tasks, whoever of its members has them.
    tasks: BTreeSet<Task>,
}

impl Process<'_> {
    fn by_load(&self, other: &Self) -> Ordering {
        let load = self.tasks.len() * other.members.len();
        load.cmp(&(other.tasks.len() * self.members.len()))
    }
}

struct Sharing<'a> {
    members: &'a BTreeMap<Arc<str>, Candidate>,
    processes: BTreeMap<&'a str, Process<'a>>,
    was_active: BTreeMap<&'a Task, &'a Arc<str>>,
    stood_by: BTreeMap<&'a Task, Vec<&'a Arc<str>>>,
    active: Quota,
    all: Quota,
    assigned: BTreeMap<Arc<str>, Tasks>,
}

impl<'a> Sharing<'a> {
    fn new(members: &'a BTreeMap<Arc<str>, Candidate>, work: &[Work], replicas: usize) -> Self {
        let (mut active, mut all) = (0, 0);
        for work in work {
            let tasks = usize::try_from(work.tasks).unwrap_or(0);
            active += tasks;
            all += tasks * if work.has_state { 1 + replicas } else { 1 };
        }
        let quota = |tasks| Quota { tasks, members: members.len() };
        let mut sharing = Sharing {
            members,
            processes: BTreeMap::new(),
            was_active: BTreeMap::new(),
            stood_by: BTreeMap::new(),
            active: quota(active),
            all: quota(all),
            assigned: members.keys().map(|id| (id.clone(), Tasks::default())).collect(),
        };
        for (id, member) in members {
            let process = sharing.processes.entry(&member.process_id);
            let process = process.or_insert_with(|| Process { members: Vec::new(), tasks: TaskSet::new() });
            process.members.push(id);
            sharing.was_active.extend(member.had.active.iter().map(|task| (task, id)));
            for task in &member.had.standby {
                sharing.stood_by.entry(task).or_default().push(id);
            }
        }
        sharing
    }

    fn give_active(&mut self, mut tasks: Vec<Task>) {
        let by_partition =
            |a: &Task, b: &Task| (a.partition, &a.subtopology).cmp(&(b.partition, &b.subtopology));
        tasks.sort_by(by_partition);
        tasks.retain(|task| {
            let former = self.was_active.get(task).copied();
            !former.is_some_and(|id| self.give_if_room(id, task, true))
        });
        tasks.retain(|task| !self.stood_by(task).is_some_and(|id| self.give_if_room(id, task, true)));
        tasks.sort();
        for task in tasks {
            let id =
                self.least_loaded(&task).expect("a member is there, and nobody has an active task twice");
            self.give(id, &task, true);
        }
    }

    fn give_standby(&mut self, mut tasks: Vec<Task>, replicas: usize) {
        tasks.sort_by(|a, b| (b.partition, &b.subtopology).cmp(&(a.partition, &a.subtopology)));
        let mut open: Vec<(Task, usize)> = Vec::new();
        for task in tasks {
            let kept = (0..replicas).take_while(|_| self.keep_standby(&task)).count();
            open.push((task, replicas - kept));
        }
        open.sort_by(|(a, _), (b, _)| b.cmp(a));
        for (task, missing) in open {
            for _ in 0..missing {
                // With fewer processes than replicas the rest has no place.
                let Some(id) = self.least_loaded(&task) else { break };
                self.give(id, &task, false);
            }
        }
    }

    fn keep_standby(&mut self, task: &Task) -> bool {
        let was_active =
            self.was_active.get(task).copied().filter(|id| !self.process(id).tasks.contains(task));
        was_active.is_some_and(|id| self.give_if_room(id, task, false))
            || self.stood_by(task).is_some_and(|id| self.give_if_room(id, task, false))
    }

    fn process(&self, id: &Arc<str>) -> &Process<'a> {
        &self.processes[&*self.members[id].process_id]
    }

    fn count(&self, id: &Arc<str>) -> usize {
        self.assigned[id].count()
    }

    /// Of those that stood by and could again, the one with the least to do.
    fn stood_by(&self, task: &Task) -> Option<&'a Arc<str>> {
        let formers = self.stood_by.get(task).into_iter().flatten().copied();
        let formers = formers.filter(|id| !self.process(id).tasks.contains(task));
        formers.min_by(|a, b| {
            let load = self.process(a).by_load(self.process(b));
            load.then_with(|| self.count(a).cmp(&self.count(b)))
        })
    }

    /// A member of the process with the least to do, of those without this task.
    fn least_loaded(&self, task: &Task) -> Option<&'a Arc<str>> {
        let without = self.processes.values().filter(|process| !process.tasks.contains(task));
        let process = without.min_by(|a, b| a.by_load(b))?;
        process.members.iter().copied().min_by_key(|id| self.count(id))
    }

    fn give_if_room(&mut self, id: &Arc<str>, task: &Task, active: bool) -> bool {
        let quota = if active { &self.active } else { &self.all };
        let has_room = self.count(id) < quota.share();
        if has_room {
            self.give(id, task, active);
        }
        has_room
    }

    fn give(&mut self, id: &Arc<str>, task: &Task, active: bool) {
        let process = &*self.members[id].process_id;
        self.processes.get_mut(process).expect("every member has one").tasks.insert(task.clone());
        let tasks = self.assigned.get_mut(id).expect("every member is there");
        let kind = if active { &mut tasks.active } else { &mut tasks.standby };
        kind.insert(task.clone());
        let count = self.count(id);
        if active {
            self.active.filled(count);
        }
        self.all.filled(count);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `p0-m1` is a member of process `p0`.
    fn members(processes: usize, each: usize) -> BTreeMap<Arc<str>, Candidate> {
        let ids = (0..processes).flat_map(|p| (0..each).map(move |m| (p, m)));
        let candidate = |p| Candidate { process_id: format!("p{p}").into(), had: Tasks::default() };
        ids.map(|(p, m)| (format!("p{p}-m{m}").into(), candidate(p))).collect()
    }

    fn work(tasks: &[i32]) -> Vec<Work> {
        let named = |(n, tasks): (usize, &i32)| Work {
            subtopology: n.to_string().into(),
            tasks: *tasks,
            has_state: n % 2 == 0,
        };
        tasks.iter().enumerate().map(named).collect()
    }

    /// The members after them, with what the ones before them were given.
    fn after(
        next: BTreeMap<Arc<str>, Candidate>,
        given: &BTreeMap<Arc<str>, Tasks>,
    ) -> BTreeMap<Arc<str>, Candidate> {
        let had = |id: &Arc<str>| given.get(id).cloned().unwrap_or_default();
        next.into_iter().map(|(id, member)| (id.clone(), Candidate { had: had(&id), ..member })).collect()
    }

    fn check(
        members: &BTreeMap<Arc<str>, Candidate>,
        work: &[Work],
        replicas: usize,
        given: &BTreeMap<Arc<str>, Tasks>,
    ) {
        let processes: BTreeSet<_> = members.values().map(|member| &member.process_id).collect();
        for one in work {
            for n in 0..one.tasks {
                let task = Task::new(one.subtopology.clone(), n);
                let active = given.values().filter(|tasks| tasks.active.contains(&task)).count();
                assert_eq!(active, 1, "{task:?}");
                let holders = given.iter().filter(|(_, tasks)| tasks.all().any(|held| *held == task));
                let holders: Vec<_> = holders.map(|(id, _)| &members[id].process_id).collect();
                let expected = if one.has_state { (1 + replicas).min(processes.len()) } else { 1 };
                assert_eq!(holders.len(), expected, "{task:?}: {holders:?}");
                let distinct: BTreeSet<_> = holders.iter().collect();
                assert_eq!(distinct.len(), holders.len(), "{task:?} is twice in one process");
            }
        }
        assert!(given.values().all(|tasks| tasks.warmup.is_empty()));
    }

    proptest! {
        #[test]
        fn every_task_is_somebodys_and_every_replica_is_apart(
            tasks in proptest::collection::vec(1..7i32, 1..4),
            before in (1..4usize, 1..4usize),
            then in (1..4usize, 1..4usize),
            replicas in 0..3usize,
        ) {
            let work = work(&tasks);
            let first = members(before.0, before.1);
            let given = assign(&first, &work, replicas);
            check(&first, &work, replicas, &given);
            let second = after(members(then.0, then.1), &given);
            let next = assign(&second, &work, replicas);
            check(&second, &work, replicas, &next);
            let again = assign(&after(second.clone(), &next), &work, replicas);
            // Replicas count as load: with them a second look may even out more, as Kafka's does.
            if replicas == 0 {
                prop_assert_eq!(next, again, "nothing moves without a reason");
            }
        }
    }

    #[test]
    fn processes_bear_even_loads() {
        let given = assign(&members(2, 2), &work(&[8]), 0);
        assert!(given.values().all(|tasks| tasks.active.len() == 2), "{given:?}");
    }

    #[test]
    fn who_stood_by_takes_over() {
        let (both, work) = (members(2, 1), work(&[2]));
        let given = assign(&both, &work, 1);
        let mut left = after(members(2, 1), &given);
        left.remove("p0-m0");
        let next = assign(&left, &work, 1);
        assert_eq!(next["p1-m0"].active.len(), 2);
        let back = after(members(2, 1), &next);
        let again = assign(&back, &work, 1);
        let kept = again["p1-m0"].active.iter().all(|task| next["p1-m0"].active.contains(task));
        assert!(kept && again["p0-m0"].active.len() == 1, "{again:?}");
    }

    #[test]
    fn nobody_gets_nothing() {
        assert_eq!(assign(&BTreeMap::new(), &work(&[3]), 1), BTreeMap::new());
    }
}
