//! Produce (0): appended at once and in order; answered when the disk has it.
//!
//! Invariants: an answer without an error means that the records survive a power cut, with acks=1 as
//! with acks=all. A transactional batch is taken only while its partition is part of its producer's open
//! transaction, so that none is left behind that nothing will ever end: from version 12 on the produce itself
//! makes it a part, and appends when that is durable. Nothing of a record is decoded here, but of the message
//! sets that came before batches.

use std::time::Duration;

use bytes::Bytes;
use flumen_auth::Operation;
use flumen_auth::quota::Kind;
use flumen_log::config::TopicConfig;
use flumen_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use flumen_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use flumen_protocol::messages::{ProduceRequest, ProduceResponse, StrBytes, topic_id};
use flumen_protocol::{ErrorCode, encode_produce_response, message};
use flumen_records::message_set::{Room, upgrade};
use flumen_records::{BatchHeader, Compression, TimestampType};
use flumen_types::{Offset, PartitionId, Timestamp, TopicPartition};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::message_sets::{self, PRODUCE_WITH_BATCHES};
use super::record_errors;
use super::single_batch::single_batch;
use super::transaction_joins::{Joins, in_producers_words_of};
use crate::access::Resource;
use crate::clock;
use crate::coordinator::{Producer, TxnVersion};
use crate::ctx::Ctx;
use crate::internal_topics::is_internal;
use crate::partition_log::{AppendError, Marks, Origin, durable};
use crate::reply::Reply;
use crate::throttle::percent;
use crate::topics::Topic;
use crate::unpacking::Unpacking;

/// There are no other replicas to wait for, and what is in the log will be durable: whoever is told
/// "timed out" meanwhile writes it again.
const TIMEOUT_MIN: Duration = Duration::from_secs(30);

/// What was appended, and what it waits for.
pub(crate) struct Produced {
    response: ProduceResponse,
    waits: Vec<Wait>,
    acks: i16,
    timeout: Duration,
    /// For what its old message sets hold when they are unpacked.
    room: Room,
}

/// A partition of the answer that may not be given yet.
struct Wait {
    topic: usize,
    partition: usize,
    marks: watch::Receiver<Marks>,
    last: Offset,
}

/// Why nothing was appended.
#[derive(Clone, Debug)]
struct Refused {
    error: ErrorCode,
    words: Option<String>,
    /// Where the log begins, if it is the log that refused a batch.
    start: Offset,
    records: Vec<BatchIndexAndErrorMessage>,
}

impl From<(ErrorCode, Option<String>)> for Refused {
    fn from((error, words): (ErrorCode, Option<String>)) -> Refused {
        Refused { error, words, start: Offset::UNKNOWN, records: Vec::new() }
    }
}

/// What has to become part of a transaction before a request can be appended.
pub(crate) struct Joining {
    producer: Producer,
    partitions: Vec<TopicPartition>,
}

/// Looks for partitions that are not yet in the transaction of their batches. Most often there are none.
pub(crate) fn joining(ctx: &Ctx, request: &ProduceRequest, version: i16) -> Option<Joining> {
    if Joins::by_produce(version) != Joins::Itself {
        return None;
    }
    let id = request.transactional_id.as_deref()?;
    ctx.may(Operation::Write, Resource::TransactionalId(id)).ok()?;
    let mut joining: Option<Joining> = None;
    for topic in &request.topic_data {
        let Ok(found) = find(ctx, topic, version) else { continue };
        for data in &topic.partition_data {
            let Some(header) = data.records.as_ref().and_then(|bytes| BatchHeader::parse(bytes).ok()) else {
                continue;
            };
            let Some(log) = found.partition(PartitionId(data.index)).filter(|_| header.is_transactional())
            else {
                continue;
            };
            let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
            if ctx.broker.transactions().check_partition(id, producer, log.id()).is_ok() {
                continue;
            }
            let joining = joining.get_or_insert(Joining { producer, partitions: Vec::new() });
            // Batches of a second producer find that they were not added.
            if joining.producer == producer {
                joining.partitions.push(log.id().clone());
            }
        }
    }
    joining
}

/// Makes them a part, durably. An error is that of the batches that are still none.
pub(crate) async fn join(ctx: &Ctx, joining: Joining, id: &str) -> Result<(), ErrorCode> {
    let Joining { producer, partitions } = joining;
    ctx.broker.transactions().add_partitions(id, producer, &partitions, TxnVersion::V2).await
}

/// Appends all batches of a request; does not wait. `joined` is what came of [`join`].
pub(crate) fn append(
    ctx: &Ctx,
    request: ProduceRequest,
    version: i16,
    joined: Result<(), ErrorCode>,
) -> Produced {
    let mut produced = Produced {
        response: ProduceResponse::default(),
        waits: Vec::new(),
        acks: request.acks,
        timeout: Duration::from_millis(request.timeout_ms.max(0) as u64),
        room: message_sets::room_of_produce(),
    };
    let (now, begun) = (clock::now(), Instant::now());
    let acks = matches!(request.acks, -1..=1).then_some(());
    let acks = acks.ok_or(Refused::from((ErrorCode::InvalidRequiredAcks, None)));
    let (joins, transactional_id) = (Joins::by_produce(version), request.transactional_id.as_deref());
    let ends = Ends { ctx, transactional_id, joins, joined };
    for topic in request.topic_data.into_iter().filter(|topic| !topic.partition_data.is_empty()) {
        let found = acks.clone().and_then(|()| find(ctx, &topic, version));
        produced.topic(&ends, topic, found, (version, now));
    }
    produced.response.throttle_time_ms = throttle(ctx, request.acks, begun);
    produced
}

/// As [`append`], where it holds up nobody though there is much to unpack.
pub(crate) async fn append_aside(
    ctx: Ctx,
    request: ProduceRequest,
    version: i16,
    joined: Result<(), ErrorCode>,
) -> Produced {
    let unpacking = ctx.broker.unpacking().clone();
    unpacking.run(move || append(&ctx, request, version, joined)).await
}

/// Whether an append has to look into more than a few bytes that are packed, or to pack them.
pub(crate) fn unpacks_much(ctx: &Ctx, request: &ProduceRequest, version: i16) -> bool {
    let all = request.topic_data.iter().flat_map(|topic| &topic.partition_data);
    let all = all.filter_map(|data| data.records.as_ref()).map(Bytes::len).sum();
    if Unpacking::is_little(all) {
        return false;
    }
    let now = clock::now();
    let packed = request.topic_data.iter().map(|topic| {
        let found = match version {
            ..13 => ctx.broker.topic(&topic.name),
            _ => ctx.broker.topics().by_id(topic_id(topic.topic_id)),
        };
        let Some(found) = found else { return 0 };
        let sets = topic.partition_data.iter().filter_map(|data| data.records.as_ref());
        let packed = sets.filter(|records| match BatchHeader::parse(records) {
            _ if version < PRODUCE_WITH_BATCHES && !message_sets::is_batch(records) => true,
            Ok(header) => is_looked_into(&header, &found.config, now),
            Err(_) => false,
        });
        packed.map(Bytes::len).sum()
    });
    // Together: many small ones take as long as a large one.
    !Unpacking::is_little(packed.sum())
}

/// Whether a batch is unpacked, or packed, to judge it, to store it or to say which records are to blame.
fn is_looked_into(header: &BatchHeader, config: &TopicConfig, now: Timestamp) -> bool {
    let Ok(codec) = header.attributes.compression() else { return false };
    let timed = config.timestamp_type == TimestampType::CreateTime;
    let is_late = header.max_timestamp.since(now) > config.timestamp_after_max.0;
    let times = timed && (config.timestamp_before_max.0 != i64::MAX || is_late);
    let looks = config.cleanup_policy.compact || times;
    config.compression.is_some_and(|wanted| wanted != codec) || (looks && codec != Compression::None)
}

/// Kafka takes no time of those who want no answer.
fn throttle(ctx: &Ctx, acks: i16, begun: Instant) -> i32 {
    let bytes = ctx.use_quota(Kind::Produce, ctx.request_bytes as f64);
    let time = match acks {
        0 => Duration::ZERO,
        _ => ctx.use_quota(Kind::Request, percent(begun.elapsed())),
    };
    ctx.throttle(bytes.max(time))
}

/// Who will end the transactions of a request's batches.
struct Ends<'a> {
    ctx: &'a Ctx,
    transactional_id: Option<&'a str>,
    joins: Joins,
    joined: Result<(), ErrorCode>,
}

impl Ends<'_> {
    /// As whose the batch is appended. What is wrong with the batch itself, the log will say.
    fn check(&self, records: &[u8], partition: &TopicPartition) -> Result<Origin, Refused> {
        let Ok(header) = BatchHeader::parse(records) else { return Ok(Origin::Client) };
        if !header.is_transactional() {
            return Ok(Origin::Client);
        }
        let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
        // Who does not say the id may not write for it, whether there is an authorizer or not.
        let id = self.transactional_id.ok_or((ErrorCode::TransactionalIdAuthorizationFailed, None))?;
        self.ctx.may(Operation::Write, Resource::TransactionalId(id)).map_err(|error| (error, None))?;
        let checked = self.ctx.broker.transactions().check_partition(id, producer, partition);
        checked.map_err(|error| {
            let error = in_producers_words_of(self.joins, self.joined.err().unwrap_or(error));
            let said = [ErrorCode::InvalidTxnState, ErrorCode::TransactionAbortable].contains(&error);
            let words = "the partition is no part of the producer's open transaction";
            Refused::from((error, said.then(|| words.to_string())))
        })?;
        Ok(if self.joins == Joins::Itself { Origin::ClientInTransaction } else { Origin::Client })
    }
}

fn find(ctx: &Ctx, wanted: &TopicProduceData, version: i16) -> Result<std::sync::Arc<Topic>, Refused> {
    let may = |name: &str| ctx.may(Operation::Write, Resource::Topic(name)).map_err(|error| (error, None));
    let topic = match version {
        ..13 => {
            may(&wanted.name)?;
            ctx.broker.topic(&wanted.name).ok_or((ErrorCode::UnknownTopicOrPartition, None))?
        }
        _ => {
            let id = topic_id(wanted.topic_id);
            let topic = ctx.broker.topics().by_id(id).ok_or((ErrorCode::UnknownTopicId, None))?;
            may(&topic.name)?;
            topic
        }
    };
    if is_internal(&topic.name) {
        Err((ErrorCode::InvalidTopicException, Some(format!("{} is the broker's own", topic.name))))?;
    }
    Ok(topic)
}

impl Produced {
    fn topic(
        &mut self,
        ends: &Ends<'_>,
        wanted: TopicProduceData,
        found: Result<std::sync::Arc<Topic>, Refused>,
        when: (i16, Timestamp),
    ) {
        let at = self.response.responses.len();
        let mut answers = Vec::with_capacity(wanted.partition_data.len());
        for (n, mut data) in wanted.partition_data.into_iter().enumerate() {
            let index = data.index;
            let appended = found.clone().and_then(|topic| {
                data.records = Some(self.batches(data.records.unwrap_or_default(), &topic.config, when.0)?);
                append_one(ends, &topic, data, when)
            });
            answers.push(match appended {
                Ok((answer, marks, last)) => {
                    self.waits.push(Wait { topic: at, partition: n, marks, last });
                    answer
                }
                Err(refused) => refusal(index, in_words_of(when.0, refused)),
            });
        }
        self.response.responses.push(message!(TopicProduceResponse {
            // A copy: the request's memory is not held while the disk is waited for.
            name: StrBytes::from(&*wanted.name),
            topic_id: wanted.topic_id,
            partition_responses: answers,
        }));
    }

    /// What a request of this version carries, as the log takes it.
    fn batches(&mut self, records: Bytes, config: &TopicConfig, version: i16) -> Result<Bytes, Refused> {
        if version < PRODUCE_WITH_BATCHES && !message_sets::is_batch(&records) {
            self.room.wrapper_bytes = message_sets::wrapper_bytes_max(config.max_message_bytes);
            let batches = upgrade(&records, &mut self.room);
            return batches.map_err(|error| (message_sets::refusal(&error), Some(error.to_string())).into());
        }
        if records.is_empty() {
            return Ok(records);
        }
        single_batch(&records, version).map_err(|(error, words)| (error, Some(words.to_string())).into())
    }

    /// The answer, once everything in it is durable or known to have failed.
    pub(crate) async fn reply(mut self, correlation: i32, version: i16) -> Reply {
        if self.acks == 0 {
            return self.unanswered();
        }
        let deadline = Instant::now() + self.timeout.max(TIMEOUT_MIN);
        for wait in std::mem::take(&mut self.waits) {
            let error = match timeout_at(deadline, durable(wait.marks, wait.last)).await {
                Ok(true) => continue,
                Ok(false) => ErrorCode::KafkaStorageError,
                Err(_) => ErrorCode::RequestTimedOut,
            };
            let answer = &mut self.response.responses[wait.topic].partition_responses[wait.partition];
            *answer = refusal(answer.index, (error, None).into());
        }
        match encode_produce_response(correlation, &self.response, version) {
            Ok(frame) => frame.into(),
            Err(error) => Reply::Close(format!("the answer to a produce cannot be encoded: {error}")),
        }
    }

    /// With acks=0 the end of the connection is the only way to say that something was refused.
    fn unanswered(self) -> Reply {
        let partitions = self.response.responses.iter().flat_map(|topic| &topic.partition_responses);
        match partitions.map(|p| ErrorCode::from(p.error_code)).find(|code| !code.is_none()) {
            None => Reply::Nothing,
            Some(code) => Reply::Close(format!("a produce with acks=0 was refused: {code}")),
        }
    }
}

type Appended = (PartitionProduceResponse, watch::Receiver<Marks>, Offset);

fn append_one(
    ends: &Ends<'_>,
    topic: &Topic,
    data: PartitionProduceData,
    (version, now): (i16, Timestamp),
) -> Result<Appended, Refused> {
    let log = topic.partition(PartitionId(data.index)).ok_or((ErrorCode::UnknownTopicOrPartition, None))?;
    let records = data.records.filter(|records: &Bytes| !records.is_empty());
    let Some(records) = records else {
        if version < PRODUCE_WITH_BATCHES {
            let nothing = message!(PartitionProduceResponse { index: data.index, base_offset: -1 });
            return Ok((nothing, log.watch(), Offset::UNKNOWN));
        }
        return Err((ErrorCode::InvalidRecord, Some("a produce without records".into())).into());
    };
    let origin = ends.check(&records, log.id())?;
    let start = || log.marks().start;
    let begins_late = BatchHeader::parse(&records).is_ok_and(|header| header.base_offset != Offset(0));
    if version >= PRODUCE_WITH_BATCHES && begins_late {
        let words = Some("a produced batch begins at offset 0".to_string());
        let refused = Refused::from((ErrorCode::InvalidRecord, words));
        return Err(Refused { start: start(), ..refused });
    }
    let appended = log.append(records.clone(), origin, now).map_err(|error| {
        let start = if tells_start(&error) { start() } else { Offset::UNKNOWN };
        let blamed = record_errors::blame(&records, &topic.config, &error, now);
        Refused { error: append_code(&error), words: Some(error.to_string()), start, records: blamed }
    })?;
    let answer = message!(PartitionProduceResponse {
        index: data.index,
        base_offset: appended.base.0,
        log_append_time_ms: appended.append_time.unwrap_or(Timestamp::NONE).0,
        log_start_offset: appended.start.0,
    });
    Ok((answer, log.watch(), appended.last))
}

/// Kafka called an invalid record a corrupt one until long after there were batches. The clients of then know
/// no younger code: pykafka dies of one.
fn in_words_of(version: i16, refused: Refused) -> Refused {
    match refused.error {
        ErrorCode::InvalidRecord if version < PRODUCE_WITH_BATCHES => {
            Refused { error: ErrorCode::CorruptMessage, ..refused }
        }
        _ => refused,
    }
}

fn refusal(index: i32, refused: Refused) -> PartitionProduceResponse {
    message!(PartitionProduceResponse {
        index,
        error_code: refused.error.code(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: refused.start.0,
        record_errors: refused.records,
        error_message: refused.words.map(StrBytes::from),
    })
}

/// Kafka tells where the log begins unless a batch is damaged or too large, or the disk has failed.
fn tells_start(error: &AppendError) -> bool {
    let silent = [
        ErrorCode::CorruptMessage,
        ErrorCode::MessageTooLarge,
        ErrorCode::RecordListTooLarge,
        ErrorCode::KafkaStorageError,
        ErrorCode::NotLeaderOrFollower,
    ];
    !silent.contains(&append_code(error))
}

/// Which of Kafka's codes says why an append was refused.
pub(crate) fn append_code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Corrupt(_) => ErrorCode::CorruptMessage,
        AppendError::InvalidRecord(_) => ErrorCode::InvalidRecord,
        AppendError::UnsupportedMagic(_) => ErrorCode::UnsupportedForMessageFormat,
        AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
        AppendError::ListTooLarge { .. } => ErrorCode::RecordListTooLarge,
        AppendError::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        AppendError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        AppendError::InvalidTxnState { .. } => ErrorCode::InvalidTxnState,
        AppendError::CoordinatorFenced { .. } => ErrorCode::TransactionCoordinatorFenced,
        AppendError::Storage(_) | AppendError::Poisoned => ErrorCode::KafkaStorageError,
        AppendError::Closed => ErrorCode::NotLeaderOrFollower,
    }
}
