//! Fetch (1): whole batches as they lie in the log, by reference; waits until there are enough. Old clients
//! are given them as message sets.
//!
//! Rules of Kafka that clients lean on: the first batch of an answer comes even if it is larger than
//! every limit, so that nobody gets stuck; an error is told at once; a reader of committed records is
//! told which transactions to leave out. Who is over a quota is answered at once, with nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_auth::Operation;
use flumen_auth::quota::Kind;
use flumen_protocol::messages::fetch_response::{AbortedTransaction, FetchableTopicResponse, PartitionData};
use flumen_protocol::messages::{FetchRequest, FetchResponse, topic_id};
use flumen_protocol::{ErrorCode, message};
use flumen_records::message_set::Magic;
use flumen_records::{Batch, Compression, batches};
use flumen_types::{Offset, PartitionId};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, timeout_at};

use super::message_sets::{self, OldReader};
use crate::access::Resource;
use crate::answer_room::AnswerRoom;
use crate::budget::{Budget, Share};
use crate::ctx::Ctx;
use crate::fetch_sessions::{Plan, Wanted};
use crate::partition_log::{Bound, Marks, PartitionLog, Read, ReadError};
use crate::unpacking::Unpacking;

const READ_COMMITTED: i8 = 1;
/// How long at least a fetch waits for those who do not take their answers to be given up.
const ROOM_WAIT_MIN: Duration = Duration::from_secs(10);
/// Older clients cannot read it (KIP-110).
const FIRST_WITH_ZSTD: i16 = 10;
/// Between two reads of a fetch that waits for more bytes than there are.
const REREAD_PAUSE: Duration = Duration::from_millis(10);

/// The answer, and what it holds of the budget of answers.
pub(crate) async fn handle(ctx: &Ctx, request: FetchRequest, version: i16) -> (FetchResponse, Vec<Share>) {
    let deadline = Instant::now() + Duration::from_millis(request.max_wait_ms.max(0) as u64);
    let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0).min(ctx.broker.options().fetch_bytes_max);
    let bytes_max = bytes_max.min(ctx.fetch_max());
    let asked = Asked {
        bound: if request.isolation_level == READ_COMMITTED {
            Bound::LastStable
        } else {
            Bound::HighWatermark
        },
        bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
        bytes_max,
        by_id: version >= 13,
        takes_zstd: version >= FIRST_WITH_ZSTD,
        magic: message_sets::magic_of_fetch(version),
        answers: ctx.broker.answers().clone(),
        waits_until: deadline.max(Instant::now() + ROOM_WAIT_MIN),
        unpacking: ctx.broker.unpacking().clone(),
    };
    let planned = ctx.broker.sessions().plan(request, version);
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => return (message!(FetchResponse { error_code: error.code() }), Vec::new()),
    };
    let sources: Vec<_> = plan.wanted.iter().map(|wanted| asked.source(ctx, wanted)).collect();
    let mut round = asked.read(&plan.wanted, &sources).await;
    while round.bytes < asked.bytes_min && !round.ends_wait && !plan.wanted.is_empty() {
        // What has come so far is read again with what comes: not for every append of a busy producer.
        let pause = if round.bytes > 0 { REREAD_PAUSE } else { Duration::ZERO };
        let news = async |round: &Round| {
            tokio::time::sleep(pause).await;
            asked.news(&plan.wanted, &sources, round).await;
        };
        // Whoever waits holds nothing: it may be for long.
        let had = round.release();
        let is_late = timeout_at(deadline, news(&round)).await.is_err();
        if had || !is_late {
            round = asked.read(&plan.wanted, &sources).await;
        }
        if is_late {
            break;
        }
    }
    let bytes = round.bytes as f64;
    let wait = ctx.use_quota(Kind::Fetch, bytes);
    if !wait.is_zero() {
        // Over its quota: it gets nothing now, and the same records later.
        ctx.give_back(Kind::Fetch, bytes);
        let session_id = ctx.broker.sessions().withhold(&plan);
        let throttle_time_ms = ctx.throttle(wait);
        return (message!(FetchResponse { session_id, throttle_time_ms }), Vec::new());
    }
    (answer(ctx, &plan, round.answers), round.held)
}

/// What holds for all partitions of a fetch.
struct Asked {
    bound: Bound,
    bytes_min: usize,
    bytes_max: usize,
    by_id: bool,
    takes_zstd: bool,
    /// An old client's.
    magic: Option<Magic>,
    answers: Budget,
    /// For the room of a single batch.
    waits_until: Instant,
    unpacking: Unpacking,
}

type Source = Result<Arc<dyn PartitionLog>, ErrorCode>;

/// Whether a partition has more than a read of it gave.
#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Nothing,
    /// The limits of the fetch were in the way.
    WithoutRoom,
}

/// One pass over the partitions.
struct Round {
    answers: Vec<PartitionData>,
    bytes: usize,
    held: Vec<Share>,
    /// There is an error to tell, or more than was asked for: waiting brings nothing.
    ends_wait: bool,
}

impl Round {
    /// Lets go of the records, and of their share of the budget; whether there were any.
    fn release(&mut self) -> bool {
        self.answers
            .iter_mut()
            .filter_map(|answer| answer.records.as_mut())
            .for_each(|records| *records = Bytes::new());
        self.held.clear();
        self.bytes > 0
    }
}

impl Asked {
    fn source(&self, ctx: &Ctx, wanted: &Wanted) -> Source {
        let may = |name: &str| ctx.may(Operation::Read, Resource::Topic(name));
        let topic = match self.by_id {
            true => {
                let topic = ctx.broker.topics().by_id(topic_id(wanted.topic.id)).ok_or(self.unknown())?;
                may(&topic.name)?;
                topic
            }
            false => {
                may(&wanted.topic.name)?;
                ctx.broker.topic(&wanted.topic.name).ok_or(self.unknown())?
            }
        };
        let log = topic.partition(PartitionId(wanted.partition)).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        check_epoch(&log.marks(), wanted.leader_epoch)?;
        Ok(log.clone())
    }

    async fn read(&self, wanted: &[Wanted], sources: &[Source]) -> Round {
        let answers = Vec::with_capacity(wanted.len());
        let mut round = Round { answers, bytes: 0, held: Vec::new(), ends_wait: false };
        for (wanted, source) in wanted.iter().zip(sources) {
            let answer = match source {
                Ok(log) => self.read_one(log.as_ref(), wanted, &mut round).await,
                Err(error) => Err(*error),
            };
            let (answer, more) =
                answer.unwrap_or_else(|error| (refusal(wanted.partition, error), More::Nothing));
            round.bytes += answer.records.as_ref().map_or(0, Bytes::len);
            round.ends_wait |= answer.error_code != 0 || more == More::WithoutRoom;
            round.answers.push(answer);
        }
        round
    }

    async fn read_one(
        &self,
        log: &dyn PartitionLog,
        wanted: &Wanted,
        round: &mut Round,
    ) -> Result<(PartitionData, More), ErrorCode> {
        let watch = log.watch();
        if watch.has_changed().is_err() {
            return Err(self.unknown());
        }
        let marks = *watch.borrow();
        let room = wanted.bytes_max.min(self.bytes_max.saturating_sub(round.bytes));
        let nothing_new = wanted.from >= self.limit(&marks) && wanted.from <= marks.end;
        let is_first = round.bytes == 0;
        let mut room = AnswerRoom::take(&self.answers, if nothing_new { 0 } else { room });
        let no_room = room.is_spent() && !is_first;
        let nothing = Read { bytes: Bytes::new(), next: wanted.from, aborted: Vec::new(), marks };
        if wanted.from >= marks.start && (nothing_new || no_room) {
            let more = if nothing_new { More::Nothing } else { More::WithoutRoom };
            return Ok((self.data(wanted, nothing), more));
        }
        let mut read = self.records(log, wanted.from, room.bytes(), is_first).await?;
        while !room.fits(read.bytes.len()) {
            let used = read.bytes.len();
            drop(read);
            // As a set it is larger than it was; behind others it is left for the next fetch.
            if !is_first || !room.wait(used, self.waits_until).await {
                return Ok((self.data(wanted, nothing), More::WithoutRoom));
            }
            read = self.records(log, wanted.from, room.bytes(), is_first).await?;
        }
        round.held.extend(room.into_share());
        let more = if read.next < self.limit(&read.marks) { More::WithoutRoom } else { More::Nothing };
        Ok((self.data(wanted, read), more))
    }

    /// In the format that this client reads.
    async fn records(
        &self,
        log: &dyn PartitionLog,
        from: Offset,
        room: usize,
        min_one: bool,
    ) -> Result<Read, ErrorCode> {
        let mut at = from;
        loop {
            let read = log.read(at, room, self.bound, min_one).await;
            let read = read.map_err(|error| read_code(&error))?;
            let Some(magic) = self.magic.filter(|_| !read.bytes.is_empty()) else {
                let untold = !self.takes_zstd && has_zstd(&read.bytes);
                return if untold { Err(ErrorCode::UnsupportedCompressionType) } else { Ok(read) };
            };
            let unpacking = &self.unpacking;
            let reader = OldReader { partition: log.id(), magic, from, room, unpacking };
            let read = reader.told(read).await?;
            // Where there are only markers an old client sees nothing, and would ask for them for ever.
            if !read.bytes.is_empty() || read.next <= at {
                return Ok(read);
            }
            at = read.next;
        }
    }

    /// Of a topic or partition that is not there, or no longer.
    fn unknown(&self) -> ErrorCode {
        if self.by_id { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition }
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

fn has_zstd(records: &Bytes) -> bool {
    let codec = |batch: Batch| batch.header().attributes.compression();
    batches(records.clone()).flatten().any(|batch| matches!(codec(batch), Ok(Compression::Zstd)))
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
pub(crate) fn read_code(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { .. } => ErrorCode::CorruptMessage,
        ReadError::Storage(_) => ErrorCode::KafkaStorageError,
    }
}

fn refusal(partition: i32, error: ErrorCode) -> PartitionData {
    let unknown = matches!(error, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId);
    message!(PartitionData {
        // As Kafka has it: of a partition that is there, nothing is known.
        aborted_transactions: unknown.then(Vec::new),
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

#[cfg(test)]
mod tests {
    use flumen_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
    use flumen_records::{BatchBuilder, NewRecord};
    use flumen_types::Timestamp;

    use super::*;
    use crate::partition_log::{Origin, durable};
    use crate::{Broker, Options};

    /// So many records, of nothing each.
    async fn append(log: &Arc<dyn PartitionLog>, records: usize) {
        let mut batch = BatchBuilder::new(Compression::None);
        for _ in 0..records {
            batch.push(&NewRecord::default());
        }
        let appended = log.append(batch.build().unwrap(), Origin::Client, Timestamp(0)).unwrap();
        assert!(durable(log.watch(), appended.last).await);
    }

    /// What is 65 kB as a batch is 278 kB as a set.
    #[tokio::test]
    async fn a_set_without_room_behind_another_is_left_for_the_next_fetch() {
        let dir = tempfile::tempdir().unwrap();
        let options =
            Options { fetch_answers_total: 270_000, fetch_bytes_max: 67_500, ..Options::new(dir.path()) };
        let broker = Broker::start(options).await.unwrap();
        broker.ensure_topic("t", Some(2), &Default::default()).await.unwrap();
        let topic = broker.topic("t").unwrap();
        append(&topic.partitions[0], 1).await;
        append(&topic.partitions[1], 8191).await;
        let of = |partition: i32| message!(FetchPartition { partition, partition_max_bytes: 1 << 20 });
        let topic = message!(FetchTopic { topic: "t".into(), partitions: vec![of(0), of(1)] });
        let request = message!(FetchRequest { max_bytes: 1 << 20, min_bytes: 1, topics: vec![topic] });
        let (ctx, answers) = (Ctx::nobody(broker.clone()), broker.answers());
        let waits = async {
            while !answers.is_waited_for() {
                tokio::task::yield_now().await;
            }
        };
        let (answer, _) = tokio::select! {
            answer = handle(&ctx, request, 3) => answer,
            () = waits => panic!("the answer waits for what could come with the next"),
        };
        let told = answer.responses[0].partitions.iter();
        let told: Vec<_> = told.map(|one| (one.error_code, one.records.as_ref().map(Bytes::len))).collect();
        assert!(matches!(told[..], [(0, Some(1..)), (0, Some(0))]), "{told:?}");
    }
}
