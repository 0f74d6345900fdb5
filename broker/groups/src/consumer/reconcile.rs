//! From what a member has to what it is to have: first give back, then take what is free.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_types::{Timestamp, TopicId};

use super::{Assignment, Current, Group, Member, MemberState, Owned, Place, TopicImage};
use crate::consumer_records::Change;
use crate::group::Step;

impl Group {
    /// Takes a member one step on; `owned` is what it says that it has, if it says so.
    pub(super) fn reconcile(
        &mut self,
        id: &Arc<str>,
        owned: Option<&Assignment>,
        topics: &TopicImage,
        now: Timestamp,
        step: &mut Step,
    ) {
        let Some(member) = self.members.get(id) else { return };
        let Some(next) = self.next(member, owned, topics) else { return };
        // One of the classic protocol is given its time when it is told to rejoin.
        let is_timed = member.profile.classic.is_none();
        let must_revoke = next.state == MemberState::Unrevoked;
        let begins = must_revoke && (member.task_ends.is_none() || next.epoch != member.current.epoch);
        if next != member.current {
            self.change(Change::Current { id: id.clone(), current: Some(next) }, step);
        }
        let Some(member) = self.members.get_mut(id) else { return };
        if is_timed && begins {
            member.task_ends = Some(now.plus(member.profile.rebalance_timeout));
        } else if is_timed && !must_revoke {
            member.task_ends = None;
        }
    }

    /// Where the member stands next; `None` if it stays where it is.
    fn next(&self, member: &Member, owned: Option<&Assignment>, topics: &TopicImage) -> Option<Current> {
        let current = &member.current;
        let consumed = self.existing_topics(member, topics);
        let still_has = |revoking: &Owned| match owned {
            Some(owned) => owned.iter().any(|place| revoking.contains_key(place)),
            None => true,
        };
        let is_consistent = current.assigned.keys().all(|(topic, _)| consumed.contains(topic));
        match current.state {
            MemberState::Stable if member.is_at(self.target_epoch.epoch) && is_consistent => return None,
            MemberState::Unrevoked if still_has(&current.revoking) && is_consistent => return None,
            // It has to give back even more, of a topic that it consumes no longer.
            MemberState::Unrevoked if still_has(&current.revoking) => {
                return Some(strip(current, &consumed));
            }
            _ => {}
        }
        let target = self.targets.get(&member.id).into_iter().flatten();
        let target: Assignment = target.filter(|(topic, _)| consumed.contains(topic)).copied().collect();
        let (kept, revoking): (Owned, Owned) =
            current.assigned.iter().map(|(place, at)| (*place, *at)).partition(|(p, _)| target.contains(p));
        if !revoking.is_empty() && still_has(&revoking) {
            return Some(Current {
                epoch: current.epoch,
                previous_epoch: current.epoch,
                state: MemberState::Unrevoked,
                assigned: kept,
                revoking,
            });
        }
        let wanted = target.iter().filter(|place| !kept.contains_key(*place));
        let is_free = |place: &&Place| self.owners.get(*place).is_none_or(|owner| *owner == member.id);
        let (free, unreleased): (Vec<&Place>, Vec<&Place>) = wanted.partition(is_free);
        let epoch = self.target_epoch.epoch;
        let mut assigned = kept;
        assigned.extend(free.into_iter().map(|place| (*place, epoch)));
        let state = match unreleased.is_empty() {
            true => MemberState::Stable,
            false => MemberState::Unreleased,
        };
        Some(Current { epoch, previous_epoch: current.epoch, state, assigned, revoking: Owned::new() })
    }

    fn existing_topics(&self, member: &Member, topics: &TopicImage) -> BTreeSet<TopicId> {
        self.topics_of(&member.profile).filter_map(|name| topics.get(name)).map(|shape| shape.id).collect()
    }
}

/// Of a member that gives back already: what is of other topics too.
fn strip(current: &Current, consumed: &BTreeSet<TopicId>) -> Current {
    let mut next = current.clone();
    next.previous_epoch = current.epoch;
    next.assigned.retain(|(topic, _), _| consumed.contains(topic));
    let gone = current.assigned.iter().filter(|(place, _)| !next.assigned.contains_key(*place));
    next.revoking.extend(gone.map(|(place, at)| (*place, *at)));
    next
}
