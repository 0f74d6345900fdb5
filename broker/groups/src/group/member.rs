//! One member of a group.

use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{Millis, Timestamp};

use super::{GroupError, Refused, Reply, Step, Synced, Waiter};
use crate::group_records::MemberMetadata;

#[derive(Clone, Debug)]
pub struct Member {
    pub id: Arc<str>,
    pub instance_id: Option<Arc<str>>,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Millis,
    pub rebalance_timeout: Millis,
    /// Name and metadata, the best first.
    pub protocols: Vec<(String, Bytes)>,
    pub assignment: Bytes,
    pub(super) joining: Option<Waiter>,
    pub(super) syncing: Option<Waiter>,
    /// Has been told of this generation and has not asked for its assignment yet.
    pub(super) must_sync: bool,
    /// Has not completed a join yet, so that it cannot send heartbeats.
    pub(super) is_new: bool,
    pub(super) expires_at: Timestamp,
}

impl Member {
    pub(super) fn restore(member: &MemberMetadata, protocol: &str, now: Timestamp) -> Member {
        Member {
            id: member.member_id.as_str().into(),
            instance_id: member.instance_id.as_deref().map(Arc::from),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            protocols: vec![(protocol.to_string(), member.subscription.clone())],
            assignment: member.assignment.clone(),
            joining: None,
            syncing: None,
            must_sync: false,
            is_new: false,
            expires_at: now.plus(member.session_timeout),
        }
    }

    /// What it says for a protocol; empty if it does not speak it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|(name, _)| name == protocol);
        found.map(|(_, metadata)| metadata.clone()).unwrap_or_default()
    }

    /// Of its protocols.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.protocols.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn heard_of(&mut self, now: Timestamp) {
        self.expires_at = now.plus(self.session_timeout);
    }

    /// One that waits for the others cannot send heartbeats; a new one may have gone away meanwhile,
    /// and come back under another id.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (self.is_new || !waits).then_some(self.expires_at)
    }

    pub(super) fn refuse_join(&mut self, error: GroupError, step: &mut Step) {
        if let Some(waiter) = self.joining.take() {
            let refused = Refused { error, member_id: self.id.clone() };
            step.replies.push((waiter, Reply::Join(Err(refused))));
        }
    }

    pub(super) fn answer_sync(&mut self, answer: Result<Synced, GroupError>, step: &mut Step) {
        if let Some(waiter) = self.syncing.take() {
            step.replies.push((waiter, Reply::Sync(answer)));
        }
    }
}
