//! A member's life between two rebalances: sync, heartbeat, leave, and what time does to it.

use std::sync::Arc;

use bytes::Bytes;
use flumen_types::Timestamp;

use super::{Group, GroupError, Options, Reply, State, Step, Synced, Waiter};

#[derive(Clone, Debug)]
pub struct Sync {
    pub member_id: String,
    pub instance_id: Option<String>,
    pub generation: i32,
    /// From version 5 on; both must be the group's.
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    /// Member id and assignment; from the leader.
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Clone, Debug)]
pub struct Leaving {
    pub member_id: String,
    pub instance_id: Option<String>,
}

/// Who has left.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Member,
    /// One that was given an id and had not come back with it.
    Pending,
}

impl Group {
    /// Answers at once, or when the leader has synced; always through `step`.
    pub fn sync(&mut self, sync: Sync, waiter: Waiter, now: Timestamp, options: &Options, step: &mut Step) {
        let answer = self.try_sync(sync, waiter, now, step);
        if let Some(answer) = answer.transpose() {
            step.replies.push((waiter, Reply::Sync(answer)));
        }
        self.tick(now, options, step);
    }

    fn try_sync(
        &mut self,
        sync: Sync,
        waiter: Waiter,
        now: Timestamp,
        step: &mut Step,
    ) -> Result<Option<Synced>, GroupError> {
        self.check_generation(&sync.member_id, sync.instance_id.as_deref(), sync.generation)?;
        let differs = |told: &Option<String>, ours: &Option<String>| told.is_some() && told != ours;
        if differs(&sync.protocol_type, &self.protocol_type) || differs(&sync.protocol, &self.protocol) {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.state {
            State::Empty => Err(GroupError::UnknownMember),
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            State::CompletingRebalance => {
                let leads = self.leader.as_deref() == Some(&sync.member_id);
                let member = self.members.get_mut(sync.member_id.as_str()).expect("its id was checked");
                member.answer_sync(Err(GroupError::RebalanceInProgress), step);
                member.syncing = Some(waiter);
                self.has_synced(&sync.member_id, now);
                if leads {
                    self.assign(sync.assignments, now, step);
                }
                Ok(None)
            }
            State::Stable => {
                self.has_synced(&sync.member_id, now);
                Ok(Some(self.synced(&sync.member_id)))
            }
        }
    }

    fn assign(&mut self, assignments: Vec<(String, Bytes)>, now: Timestamp, step: &mut Step) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(id.as_str()) {
                member.assignment = assignment;
            }
        }
        self.enter(State::Stable, now);
        self.record(step);
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let synced = self.synced(&id);
            let member = self.members.get_mut(&id).expect("its key was just read");
            if member.syncing.is_some() {
                member.heard_of(now);
                member.answer_sync(Ok(synced), step);
            }
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    fn has_synced(&mut self, id: &str, now: Timestamp) {
        if let Some(member) = self.members.get_mut(id) {
            member.must_sync = false;
            member.heard_of(now);
        }
        if self.members.values().all(|member| !member.must_sync) {
            self.sync_ends_at = None;
        }
    }

    pub fn heartbeat(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        now: Timestamp,
    ) -> Result<(), GroupError> {
        self.check_generation(member_id, instance_id, generation)?;
        if let Some(member) = self.members.get_mut(member_id) {
            member.heard_of(now);
        }
        match self.state {
            State::Empty => Err(GroupError::UnknownMember),
            State::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    /// One answer for each that leaves.
    pub fn leave(
        &mut self,
        leaving: &[Leaving],
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Vec<Result<(), GroupError>> {
        let left: Vec<_> = leaving.iter().map(|member| self.leave_one(member, step)).collect();
        if left.contains(&Ok(Left::Member)) {
            self.lost_members(now, options, step);
        } else if left.contains(&Ok(Left::Pending)) && self.state == State::PreparingRebalance {
            self.complete_if_all_joined(now, step);
        }
        self.tick(now, options, step);
        left.into_iter().map(|left| left.map(drop)).collect()
    }

    fn leave_one(&mut self, leaving: &Leaving, step: &mut Step) -> Result<Left, GroupError> {
        let instance = leaving.instance_id.as_deref();
        if leaving.member_id.is_empty() {
            // An administrator removes a static member by its instance id.
            let id = instance.and_then(|instance| self.instances.get(instance)).cloned();
            self.take_out(&id.ok_or(GroupError::UnknownMember)?, step);
            return Ok(Left::Member);
        }
        if instance.is_none() && self.pending.remove(leaving.member_id.as_str()).is_some() {
            return Ok(Left::Pending);
        }
        self.check_member(&leaving.member_id, instance)?;
        self.take_out(&leaving.member_id, step);
        Ok(Left::Member)
    }

    fn lost_members(&mut self, now: Timestamp, options: &Options, step: &mut Step) {
        match self.state {
            State::Empty => {}
            State::PreparingRebalance => self.complete_if_all_joined(now, step),
            State::CompletingRebalance | State::Stable => self.rebalance(now, options, step),
        }
    }

    /// Does what is due: ids that nobody came back with, sessions, the round, the wait for syncs.
    pub fn tick(&mut self, now: Timestamp, options: &Options, step: &mut Step) {
        let pending = self.pending.len();
        self.pending.retain(|_, lapses_at| *lapses_at > now);
        if pending != self.pending.len() && self.state == State::PreparingRebalance {
            self.complete_if_all_joined(now, step);
        }
        let expired = self.members.values().filter(|member| member.deadline().is_some_and(|at| at <= now));
        self.drop_members(expired.map(|member| member.id.clone()).collect(), now, options, step);
        if self.sync_ends_at.is_some_and(|at| at <= now) {
            self.sync_ends_at = None;
            let silent = self.members.values().filter(|member| member.must_sync);
            self.drop_members(silent.map(|member| member.id.clone()).collect(), now, options, step);
        }
        if self.round.as_ref().is_some_and(|round| round.ends_at <= now) {
            self.end_round(now, step);
        }
    }

    fn drop_members(&mut self, ids: Vec<Arc<str>>, now: Timestamp, options: &Options, step: &mut Step) {
        for id in &ids {
            self.take_out(id, step);
        }
        if !ids.is_empty() {
            self.lost_members(now, options, step);
        }
    }

    pub(super) fn check_generation(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        self.check_member(member_id, instance_id)?;
        match generation == self.generation {
            true => Ok(()),
            false => Err(GroupError::IllegalGeneration),
        }
    }

    /// Whether this member may commit offsets now. Transactional commits from older clients name no
    /// member; those that do are checked like any other.
    pub fn check_commit(
        &mut self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        transactional: bool,
        now: Timestamp,
    ) -> Result<(), GroupError> {
        // Whoever only keeps offsets here may say who it is: librdkafka with a static id and `assign` does.
        if generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        let names_member = generation >= 0 || !member_id.is_empty() || instance_id.is_some();
        if !names_member {
            return match transactional || self.members.is_empty() {
                true => Ok(()),
                false => Err(GroupError::UnknownMember),
            };
        }
        self.check_generation(member_id, instance_id, generation)?;
        if self.state == State::CompletingRebalance && !transactional {
            return Err(GroupError::RebalanceInProgress);
        }
        if let Some(member) = self.members.get_mut(member_id) {
            member.heard_of(now);
        }
        Ok(())
    }
}
