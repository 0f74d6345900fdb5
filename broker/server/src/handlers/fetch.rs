//! Fetch (1): whole batches as they lie in the log, by reference; waits until there are enough.
//!
//! Rules of Kafka that clients lean on: the first batch of an answer comes even if it is larger than
//! every limit, so that nobody gets stuck; an error is told at once; a reader of committed records is
//! told which transactions to leave out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_auth::Operation;
use flumen_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use flumen_protocol::messages::{FetchRequest, FetchResponse, topic_id};
use flumen_protocol::{ErrorCode, message};
use flumen_types::{Offset, PartitionId};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use crate::access::Resource;
use crate::ctx::Ctx;
use crate::fetch_sessions::{Plan, Wanted};
use crate::partition_log::{Bound, Marks, PartitionLog, Read, ReadError};

const READ_COMMITTED: i8 = 1;

pub(crate) async fn handle(ctx: &Ctx, request: FetchRequest, version: i16) -> FetchResponse {
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let asked = Asked {
        bound: if request.isolation_level == READ_COMMITTED {
            Bound::LastStable
        } else {
            Bound::HighWatermark
        },
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0),
        bytes_max: usize::try_from(request.max_bytes).unwrap_or(0).min(ctx.broker.options().fetch_bytes_max),
        by_id: version >= 13,
    };
    let planned = ctx.broker.sessions().plan(request, version);
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => return message!(FetchResponse { error_code: error.code() }),
    };
    let sources: Vec<_> = plan.wanted.iter().map(|wanted| asked.source(ctx, wanted)).collect();
    let mut round = asked.read(&plan.wanted, &sources).await;
    while round.bytes < asked.bytes_min && !round.failed && !plan.wanted.is_empty() {
        if timeout_at(deadline, asked.news(&plan.wanted, &sources, &round)).await.is_err() {
            break;
        }
        round = asked.read(&plan.wanted, &sources).await;
    }
    answer(ctx, &plan, round.answers)
}

/// What holds for all partitions of a fetch.
struct Asked {
    bound: Bound,
    bytes_min: usize,
    bytes_max: usize,
    by_id: bool,
}

type Source = Result<Arc<dyn PartitionLog>, ErrorCode>;

/// One pass over the partitions.
struct Round {
    answers: Vec<PartitionData>,
    bytes: usize,
    failed: bool,
}

impl Asked {
    fn source(&self, ctx: &Ctx, wanted: &Wanted) -> Source {
        let may = |name: &str| ctx.may(Operation::Read, Resource::Topic(name));
        let topic = match self.by_id {
            true => {
                let id = topic_id(wanted.topic.id);
                let topic = ctx.broker.topics().by_id(id).ok_or(ErrorCode::UnknownTopicId)?;
                may(&topic.name)?;
                topic
            }
            false => {
                may(&wanted.topic.name)?;
                ctx.broker.topic(&wanted.topic.name).ok_or(ErrorCode::UnknownTopicOrPartition)?
            }
        };
        let log = topic.partition(PartitionId(wanted.partition)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        check_epoch(&log.watch().borrow(), wanted.leader_epoch)?;
        Ok(log.clone())
    }

    async fn read(&self, wanted: &[Wanted], sources: &[Source]) -> Round {
        let mut round = Round { answers: Vec::with_capacity(wanted.len()), bytes: 0, failed: false };
        for (wanted, source) in wanted.iter().zip(sources) {
            let answer = match source {
                Ok(log) => self.read_one(log.as_ref(), wanted, round.bytes).await,
                Err(error) => Err(*error),
            };
            let answer = answer.unwrap_or_else(|error| refusal(wanted.partition, error));
            round.bytes += answer.records.as_ref().map_or(0, Bytes::len);
            round.failed |= answer.error_code != 0;
            round.answers.push(answer);
        }
        round
    }

    async fn read_one(
        &self,
        log: &dyn PartitionLog,
        wanted: &Wanted,
        bytes_before: usize,
    ) -> Result<PartitionData, ErrorCode> {
        let marks = *log.watch().borrow();
        let room = wanted.bytes_max.min(self.bytes_max.saturating_sub(bytes_before));
        let nothing_new = wanted.from >= self.limit(&marks) && wanted.from <= marks.end;
        let no_room = room == 0 && bytes_before > 0;
        if wanted.from >= marks.start && (nothing_new || no_room) {
            let nothing = Read { bytes: Bytes::new(), next: wanted.from, aborted: Vec::new(), marks };
            return Ok(self.data(wanted, nothing));
        }
        match log.read(wanted.from, room, self.bound, bytes_before == 0).await {
            Ok(read) => Ok(self.data(wanted, read)),
            Err(error) => Err(read_code(log, &error)),
        }
    }

    fn data(&self, wanted: &Wanted, read: Read) -> PartitionData {
        let aborted = read.aborted.iter().map(|aborted| {
            message!(AbortedTransaction {
                producer_id: aborted.producer_id.0,
                first_offset: aborted.first_offset.0,
            })
        });
        message!(PartitionData {
            partition_index: wanted.partition,
            high_watermark: read.marks.high_watermark.0,
            last_stable_offset: read.marks.last_stable.0,
            log_start_offset: read.marks.start.0,
            aborted_transactions: (self.bound == Bound::LastStable).then(|| aborted.collect()),
            records: Some(read.bytes),
        })
    }

    fn limit(&self, marks: &Marks) -> Offset {
        match self.bound {
            Bound::LogEnd => marks.end,
            Bound::HighWatermark => marks.high_watermark,
            Bound::LastStable => marks.last_stable,
        }
    }

    /// Waits until one of the partitions has more than when it was read, or has gone.
    async fn news(&self, wanted: &[Wanted], sources: &[Source], round: &Round) {
        let known =
            wanted.iter().zip(sources).zip(&round.answers).filter_map(|((wanted, source), answer)| {
                let mut marks = source.as_ref().ok()?.watch();
                let seen = match self.bound {
                    Bound::LastStable => answer.last_stable_offset,
                    _ => answer.high_watermark,
                };
                let seen = Offset(seen).max(wanted.from);
                Some(async move {
                    let moved = |marks: &Marks| self.limit(marks) > seen || marks.start > wanted.from;
                    // An error is news as well: the partition is gone.
                    let _ = marks.wait_for(moved).await;
                })
            });
        let mut waits: FuturesUnordered<_> = known.collect();
        waits.next().await;
    }
}

/// A client that knows of another leader's reign must not read here as if it did not.
pub(crate) fn check_epoch(marks: &Marks, asked: i32) -> Result<(), ErrorCode> {
    let current = marks.epoch.0.max(0);
    match asked {
        ..0 => Ok(()),
        asked if asked < current => Err(ErrorCode::FencedLeaderEpoch),
        asked if asked > current => Err(ErrorCode::UnknownLeaderEpoch),
        _ => Ok(()),
    }
}

/// Which of Kafka's codes says why a read was refused.
pub(crate) fn read_code(log: &dyn PartitionLog, error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { .. } => {
            tracing::error!(partition = %log.id(), %error, "a read failed");
            ErrorCode::CorruptMessage
        }
        ReadError::Storage(_) => {
            tracing::error!(partition = %log.id(), error = error as &dyn std::error::Error, "a read failed");
            ErrorCode::KafkaStorageError
        }
    }
}

fn refusal(partition: i32, error: ErrorCode) -> PartitionData {
    message!(PartitionData {
        partition_index: partition,
        error_code: error.code(),
        high_watermark: -1,
        last_stable_offset: -1,
        log_start_offset: -1,
        records: Some(Bytes::new()),
    })
}

/// Puts the partitions that have to be told under their topics.
fn answer(ctx: &Ctx, plan: &Plan, answers: Vec<PartitionData>) -> FetchResponse {
    let told = ctx.broker.sessions().tell(plan, &answers);
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for ((wanted, answer), _) in plan.wanted.iter().zip(answers).zip(told).filter(|(_, told)| *told) {
        let topic = &wanted.topic;
        match topics.last_mut() {
            Some(last) if last.topic == topic.name && last.topic_id == topic.id => {
                last.partitions.push(answer)
            }
            _ => topics.push(message!(FetchableTopicResponse {
                topic: topic.name.clone(),
                topic_id: topic.id,
                partitions: vec![answer],
            })),
        }
    }
    message!(FetchResponse { session_id: plan.session, responses: topics })
}
