//! A member joins: for the first time, again, or in the place of its former self.

use std::sync::Arc;

use bytes::Bytes;
use flumen_types::{Millis, Timestamp};

use super::rebalance::Audience;
use super::{Group, GroupError, Joined, Member, Options, Refused, Reply, State, Step, Waiter};

/// How long a new member may wait for a rebalance that does not end before it is taken for gone.
const NEW_MEMBER_TIMEOUT: Millis = Millis(5 * 60 * 1000);

/// Of a client's name in its member id, which has to fit a string of Kafka's.
const PREFIX_BYTES_MAX: usize = 1024;

#[derive(Clone, Debug)]
pub struct Join {
    /// Empty if it has none yet.
    pub member_id: String,
    pub instance_id: Option<String>,
    /// What makes a new member's id unique; the caller draws it.
    pub nonce: String,
    pub client_id: String,
    pub client_host: String,
    pub session_timeout: Millis,
    pub rebalance_timeout: Millis,
    pub protocol_type: String,
    pub protocols: Vec<(String, Bytes)>,
    /// From version 4 on a new member is given an id first, and joins with it (KIP-394).
    pub requires_member_id: bool,
    /// From version 9 on (KIP-814).
    pub can_skip_assignment: bool,
}

impl Join {
    /// What a member that has no id yet is called.
    pub(crate) fn new_member_id(&self) -> String {
        let prefix = self.instance_id.as_deref().unwrap_or(&self.client_id);
        format!("{}-{}", &prefix[..prefix.floor_char_boundary(PREFIX_BYTES_MAX)], self.nonce)
    }
}

impl Group {
    /// Answers at once or, when the rebalance is through, later; always through `step`.
    pub fn join(&mut self, join: Join, waiter: Waiter, now: Timestamp, options: &Options, step: &mut Step) {
        if let Err(refused) = self.admit(join, waiter, now, options, step) {
            step.replies.push((waiter, Reply::Join(Err(refused))));
        }
        self.tick(now, options, step);
    }

    fn admit(
        &mut self,
        join: Join,
        waiter: Waiter,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<(), Refused> {
        let member_id: Arc<str> = join.member_id.as_str().into();
        let refuse = |error| Refused { error, member_id: member_id.clone() };
        let timeout = join.session_timeout;
        if timeout < options.session_timeout_min || timeout > options.session_timeout_max {
            return Err(refuse(GroupError::InvalidSessionTimeout));
        }
        if !self.can_take(&join, options) {
            return Err(refuse(GroupError::GroupMaxSizeReached));
        }
        if !self.speaks(&join) {
            return Err(refuse(GroupError::InconsistentProtocol));
        }
        if join.member_id.is_empty() {
            return self.admit_new(join, waiter, now, options, step);
        }
        if join.instance_id.is_none() && self.pending.remove(&member_id).is_some() {
            self.add(member_id, join, waiter, now, options, step);
            return Ok(());
        }
        self.check_member(&member_id, join.instance_id.as_deref()).map_err(refuse)?;
        self.admit_known(&member_id, join, waiter, now, options, step)
    }

    fn admit_new(
        &mut self,
        join: Join,
        waiter: Waiter,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<(), Refused> {
        let member_id: Arc<str> = join.new_member_id().into();
        let former = join.instance_id.as_deref().and_then(|instance| self.instances.get(instance).cloned());
        if let Some(former) = former {
            self.replace(&former, member_id, join, waiter, now, options, step);
        } else if join.instance_id.is_none() && join.requires_member_id {
            self.pending.insert(member_id.clone(), now.plus(join.session_timeout));
            return Err(Refused { error: GroupError::MemberIdRequired, member_id });
        } else {
            self.add(member_id, join, waiter, now, options, step);
        }
        Ok(())
    }

    fn admit_known(
        &mut self,
        member_id: &str,
        join: Join,
        waiter: Waiter,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) -> Result<(), Refused> {
        let member = self.members.get_mut(member_id).expect("its id was checked");
        let unchanged = member.protocols == join.protocols;
        let leads = self.leader.as_deref() == Some(member_id);
        let again = match self.state {
            // It did not hear the answer to the same join.
            State::CompletingRebalance => unchanged,
            // The leader joins again to make the group assign anew.
            State::Stable => unchanged && !leads,
            State::PreparingRebalance | State::Empty => false,
        };
        if again {
            member.heard_of(now);
            let joined = self.joined(member_id, Audience::Leader);
            step.replies.push((waiter, Reply::Join(Ok(joined))));
            return Ok(());
        }
        member.update(join, waiter, now, step);
        self.rebalance(now, options, step);
        Ok(())
    }

    fn add(
        &mut self,
        member_id: Arc<str>,
        join: Join,
        waiter: Waiter,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) {
        if self.members.is_empty() {
            self.protocol_type = Some(join.protocol_type.clone());
        }
        self.leader.get_or_insert_with(|| member_id.clone());
        let instance_id: Option<Arc<str>> = join.instance_id.as_deref().map(Arc::from);
        if let Some(instance) = &instance_id {
            self.instances.insert(instance.clone(), member_id.clone());
        }
        let mut member = Member {
            id: member_id.clone(),
            instance_id,
            client_id: String::new(),
            client_host: String::new(),
            session_timeout: join.session_timeout,
            rebalance_timeout: join.rebalance_timeout,
            protocols: Vec::new(),
            assignment: Bytes::new(),
            joining: None,
            syncing: None,
            must_sync: false,
            is_new: true,
            expires_at: now,
        };
        member.update(join, waiter, now, step);
        self.members.insert(member_id, member);
        if let Some(round) = &mut self.round {
            round.member_added = true;
        }
        self.rebalance(now, options, step);
    }

    /// A static member has come back without its member id: the new one takes the old one's place.
    #[expect(clippy::too_many_arguments, reason = "the arguments of a join, and whom it replaces")]
    fn replace(
        &mut self,
        former_id: &str,
        member_id: Arc<str>,
        join: Join,
        waiter: Waiter,
        now: Timestamp,
        options: &Options,
        step: &mut Step,
    ) {
        let led = self.leader.clone();
        let can_skip = join.can_skip_assignment;
        let mut member = self.members.remove(former_id).expect("an instance names a member");
        member.refuse_join(GroupError::FencedInstance, step);
        member.answer_sync(Err(GroupError::FencedInstance), step);
        member.id = member_id.clone();
        // It has come back: it waits like any other.
        member.is_new = false;
        member.update(join, waiter, now, step);
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), member_id.clone());
        }
        self.members.insert(member_id.clone(), member);
        if led.as_deref() == Some(former_id) {
            self.leader = Some(member_id.clone());
        }
        if self.state != State::Stable || self.select_protocol() != self.protocol {
            return self.rebalance(now, options, step);
        }
        self.record(step);
        let audience = if can_skip { Audience::Leader } else { Audience::Nobody };
        let mut joined = self.joined(&member_id, audience);
        if can_skip {
            joined.skip_assignment = self.leader.as_ref() == Some(&member_id);
        } else {
            // Told of its own id, an older client would think that it has to assign anew.
            joined.leader = led.unwrap_or_else(|| former_id.into());
        }
        let member = self.members.get_mut(&member_id).expect("it was just put there");
        member.joining = None;
        step.replies.push((waiter, Reply::Join(Ok(joined))));
    }

    fn can_take(&self, join: &Join, options: &Options) -> bool {
        let known = self.members.contains_key(join.member_id.as_str())
            || join.instance_id.as_deref().is_some_and(|instance| self.instances.contains_key(instance));
        known || self.members.len() < options.members_max
    }

    /// Whether there is a protocol that it and all others speak.
    fn speaks(&self, join: &Join) -> bool {
        if join.protocol_type.is_empty() || join.protocols.is_empty() {
            return false;
        }
        if self.members.is_empty() {
            return true;
        }
        let shared = self.shared_protocols();
        self.protocol_type.as_deref() == Some(&join.protocol_type)
            && join.protocols.iter().any(|(name, _)| shared.contains(name.as_str()))
    }

    /// The answer to a member's join in this generation.
    pub(super) fn joined(&self, member_id: &str, audience: Audience) -> Joined {
        let leads = self.leader.as_deref() == Some(member_id);
        let members = match audience {
            Audience::Leader if leads => self.joined_members(),
            _ => Vec::new(),
        };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.into(),
            skip_assignment: false,
            members,
        }
    }
}

impl Member {
    /// What a join says of a member; an older join of its that still waits is superseded.
    fn update(&mut self, join: Join, waiter: Waiter, now: Timestamp, step: &mut Step) {
        self.refuse_join(GroupError::RebalanceInProgress, step);
        self.client_id = join.client_id;
        self.client_host = join.client_host;
        self.session_timeout = join.session_timeout;
        self.rebalance_timeout = join.rebalance_timeout;
        self.protocols = join.protocols;
        self.joining = Some(waiter);
        self.heard_of(now);
        if self.is_new {
            self.expires_at = now.plus(NEW_MEMBER_TIMEOUT);
        }
    }
}
