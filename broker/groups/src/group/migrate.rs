//! What a classic group leaves behind when it goes over to the consumer protocol, and how it begins when
//! it comes back from there.

use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{Millis, Timestamp};

use super::{Group, GroupError, Member, Options, State, Step};
use crate::group_records::GroupEntry;
use crate::subscription::CONSUMER;

/// A member as the group had it under the other protocol.
pub(crate) struct FormerMember {
    pub(crate) id: Arc<str>,
    pub(crate) instance_id: Option<Arc<str>>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    pub(crate) session_timeout: Millis,
    pub(crate) rebalance_timeout: Millis,
    pub(crate) protocols: Vec<(String, Bytes)>,
    pub(crate) assignment: Bytes,
}

/// What becomes of the members when the group comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Former {
    GoOn,
    MustRejoin,
}

impl Group {
    /// Sends whoever waits to join again.
    pub(crate) fn release(&mut self, step: &mut Step) {
        for member in self.members.values_mut() {
            member.refuse_join(GroupError::RebalanceInProgress, step);
            member.answer_sync(Err(GroupError::RebalanceInProgress), step);
        }
    }

    pub(crate) fn of_former(
        id: Arc<str>,
        generation: i32,
        members: Vec<FormerMember>,
        now: Timestamp,
    ) -> Group {
        let mut group = Group::new(id, now);
        group.generation = generation;
        group.protocol_type = Some(CONSUMER.into());
        for former in members {
            let member = Member {
                id: former.id.clone(),
                instance_id: former.instance_id,
                client_id: former.client_id,
                client_host: former.client_host,
                session_timeout: former.session_timeout,
                rebalance_timeout: former.rebalance_timeout,
                protocols: former.protocols,
                assignment: former.assignment,
                joining: None,
                syncing: None,
                must_sync: false,
                is_new: false,
                expires_at: now.plus(former.session_timeout),
            };
            if let Some(instance) = &member.instance_id {
                group.instances.insert(instance.clone(), former.id.clone());
            }
            group.members.insert(former.id, member);
        }
        group.leader = group.members.keys().next().cloned();
        group.protocol = group.select_protocol();
        group.enter(State::Stable, now);
        group
    }

    /// Writes itself down; its members go on as they are, or have to join again. These are told so by a
    /// broker that starts in between, too: to it they are of a generation that has passed.
    pub(crate) fn begin(&mut self, members: Former, now: Timestamp, options: &Options, step: &mut Step) {
        let mut metadata = self.metadata();
        metadata.generation += i32::from(members == Former::MustRejoin);
        step.changes.push(GroupEntry::Group { group: self.id.clone(), metadata: Some(metadata) });
        if members == Former::MustRejoin {
            self.rebalance(now, options, step);
        }
    }
}
