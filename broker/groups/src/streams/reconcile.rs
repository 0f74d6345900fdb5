//! From what a member has to what it is to have: first give back, then take what is free.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_types::Timestamp;

use super::{Current, Group, Member, Owned, Role, Task, TaskSet, Tasks};
use crate::consumer::MemberState;
use crate::group::Step;
use crate::streams_records::Change;

impl Group {
    /// Takes a member one step on towards `target`; `owned` is what it says that it has, if it says so.
    pub(super) fn reconcile(
        &mut self,
        id: &Arc<str>,
        target: (i32, &Tasks),
        owned: Option<&Tasks>,
        now: Timestamp,
        step: &mut Step,
    ) {
        let Some(member) = self.members.get(id) else { return };
        let Some(next) = self.next(member, target, owned) else { return };
        if next == member.current {
            return;
        }
        let must_revoke = next.state == MemberState::Unrevoked;
        self.change(Change::Current { id: id.clone(), current: Some(next) }, step);
        if let Some(member) = self.members.get_mut(id) {
            member.task_ends = must_revoke.then(|| now.plus(member.profile.rebalance_timeout));
        }
    }

    /// Where the member stands next; `None` if it stays where it is.
    fn next(&self, member: &Member, target: (i32, &Tasks), owned: Option<&Tasks>) -> Option<Current> {
        let (epoch, target) = target;
        let current = &member.current;
        let still_has = |tasks: &Owned| owned.is_none_or(|owned| owned.has_any(tasks));
        match current.state {
            MemberState::Stable if member.is_at(epoch) => return None,
            MemberState::Unrevoked if still_has(&current.revoking) => return None,
            _ => {}
        }
        let (mut assigned, revoking) = split(&current.assigned, target);
        if !revoking.is_empty() && still_has(&revoking) {
            return Some(Current {
                epoch: current.epoch,
                previous_epoch: current.epoch,
                state: MemberState::Unrevoked,
                assigned,
                revoking,
            });
        }
        let process = &member.profile.process_id;
        let mut waits = false;
        let mut free = |tasks: &TaskSet, had: &TaskSet, role: Role| -> TaskSet {
            let (free, held): (TaskSet, TaskSet) =
                tasks.difference(had).cloned().partition(|task| self.is_free(task, role, process));
            waits |= !held.is_empty();
            free
        };
        let had: TaskSet = assigned.active.keys().cloned().collect();
        let active = free(&target.active, &had, Role::Active);
        let standby = free(&target.standby, &assigned.standby, Role::Standby);
        let warmup = free(&target.warmup, &assigned.warmup, Role::Warmup);
        assigned.active.extend(active.into_iter().map(|task| (task, epoch)));
        assigned.standby.extend(standby);
        assigned.warmup.extend(warmup);
        let state = if waits { MemberState::Unreleased } else { MemberState::Stable };
        Some(Current { epoch, previous_epoch: current.epoch, state, assigned, revoking: Owned::default() })
    }

    /// Whether somebody may have a task: nobody is active on it, if that is the role, and nobody in the
    /// same process has it in any role.
    fn is_free(&self, task: &Task, role: Role, process: &str) -> bool {
        let mut holders = self.holders.get(task).into_iter().flatten();
        let process_of = |id: &Arc<str>| self.members.get(id).map(|member| &*member.profile.process_id);
        !holders.any(|(id, held)| {
            (role == Role::Active && *held == Role::Active) || process_of(id) == Some(process)
        })
    }

    /// Notes who has what, instead of what was.
    pub(super) fn put_current(&mut self, id: Arc<str>, current: Option<Current>) {
        let Some(member) = self.members.get_mut(&id) else {
            // Compaction may have left a member's place in the log before what it says of itself.
            if let Some(current) = current {
                self.members.insert(id.clone(), Member::new(id.clone()));
                self.put_current(id, Some(current));
            }
            return;
        };
        let before = std::mem::replace(&mut member.current, current.unwrap_or_default());
        for (task, role) in before.assigned.all().chain(before.revoking.all()) {
            let Some(holders) = self.holders.get_mut(task) else { continue };
            holders.remove(&(id.clone(), role));
            if holders.is_empty() {
                self.holders.remove(task);
            }
        }
        for (task, role) in member.current.assigned.all().chain(member.current.revoking.all()) {
            let holders: &mut BTreeSet<_> = self.holders.entry(task.clone()).or_default();
            holders.insert((id.clone(), role));
        }
    }
}

/// What it keeps, and what it has to give back.
fn split(assigned: &Owned, target: &Tasks) -> (Owned, Owned) {
    let part = |tasks: &TaskSet, target: &TaskSet| -> (TaskSet, TaskSet) {
        tasks.iter().cloned().partition(|task| target.contains(task))
    };
    let active = assigned.active.iter().map(|(task, epoch)| (task.clone(), *epoch));
    let (kept, gone) = active.partition(|(task, _)| target.active.contains(task));
    let (standby_kept, standby_gone) = part(&assigned.standby, &target.standby);
    let (warmup_kept, warmup_gone) = part(&assigned.warmup, &target.warmup);
    (
        Owned { active: kept, standby: standby_kept, warmup: warmup_kept },
        Owned { active: gone, standby: standby_gone, warmup: warmup_gone },
    )
}
