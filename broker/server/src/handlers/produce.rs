//! Produce (0): appended at once and in order; answered when the disk has it.
//!
//! Invariants: an answer without an error means that the records survive a power cut, with acks=1 as
//! with acks=all. A transactional batch is taken only while its partition is part of its producer's open
//! transaction, so that none is left behind that nothing will ever end. Nothing of a record is decoded
//! here, but of the message sets that came before batches.

use std::time::Duration;

use bytes::Bytes;
use flumen_auth::Operation;
use flumen_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use flumen_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use flumen_protocol::messages::{ProduceRequest, ProduceResponse, StrBytes, topic_id};
use flumen_protocol::{ErrorCode, encode_produce_response, message};
use flumen_records::message_set::upgrade;
use flumen_records::{BatchError, BatchHeader, Compression};
use flumen_types::{Offset, PartitionId, Timestamp, TopicPartition};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::message_sets::{self, PRODUCE_WITH_BATCHES};
use crate::access::Resource;
use crate::clock;
use crate::coordinator::Producer;
use crate::ctx::Ctx;
use crate::internal_topics::is_internal;
use crate::partition_log::{AppendError, Marks, Origin, durable};
use crate::reply::Reply;
use crate::topics::Topic;

/// KIP-110.
const FIRST_WITH_ZSTD: i16 = 7;

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
    room: usize,
}

/// A partition of the answer that may not be given yet.
struct Wait {
    topic: usize,
    partition: usize,
    marks: watch::Receiver<Marks>,
    last: Offset,
}

/// A refusal, with words where Kafka has some.
type Refused = (ErrorCode, Option<String>);

/// Appends all batches of a request; does not wait.
pub(crate) fn append(ctx: &Ctx, request: ProduceRequest, version: i16) -> Produced {
    let mut produced = Produced {
        response: ProduceResponse::default(),
        waits: Vec::new(),
        acks: request.acks,
        timeout: Duration::from_millis(request.timeout_ms.max(0) as u64),
        room: message_sets::UNPACKED_MAX,
    };
    let now = clock::now();
    let acks = matches!(request.acks, -1..=1).then_some(()).ok_or((ErrorCode::InvalidRequiredAcks, None));
    let ends = Ends { ctx, transactional_id: request.transactional_id.as_deref() };
    for topic in request.topic_data {
        let found = acks.clone().and_then(|()| find(ctx, &topic, version));
        produced.topic(&ends, topic, found, (version, now));
    }
    produced
}

/// Kafka's rules for what a request of this version may carry for a partition: one batch, of magic 2, in a
/// codec that clients of the time know. What else is wrong with it, the log says.
fn check_shape(records: &[u8], version: i16) -> Result<(), Refused> {
    let refused = |words: &str| Err((ErrorCode::InvalidRecord, Some(words.to_string())));
    let header = match BatchHeader::parse(records) {
        Ok(header) => header,
        Err(error) if matches!(error, BatchError::Magic(_)) || message_sets::is_set(records) => {
            return refused("from Produce version 3 on batches have magic 2");
        }
        Err(_) => return Ok(()),
    };
    if records.len() > header.total_len() {
        return refused("from Produce version 3 on there is one batch for a partition");
    }
    let zstd = matches!(header.attributes.compression(), Ok(Compression::Zstd));
    if zstd && version < FIRST_WITH_ZSTD {
        return Err((ErrorCode::UnsupportedCompressionType, Some("zstd needs Produce version 7".into())));
    }
    Ok(())
}

/// Who will end the transactions of a request's batches.
struct Ends<'a> {
    ctx: &'a Ctx,
    transactional_id: Option<&'a str>,
}

impl Ends<'_> {
    /// What is wrong with the batch itself, the log will say.
    fn check(&self, records: &[u8], partition: &TopicPartition) -> Result<(), Refused> {
        let Ok(header) = BatchHeader::parse(records) else { return Ok(()) };
        if !header.is_transactional() {
            return Ok(());
        }
        let producer = Producer { id: header.producer_id, epoch: header.producer_epoch };
        let id = self.transactional_id.unwrap_or_default();
        self.ctx.may(Operation::Write, Resource::TransactionalId(id)).map_err(|error| (error, None))?;
        self.ctx.broker.transactions().check_produce(id, producer, partition).map_err(|error| (error, None))
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
    match is_internal(&topic.name) {
        true => Err((ErrorCode::InvalidTopicException, Some(format!("{} is the broker's own", topic.name)))),
        false => Ok(topic),
    }
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
                data.records = Some(self.batches(data.records.unwrap_or_default(), when.0)?);
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
    fn batches(&mut self, records: Bytes, version: i16) -> Result<Bytes, Refused> {
        if version < PRODUCE_WITH_BATCHES && !message_sets::is_batch(&records) {
            let batches = upgrade(&records, &mut self.room);
            return batches.map_err(|error| (message_sets::refusal(&error), Some(error.to_string())));
        }
        check_shape(&records, version)?;
        Ok(records)
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
            *answer = refusal(answer.index, (error, None));
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
        return Err((ErrorCode::InvalidRecord, Some("a produce without records".into())));
    };
    ends.check(&records, log.id())?;
    let appended = log.append(records, Origin::Client, now).map_err(|error| {
        if let AppendError::Storage(error) = &error {
            tracing::error!(partition = %log.id(), error = error as &dyn std::error::Error, "an append failed");
        }
        (append_code(&error), Some(error.to_string()))
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
fn in_words_of(version: i16, (error, words): Refused) -> Refused {
    match error {
        ErrorCode::InvalidRecord if version < PRODUCE_WITH_BATCHES => (ErrorCode::CorruptMessage, words),
        _ => (error, words),
    }
}

fn refusal(index: i32, (error, words): Refused) -> PartitionProduceResponse {
    message!(PartitionProduceResponse {
        index,
        error_code: error.code(),
        base_offset: -1,
        log_append_time_ms: -1,
        log_start_offset: -1,
        error_message: words.map(StrBytes::from),
    })
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
