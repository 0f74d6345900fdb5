//! The fetch of a share fetch: turns, reads, and what is taken of what was read.

use std::sync::Arc;

use bytes::Bytes;
use flumen_auth::Operation;
use flumen_groups::share::Settings;
use flumen_groups::share_partition::{Acquire, Acquired, Limits, Span};
use flumen_protocol::messages::ShareFetchRequest;
use flumen_protocol::messages::share_fetch_response::{AcquiredRecords, PartitionData};
use flumen_protocol::{ErrorCode, message};
use flumen_records::{Batch, ControlRecord, batches};
use flumen_types::{Offset, ProducerId};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::empty;
use crate::access::Resource;
use crate::answer_room::AnswerRoom;
use crate::budget::Share;
use crate::coordinator::{ShareCell, Turn};
use crate::ctx::Ctx;
use crate::handlers::read_code;
use crate::partition_log::{AbortedTxn, Bound, Marks, Read, ReadError};
use crate::share_sessions::{Owner, Place};

const RECORD_LIMIT: i8 = 1;

/// What a share fetch asks for.
pub(super) struct Asked<'a> {
    ctx: &'a Ctx,
    owner: &'a Owner,
    limits: Limits,
    bound: Bound,
    bytes_min: usize,
    bytes_max: usize,
    records_max: i64,
    batch_size: i64,
    is_strict: bool,
    deadline: Instant,
}

/// What it has come to, and what that holds of the budget of answers.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) answers: Vec<(Place, PartitionData)>,
    pub(super) held: Vec<Share>,
}

/// What came of one pass over the partitions.
enum Round {
    Taken(Taken),
    /// There is too little yet, or others are at it.
    Nothing,
    /// All there is are batches without room; the first wants so much.
    NoRoom(usize),
}

/// What one read gave, and what that holds.
type Found = (Result<Read, ReadError>, Option<Share>);

/// A partition whose turn it is, and what was read of it.
struct Reading {
    place: Place,
    cell: Arc<ShareCell>,
    turn: Turn,
    read: Result<Read, ReadError>,
}

impl<'a> Asked<'a> {
    pub(super) fn new(
        ctx: &'a Ctx,
        owner: &'a Owner,
        settings: &Settings,
        request: &ShareFetchRequest,
        deadline: Instant,
    ) -> Self {
        let bytes_max = usize::try_from(request.max_bytes).unwrap_or(0);
        // A pause that outlasts the locks would have everything delivered again; something is always taken.
        let once = ctx.broker.options().fetch_bytes_max.min(ctx.fetch_max().max(1));
        let bytes_max = bytes_max.min(once);
        Asked {
            ctx,
            owner,
            limits: settings.limits,
            bound: if settings.committed_only { Bound::LastStable } else { Bound::HighWatermark },
            bytes_min: usize::try_from(request.min_bytes).unwrap_or(0).min(bytes_max),
            bytes_max,
            records_max: request.max_records.into(),
            batch_size: i64::from(request.batch_size).max(1),
            is_strict: request.share_acquire_mode == RECORD_LIMIT,
            deadline,
        }
    }

    /// Takes what there is, or waits for it.
    pub(super) async fn take(&self, places: &[Place]) -> Taken {
        let mut failed = Taken::default();
        let mut cells = Vec::with_capacity(places.len());
        for place in places {
            match self.open(*place).await {
                Ok(Some(cell)) => cells.push((*place, cell)),
                Ok(None) => {}
                Err(error) => {
                    let mut answer = empty(*place);
                    answer.error_code = error.code();
                    failed.answers.push((*place, answer));
                }
            }
        }
        if cells.is_empty() {
            return failed;
        }
        let mut granted = None;
        loop {
            // Before anything is looked at, so that no news get lost.
            let news = News::of(&cells);
            let is_last = Instant::now() >= self.deadline;
            match self.round(&cells, granted.take(), is_last).await {
                Round::Taken(mut taken) => {
                    taken.answers.append(&mut failed.answers);
                    return taken;
                }
                Round::NoRoom(bytes) => {
                    let room = self.ctx.broker.answers().take(bytes);
                    granted = timeout_at(self.deadline, room).await.ok().flatten();
                    continue;
                }
                Round::Nothing => {}
            }
            // Of a partition that is over there are no news, or news without end.
            if is_last || cells.iter().any(|(_, cell)| cell.is_over()) {
                return failed;
            }
            // What is there at the deadline is taken all the same.
            let _ = timeout_at(self.deadline, news.wait()).await;
        }
    }

    /// `None` if nothing is asked of a partition that is there.
    async fn open(&self, place: Place) -> Result<Option<Arc<ShareCell>>, ErrorCode> {
        let topic = self.ctx.broker.topics().by_id(place.0).ok_or(ErrorCode::UnknownTopicId)?;
        self.ctx.may(Operation::Read, Resource::Topic(&topic.name))?;
        let log = topic.partition(place.1).ok_or(ErrorCode::UnknownTopicOrPartition)?;
        if self.records_max == 0 || self.bytes_max == 0 {
            return Ok(None);
        }
        self.ctx.broker.share().open(&self.owner.0, place, log).await.map(Some)
    }

    /// One pass over the partitions. `granted`: room for a batch that had none before.
    async fn round(
        &self,
        cells: &[(Place, Arc<ShareCell>)],
        mut granted: Option<Share>,
        is_last: bool,
    ) -> Round {
        let turns: Vec<_> = cells
            .iter()
            .filter_map(|(place, cell)| Some((*place, cell.clone(), cell.turn(&self.limits)?)))
            .collect();
        if turns.is_empty() {
            return Round::Nothing;
        }
        let bytes_max = (self.bytes_max / turns.len()).max(1);
        let mut taken = Taken::default();
        let (mut bytes, mut ends_wait, mut readings) = (0, false, Vec::with_capacity(turns.len()));
        let mut coming = turns.into_iter();
        while let Some((place, cell, turn)) = coming.next() {
            let found = match self.is_read(&cell, turn.from) {
                true => self.read(&cell, turn.from, self.room(&mut granted, bytes_max), bytes == 0).await,
                false => Ok((Ok(nothing(&cell, turn.from)), None)),
            };
            let (read, held) = match found {
                Ok(found) => found,
                Err(_) if is_last => (Ok(nothing(&cell, turn.from)), None),
                Err(wanted) => {
                    // Nobody of the group stands behind this fetch while it waits for room.
                    let read = readings.into_iter().map(|reading: Reading| (reading.cell, reading.turn));
                    let unread = coming.map(|(_, cell, turn)| (cell, turn));
                    read.chain([(cell, turn)]).chain(unread).for_each(|(cell, turn)| cell.pass(turn));
                    return Round::NoRoom(wanted);
                }
            };
            ends_wait |= read.is_err();
            bytes += read.as_ref().map_or(0, |read| read.bytes.len());
            taken.held.extend(held);
            readings.push(Reading { place, cell, turn, read });
        }
        if !ends_wait && !is_last && bytes < self.bytes_min {
            return Round::Nothing;
        }
        let mut left = self.records_max;
        for reading in readings {
            let place = reading.place;
            let (answer, count) = self.acquire(reading, left);
            left -= count;
            taken.answers.push((place, answer));
        }
        Round::Taken(taken)
    }

    /// Whether the log has something there, or has to say what is wrong.
    fn is_read(&self, cell: &ShareCell, from: Offset) -> bool {
        let marks = cell.log().marks();
        from < marks.start || from < self.limit(&marks) || from > marks.end
    }

    fn room(&self, granted: &mut Option<Share>, bytes_max: usize) -> AnswerRoom {
        let answers = self.ctx.broker.answers();
        match granted.take() {
            Some(share) => AnswerRoom::of(answers, share, bytes_max),
            None => AnswerRoom::take(answers, bytes_max),
        }
    }

    /// An error is how much room a single batch wants that there is not.
    async fn read(
        &self,
        cell: &ShareCell,
        from: Offset,
        mut room: AnswerRoom,
        min_one: bool,
    ) -> Result<Found, usize> {
        if room.is_spent() && !min_one {
            return Ok((Ok(nothing(cell, from)), None));
        }
        let read = cell.log().read(from, room.bytes(), self.bound, min_one).await;
        let used = read.as_ref().map_or(0, |read| read.bytes.len());
        if room.fits(used) { Ok((read, room.into_share())) } else { Err(used) }
    }

    fn limit(&self, marks: &Marks) -> Offset {
        match self.bound {
            Bound::LastStable => marks.last_stable,
            _ => marks.high_watermark,
        }
    }

    /// Takes of what was read; how many records.
    fn acquire(&self, reading: Reading, left: i64) -> (PartitionData, i64) {
        let Reading { place, cell, turn, read } = reading;
        let mut answer = empty(place);
        let read = match read {
            Ok(read) => read,
            Err(ReadError::OutOfRange { .. }) => {
                // What lay before the log's beginning is gone for this group as well.
                let start = cell.log().marks().start;
                cell.truncate(turn, start);
                return (answer, 0);
            }
            Err(error) => {
                answer.error_code = read_code(&error).code();
                return (answer, 0);
            }
        };
        let batches: Vec<Batch> = batches(read.bytes.clone()).map_while(Result::ok).collect();
        let spans: Vec<Span> = batches.iter().map(span).collect();
        let ask = Acquire {
            member: self.owner.1.clone(),
            records_max: left,
            is_strict: self.is_strict,
            batch_size: self.batch_size,
            from: turn.from,
            now: self.ctx.broker.share().now(),
        };
        let aborted = aborted(&batches, &read.aborted);
        let taken = cell.acquire(turn, &ask, &self.limits, &spans, &aborted);
        self.ctx.broker.share().watch(&cell);
        let (Some(first), Some(last)) = (taken.first(), taken.last()) else { return (answer, 0) };
        let around = Span { first: first.span.first, last: last.span.last };
        answer.records = overlapping(&read.bytes, &batches, around);
        answer.acquired_records = taken.iter().map(told).collect();
        (answer, taken.iter().map(|acquired| acquired.span.len()).sum())
    }
}

/// What may make a wait worth while: more in the log, or something given back.
struct News {
    logs: Vec<watch::Receiver<Marks>>,
    cells: Vec<watch::Receiver<()>>,
}

impl News {
    fn of(cells: &[(Place, Arc<ShareCell>)]) -> News {
        let mut logs: Vec<_> = cells.iter().map(|(_, cell)| cell.log().watch()).collect();
        logs.iter_mut().for_each(watch::Receiver::mark_unchanged);
        News { logs, cells: cells.iter().map(|(_, cell)| cell.news()).collect() }
    }

    async fn wait(mut self) {
        let mut logs: FuturesUnordered<_> = self.logs.iter_mut().map(watch::Receiver::changed).collect();
        let mut cells: FuturesUnordered<_> = self.cells.iter_mut().map(watch::Receiver::changed).collect();
        tokio::select! {
            _ = logs.next() => {}
            _ = cells.next() => {}
        }
    }
}

fn nothing(cell: &ShareCell, from: Offset) -> Read {
    Read { bytes: Bytes::new(), next: from, aborted: Vec::new(), marks: cell.log().marks() }
}

fn span(batch: &Batch) -> Span {
    let header = batch.header();
    Span { first: header.base_offset, last: header.last_offset() }
}

fn told(acquired: &Acquired) -> AcquiredRecords {
    message!(AcquiredRecords {
        first_offset: acquired.span.first.0,
        last_offset: acquired.span.last.0,
        delivery_count: acquired.count,
    })
}

/// The batches that hold something of a span, as one piece.
fn overlapping(bytes: &Bytes, batches: &[Batch], around: Span) -> Bytes {
    let mut at = 0;
    let mut piece: Option<(usize, usize)> = None;
    for batch in batches {
        let end = at + batch.bytes().len();
        if span(batch).overlaps(around) {
            piece = Some((piece.map_or(at, |(begin, _)| begin), end));
        }
        at = end;
    }
    piece.map_or_else(Bytes::new, |(begin, end)| bytes.slice(begin..end))
}

/// The batches whose transactions were aborted.
fn aborted(batches: &[Batch], transactions: &[AbortedTxn]) -> Vec<Span> {
    let mut coming: Vec<&AbortedTxn> = transactions.iter().collect();
    coming.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset));
    let mut open: Vec<ProducerId> = Vec::new();
    let mut spans = Vec::new();
    for batch in batches {
        let header = batch.header();
        while coming.last().is_some_and(|next| next.first_offset <= header.last_offset()) {
            open.extend(coming.pop().map(|transaction| transaction.producer_id));
        }
        if header.is_control() {
            if matches!(batch.control(), Ok(ControlRecord::Abort { .. })) {
                open.retain(|producer| *producer != header.producer_id);
            }
        } else if header.is_transactional() && open.contains(&header.producer_id) {
            spans.push(span(batch));
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flumen_protocol::messages::share_fetch_request::{FetchPartition, FetchTopic};
    use flumen_protocol::messages::wire_id;
    use flumen_records::{BatchBuilder, Compression, NewRecord};
    use flumen_types::{PartitionId, Timestamp};
    use tokio::time::timeout;

    use super::*;
    use crate::handlers::{share_fetch, share_states};
    use crate::partition_log::{Origin, durable};
    use crate::{Broker, Options};

    const PATIENCE: Duration = Duration::from_secs(40);

    async fn start(dir: &tempfile::TempDir) -> Broker {
        let options =
            Options { fetch_answers_total: 400_000, fetch_bytes_max: 100_000, ..Options::new(dir.path()) };
        let broker = Broker::start(options).await.unwrap();
        let topic = broker.ensure_topic("t", Some(2), &Default::default()).await.unwrap();
        for partition in 0..2 {
            let key = share_states::key("g", wire_id(topic.id), partition).ok().unwrap();
            broker.share().store().initialize(&key, 1, Offset::ZERO).await.unwrap();
        }
        broker
    }

    async fn append(broker: &Broker, partition: i32, value: &[u8]) {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(&NewRecord { value: Some(value), ..NewRecord::default() });
        let topic = broker.topic("t").unwrap();
        let log = topic.partition(PartitionId(partition)).unwrap();
        let appended = log.append(batch.build().unwrap(), Origin::Client, Timestamp(0)).unwrap();
        assert!(durable(log.watch(), appended.last).await);
    }

    /// How many records of which partition a member of the group gets.
    async fn fetched(broker: &Broker, member: &str, partitions: &[i32]) -> Vec<(i32, usize)> {
        let ctx = Ctx { connection: broker.new_connection(), ..Ctx::nobody(broker.clone()) };
        let of = |partition: &i32| message!(FetchPartition { partition_index: *partition });
        let topic_id = wire_id(broker.topic("t").unwrap().id());
        let request = message!(ShareFetchRequest {
            group_id: Some("g".into()),
            member_id: Some(member.into()),
            max_wait_ms: PATIENCE.as_millis() as i32,
            min_bytes: 1,
            max_bytes: 1 << 20,
            max_records: 500,
            batch_size: 500,
            topics: vec![message!(FetchTopic { topic_id, partitions: partitions.iter().map(of).collect() })],
        });
        let (answer, _) = share_fetch::handle(&ctx, request, 1).await;
        let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
        partitions.map(|one| (one.partition_index, one.acquired_records.len())).collect()
    }

    #[tokio::test]
    async fn who_waits_for_room_holds_up_nobody_of_the_group() {
        let dir = tempfile::tempdir().unwrap();
        let broker = start(&dir).await;
        append(&broker, 0, &[0; 300_000]).await;
        let answers = broker.answers();
        let held = answers.try_take(answers.total()).unwrap();
        let waiting = tokio::spawn({
            let broker = broker.clone();
            async move { fetched(&broker, "a", &[0, 1]).await }
        });
        let waits = async {
            while !answers.is_waited_for() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waits).await.expect("the first waits for room");
        append(&broker, 1, b"small").await;
        assert_eq!(fetched(&broker, "b", &[1]).await, [(1, 1)]);
        assert!(!waiting.is_finished(), "there is no room");
        drop(held);
        assert_eq!(waiting.await.unwrap(), [(0, 1), (1, 0)]);
        assert_eq!(answers.left(), answers.total(), "what was fetched is let go with the answer");
    }
}
