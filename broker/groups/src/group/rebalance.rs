//! The rebalance: waiting for the members to join, and the generation that follows.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{Millis, Timestamp};

use super::{Group, GroupError, JoinedMember, Member, Options, Reply, State, Step};

/// A wait for members to join.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) ends_at: Timestamp,
    /// An empty group waits for more members to come, not for those it has.
    pub(super) initial: Option<Initial>,
    pub(super) member_added: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Initial {
    delay: Millis,
    /// How much longer it may be drawn out.
    remaining: Millis,
}

/// Who is told the members of a generation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Audience {
    Leader,
    Nobody,
}

impl Group {
    /// Something that all members must agree on has changed.
    pub(super) fn rebalance(&mut self, now: Timestamp, options: &Options, step: &mut Step) {
        if self.state == State::PreparingRebalance {
            return self.complete_if_all_joined(now, step);
        }
        if self.state == State::CompletingRebalance {
            self.withdraw_assignment(now, step);
        }
        self.sync_ends_at = None;
        if self.state == State::Empty {
            let delay = options.initial_rebalance_delay;
            let remaining = Millis((self.rebalance_timeout().0 - delay.0).max(0));
            let initial = Some(Initial { delay, remaining });
            self.round = Some(Round { ends_at: now.plus(delay), initial, member_added: false });
            self.enter(State::PreparingRebalance, now);
        } else {
            let ends_at = now.plus(self.rebalance_timeout());
            self.round = Some(Round { ends_at, initial: None, member_added: false });
            self.enter(State::PreparingRebalance, now);
            self.complete_if_all_joined(now, step);
        }
    }

    /// The first round of a group runs its time; a later one ends with the last member's join.
    pub(super) fn complete_if_all_joined(&mut self, now: Timestamp, step: &mut Step) {
        let Some(round) = &self.round else { return };
        let all = self.pending.is_empty() && self.members.values().all(|member| member.joining.is_some());
        let waits_for_more = round.initial.is_some() && !self.members.is_empty();
        if all && !waits_for_more {
            self.complete(now, step);
        }
    }

    /// The round's time is up.
    pub(super) fn end_round(&mut self, now: Timestamp, step: &mut Step) {
        let Some(round) = &mut self.round else { return };
        match &mut round.initial {
            Some(initial) if round.member_added && initial.remaining.0 > 0 => {
                let delay = Millis(initial.delay.0.min(initial.remaining.0).max(1));
                initial.remaining = Millis((initial.remaining.0 - initial.delay.0).max(0));
                round.member_added = false;
                round.ends_at = now.plus(delay);
            }
            _ => self.complete(now, step),
        }
    }

    /// Goes on with those that have joined.
    fn complete(&mut self, now: Timestamp, step: &mut Step) {
        let absent = self.members.values().filter(|m| m.joining.is_none() && m.instance_id.is_none());
        for id in absent.map(|member| member.id.clone()).collect::<Vec<_>>() {
            self.take_out(&id, step);
        }
        if !self.elect() && !self.members.is_empty() {
            // Only static members, none of which has come back yet: their sessions decide.
            let ends_at = now.plus(self.rebalance_timeout());
            self.round = Some(Round { ends_at, initial: None, member_added: false });
            return;
        }
        self.round = None;
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        if self.members.is_empty() {
            self.protocol = None;
            self.leader = None;
            self.enter(State::Empty, now);
            return self.record(step);
        }
        self.protocol = self.select_protocol();
        self.enter(State::CompletingRebalance, now);
        self.sync_ends_at = Some(now.plus(self.rebalance_timeout()));
        for id in self.members.keys().cloned().collect::<Vec<_>>() {
            let joined = self.joined(&id, Audience::Leader);
            let member = self.members.get_mut(&id).expect("its key was just read");
            member.must_sync = true;
            if let Some(waiter) = member.joining.take() {
                member.is_new = false;
                member.heard_of(now);
                step.replies.push((waiter, Reply::Join(Ok(joined))));
            }
        }
    }

    /// Whether there is a leader that has joined; makes one if there can be.
    fn elect(&mut self) -> bool {
        let joined = |id: &Arc<str>| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if self.leader.as_ref().is_some_and(joined) {
            return true;
        }
        let elected = self.members.values().find(|member| member.joining.is_some());
        match elected.map(|member| member.id.clone()) {
            Some(id) => {
                self.leader = Some(id);
                true
            }
            None => false,
        }
    }

    /// Of the protocols that all speak, the one that most like best; on a tie the first by name.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let shared = self.shared_protocols();
        let mut votes: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
        for member in self.members.values() {
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| shared.contains(name.as_str()))
            {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_string())
    }

    /// The names of the protocols that every member speaks; in time that grows with how many are named.
    pub(super) fn shared_protocols(&self) -> HashSet<&str> {
        let mut members = self.members.values().map(Member::names);
        let mut shared: HashSet<&str> = members.next().into_iter().flatten().collect();
        for names in members {
            let theirs: HashSet<&str> = names.collect();
            shared.retain(|name| theirs.contains(name));
        }
        shared
    }

    pub(super) fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.values().map(|member| JoinedMember {
            member_id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            metadata: member.metadata(protocol),
        });
        members.collect()
    }

    /// Whoever waited could send no heartbeat; from now on it can again.
    fn withdraw_assignment(&mut self, now: Timestamp, step: &mut Step) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
            if member.syncing.is_some() {
                member.heard_of(now);
            }
            member.answer_sync(Err(GroupError::RebalanceInProgress), step);
        }
    }

    /// The longest that a member wants to be waited for.
    pub(super) fn rebalance_timeout(&self) -> Millis {
        let longest = self.members.values().map(|member| member.rebalance_timeout).max();
        Millis(longest.unwrap_or_default().0.max(1))
    }

    /// Takes a member out and answers what it waits for; the caller rebalances.
    pub(super) fn take_out(&mut self, id: &str, step: &mut Step) {
        let Some(mut member) = self.members.remove(id) else { return };
        member.refuse_join(GroupError::UnknownMember, step);
        member.answer_sync(Err(GroupError::UnknownMember), step);
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if self.leader.as_deref() == Some(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }
}
