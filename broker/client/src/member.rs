//! Reading as a member of a classic consumer group.
//!
//! Join, get partitions, beat; when the group changes, commit, join again. The leader of the group
//! divides partitions by range, which every Kafka client can.
//!
//! Invariants: an offset is committed only after its record has been returned by one `poll` and the
//! next one, or `commit`, was called: at least once. A member that has lost its partitions commits
//! nothing. Dropping it stops its heartbeats; `leave` lets the others go on at once.

use std::collections::BTreeMap;
use std::time::Duration;

use flumen_types::{Offset, TopicPartition};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::interval;

use crate::groups::{Identity, named};
use crate::routing::Keeps;
use crate::topics::{text, verdict};
use crate::wire::join_group_request::JoinGroupRequestProtocol;
use crate::wire::join_group_response::JoinGroupResponse;
use crate::wire::leave_group_request::MemberIdentity;
use crate::wire::sync_group_request::SyncGroupRequestAssignment;
use crate::wire::{
    ErrorCode, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest, message,
};
use crate::{
    At, Client, Consumer, ConsumerOptions, Error, Fetched, OutOfRange, Result, assignor, subscription,
};

const SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(3);

/// A consumer that shares topics with the other members of its group.
#[derive(Debug)]
pub struct GroupConsumer {
    client: Client,
    group: String,
    topics: Vec<String>,
    options: ConsumerOptions,
    identity: Identity,
    joined: Option<Joined>,
    /// Positions after what has been returned and not been committed.
    pending: BTreeMap<TopicPartition, Offset>,
}

/// One generation's share of the work.
#[derive(Debug)]
struct Joined {
    consumer: Consumer,
    /// True when the group changes, or has thrown us out.
    over: watch::Receiver<bool>,
    heartbeats: AbortHandle,
}

impl Drop for Joined {
    fn drop(&mut self) {
        self.heartbeats.abort();
    }
}

impl GroupConsumer {
    /// Nothing happens before the first `poll`. Where the group has no offset, `options.out_of_range`
    /// says where to begin.
    pub fn new(client: &Client, group: &str, topics: Vec<String>, options: ConsumerOptions) -> GroupConsumer {
        GroupConsumer {
            client: client.apart(),
            group: group.to_string(),
            topics,
            options,
            identity: Identity::default(),
            joined: None,
            pending: BTreeMap::new(),
        }
    }

    /// The partitions of the moment, with the next offset of each; `None` before the group has given any.
    pub fn positions(&self) -> Option<&BTreeMap<TopicPartition, Offset>> {
        self.joined.as_ref().map(|joined| joined.consumer.positions())
    }

    /// Counts as returned only what lies before `next`, less than the last poll brought.
    pub fn returned(&mut self, partition: &TopicPartition, next: Offset) {
        if let Some(pending) = self.pending.get_mut(partition) {
            *pending = next.min(*pending);
        }
    }

    /// Waits for records, joining or joining again first if need be. What the last poll returned counts
    /// as done.
    pub async fn poll(&mut self) -> Result<Vec<Fetched>> {
        if self.joined.as_ref().is_some_and(|joined| *joined.over.borrow()) {
            self.commit().await?;
            self.joined = None;
        }
        let joined = match &mut self.joined {
            Some(joined) => joined,
            None => {
                let joined = self.join().await?;
                self.joined.insert(joined)
            }
        };
        let fetched = tokio::select! {
            fetched = joined.consumer.poll() => fetched?,
            _ = joined.over.wait_for(|over| *over) => Vec::new(),
        };
        for answer in &fetched {
            self.pending.insert(answer.partition.clone(), answer.next);
        }
        Ok(fetched)
    }

    /// Commits everything returned so far.
    pub async fn commit(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        match self.client.commit_as(&self.group, &self.identity, &pending).await {
            Err(error) if self.has_lost(&error) => {
                // Others read these records again: at least once.
                tracing::debug!(%error, "offsets of a generation that is over were not committed");
                Ok(())
            }
            done => done,
        }
    }

    /// Commits and tells the group.
    pub async fn leave(mut self) -> Result<()> {
        self.commit().await?;
        if self.joined.take().is_none() {
            return Ok(());
        }
        let request = message!(LeaveGroupRequest {
            group_id: text(&self.group),
            members: vec![message!(MemberIdentity { member_id: text(&self.identity.member) })],
        });
        self.client
            .ask_coordinator(Keeps::Group, &self.group, &request, |connection, response| {
                verdict::<LeaveGroupRequest>(connection, named(&self.group), response.error_code, None)
            })
            .await
    }

    /// The error says that this member, or its generation, is not the group's any more.
    fn has_lost(&self, error: &Error) -> bool {
        matches!(
            error.code(),
            Some(ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId | ErrorCode::RebalanceInProgress)
        )
    }

    async fn join(&mut self) -> Result<Joined> {
        let mut retry = crate::retry::Retry::within(REBALANCE_TIMEOUT);
        loop {
            match self.join_once().await {
                Ok(partitions) => return self.start(partitions).await,
                Err(error) => {
                    match error.code() {
                        Some(ErrorCode::UnknownMemberId) => self.identity = Identity::default(),
                        Some(ErrorCode::IllegalGeneration | ErrorCode::RebalanceInProgress) => {}
                        _ => return Err(error),
                    }
                    if !retry.again().await {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// JoinGroup and SyncGroup: the partitions of this member.
    async fn join_once(&mut self) -> Result<Vec<TopicPartition>> {
        let mut answer = self.ask_to_join().await?;
        if ErrorCode::from(answer.error_code) == ErrorCode::MemberIdRequired {
            // The group gives an id first, so that a client that crashes while it joins leaves no ghost.
            self.identity.member = answer.member_id.to_string();
            answer = self.ask_to_join().await?;
        }
        self.refuse_join(&answer)?;
        self.identity = Identity { member: answer.member_id.to_string(), generation: answer.generation_id };
        let assignments =
            if answer.leader == answer.member_id { self.divide(&answer).await? } else { Vec::new() };
        let request = message!(SyncGroupRequest {
            group_id: text(&self.group),
            generation_id: self.identity.generation,
            member_id: text(&self.identity.member),
            protocol_type: Some(text("consumer")),
            protocol_name: answer.protocol_name.clone(),
            assignments: assignments,
        });
        let patience = REBALANCE_TIMEOUT + self.client.options().request_timeout;
        self.client
            .ask_coordinator_within(patience, Keeps::Group, &self.group, &request, |connection, response| {
                verdict::<SyncGroupRequest>(connection, named(&self.group), response.error_code, None)?;
                subscription::decode_assignment(response.assignment)
                    .map_err(|reason| connection.malformed::<SyncGroupRequest>(reason))
            })
            .await
    }

    async fn ask_to_join(&self) -> Result<JoinGroupResponse> {
        let encode = |reason| Error::Encode { api: "JoinGroup", reason };
        let range = message!(JoinGroupRequestProtocol {
            name: text("range"),
            metadata: subscription::encode_subscription(&self.topics).map_err(encode)?,
        });
        let request = message!(JoinGroupRequest {
            group_id: text(&self.group),
            session_timeout_ms: SESSION_TIMEOUT.as_millis() as i32,
            rebalance_timeout_ms: REBALANCE_TIMEOUT.as_millis() as i32,
            member_id: text(&self.identity.member),
            protocol_type: text("consumer"),
            protocols: vec![range],
        });
        let patience = REBALANCE_TIMEOUT + self.client.options().request_timeout;
        self.client
            .ask_coordinator_within(patience, Keeps::Group, &self.group, &request, |connection, response| {
                match ErrorCode::from(response.error_code) {
                    // Handled by the caller, and retriable in the sense of "try again as you are".
                    code if code.is_retriable() => {
                        Err(connection.refused::<JoinGroupRequest>(named(&self.group), code, None))
                    }
                    _ => Ok(response),
                }
            })
            .await
    }

    fn refuse_join(&self, answer: &JoinGroupResponse) -> Result<()> {
        match ErrorCode::from(answer.error_code) {
            ErrorCode::None => Ok(()),
            code => Err(Error::Refused {
                address: self.client.options().bootstrap.join(","),
                api: "JoinGroup",
                subject: named(&self.group),
                code,
                message: None,
            }),
        }
    }

    /// As the group's leader: who gets what.
    async fn divide(&self, answer: &JoinGroupResponse) -> Result<Vec<SyncGroupRequestAssignment>> {
        let malformed = |reason| Error::Malformed {
            address: self.client.options().bootstrap.join(","),
            api: "JoinGroup",
            reason,
        };
        let mut members = BTreeMap::new();
        for member in &answer.members {
            let topics = subscription::decode_subscription(member.metadata.clone()).map_err(malformed)?;
            members.insert(member.member_id.to_string(), topics);
        }
        let mut partitions = BTreeMap::new();
        for topic in self.client.topics().await? {
            partitions.insert(topic.name.to_string(), topic.partitions.len() as i32);
        }
        partitions.retain(|topic, _| members.values().any(|wanted| wanted.contains(topic)));
        let mut assignments = Vec::new();
        for (member, topics) in assignor::range(&members, &partitions) {
            let assignment = subscription::encode_assignment(&topics).map_err(malformed)?;
            assignments.push(message!(SyncGroupRequestAssignment {
                member_id: text(&member),
                assignment: assignment
            }));
        }
        Ok(assignments)
    }

    /// Finds where to go on, and begins to beat.
    async fn start(&self, partitions: Vec<TopicPartition>) -> Result<Joined> {
        let mut positions = self.client.committed(&self.group, Some(&partitions)).await?;
        let fresh: Vec<TopicPartition> =
            partitions.into_iter().filter(|partition| !positions.contains_key(partition)).collect();
        let at = match self.options.out_of_range {
            OutOfRange::End if self.options.read_committed => At::StableEnd,
            OutOfRange::End => At::End,
            OutOfRange::Start | OutOfRange::Fail => At::Start,
        };
        for (partition, offset) in self.client.offsets_at(&fresh, at).await? {
            positions.insert(partition, offset.unwrap_or(Offset::ZERO));
        }
        let mut consumer = Consumer::new(&self.client, self.options.clone());
        for (partition, offset) in positions {
            consumer.assign(partition, offset);
        }
        let (tell, over) = watch::channel(false);
        let beat = beat(self.client.clone(), self.group.clone(), self.identity.clone(), tell);
        Ok(Joined { consumer, over, heartbeats: tokio::spawn(beat).abort_handle() })
    }
}

/// Tells the coordinator that we live, until it tells us that the generation is over.
async fn beat(client: Client, group: String, identity: Identity, over: watch::Sender<bool>) {
    let request = message!(HeartbeatRequest {
        group_id: text(&group),
        generation_id: identity.generation,
        member_id: text(&identity.member),
    });
    let mut ticks = interval(HEARTBEAT_INTERVAL);
    loop {
        ticks.tick().await;
        let beat = client.ask_coordinator(Keeps::Group, &group, &request, |connection, response| {
            verdict::<HeartbeatRequest>(connection, named(&group), response.error_code, None)
        });
        if let Err(error) = beat.await {
            tracing::debug!(%error, group, "the generation is over");
            // Nobody listens when the consumer is gone.
            let _ = over.send(true);
            return;
        }
    }
}
