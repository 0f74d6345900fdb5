//! Commits of offsets on their way from a request: which may be made, and the answer for each.

use std::future::Future;
use std::sync::Arc;

use flumen_auth::Operation;
use flumen_protocol::ErrorCode;
use flumen_protocol::messages::{Uuid, topic_id};
use flumen_types::{LeaderEpoch, Millis, Offset, PartitionId, TopicPartition};

use crate::access::Resource;
use crate::coordinator::Committed;
use crate::ctx::Ctx;
use crate::topics::Topic;

/// The commits of one request, in its order.
pub(crate) struct Commits<'a> {
    ctx: &'a Ctx,
    retention: Option<Millis>,
    offsets: Vec<(TopicPartition, Committed)>,
    /// `None`: as the coordinator answers.
    refused: Vec<Option<ErrorCode>>,
}

pub(crate) struct NewOffset<'a> {
    pub(crate) partition: PartitionId,
    pub(crate) offset: i64,
    pub(crate) leader_epoch: i32,
    pub(crate) metadata: Option<&'a str>,
}

impl<'a> Commits<'a> {
    pub(crate) fn new(ctx: &'a Ctx, retention: Option<Millis>) -> Self {
        Commits { ctx, retention, offsets: Vec::new(), refused: Vec::new() }
    }

    pub(crate) fn topic(&self, name: &str) -> Result<Arc<Topic>, ErrorCode> {
        self.ctx.may(Operation::Read, Resource::Topic(name))?;
        self.ctx.broker.topic(name).ok_or(ErrorCode::UnknownTopicOrPartition)
    }

    pub(crate) fn topic_by_id(&self, id: Uuid) -> Result<Arc<Topic>, ErrorCode> {
        let topic = self.ctx.broker.topics().by_id(topic_id(id)).ok_or(ErrorCode::UnknownTopicId)?;
        self.ctx.may(Operation::Read, Resource::Topic(&topic.name))?;
        Ok(topic)
    }

    pub(crate) fn add(&mut self, topic: &Result<Arc<Topic>, ErrorCode>, new: NewOffset<'_>) {
        let topic = match topic {
            Ok(topic) if topic.partition(new.partition).is_some() => topic,
            Ok(_) => return self.refused.push(Some(ErrorCode::UnknownTopicOrPartition)),
            Err(error) => return self.refused.push(Some(*error)),
        };
        let plain = self.ctx.broker.groups().plain(Offset(new.offset));
        let committed = Committed {
            leader_epoch: LeaderEpoch(new.leader_epoch),
            metadata: new.metadata.unwrap_or_default().into(),
            expires_at: self.retention.map(|span| plain.committed_at.plus(span)),
            ..plain
        };
        let partition = TopicPartition { topic: topic.name.clone(), partition: new.partition };
        self.offsets.push((partition, committed));
        self.refused.push(None);
    }

    /// One answer for all.
    pub(crate) fn refuse(self, error: ErrorCode) -> Vec<ErrorCode> {
        vec![error; self.refused.len()]
    }

    /// Commits what may be; an answer for each.
    pub(crate) async fn run<F>(
        self,
        commit: impl FnOnce(Vec<(TopicPartition, Committed)>) -> F,
    ) -> Vec<ErrorCode>
    where
        F: Future<Output = Result<Vec<ErrorCode>, ErrorCode>>,
    {
        let (count, refused) = (self.offsets.len(), self.refused);
        let committed = commit(self.offsets).await;
        let mut committed = committed.unwrap_or_else(|error| vec![error; count]).into_iter();
        let answers = refused
            .into_iter()
            .map(|refused| refused.or_else(|| committed.next()).unwrap_or(ErrorCode::UnknownServerError));
        answers.collect()
    }
}
