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
        loop {
            // Before anything is looked at, so that no news get lost.
            let news = News::of(&cells);
            let is_last = Instant::now() >= self.deadline;
            if let Some(mut taken) = self.round(&cells, is_last).await {
                taken.answers.append(&mut failed.answers);
                return taken;
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

    /// One pass over the partitions; `None` if there is too little yet.
    async fn round(&self, cells: &[(Place, Arc<ShareCell>)], is_last: bool) -> Option<Taken> {
        let turns: Vec<_> = cells
            .iter()
            .filter_map(|(place, cell)| Some((*place, cell.clone(), cell.turn(&self.limits)?)))
            .collect();
        if turns.is_empty() {
            return None;
        }
        let room = (self.bytes_max / turns.len()).max(1);
        let mut taken = Taken::default();
        let (mut bytes, mut ends_wait, mut readings) = (0, false, Vec::with_capacity(turns.len()));
        for (place, cell, turn) in turns {
            let (read, held) = self.read(&cell, turn.from, room, bytes == 0).await;
            ends_wait |= read.is_err();
            bytes += read.as_ref().map_or(0, |read| read.bytes.len());
            taken.held.extend(held);
            readings.push(Reading { place, cell, turn, read });
        }
        if !ends_wait && !is_last && bytes < self.bytes_min {
            return None;
        }
        let mut left = self.records_max;
        for reading in readings {
            let place = reading.place;
            let (answer, count) = self.acquire(reading, left);
            left -= count;
            taken.answers.push((place, answer));
        }
        Some(taken)
    }

    async fn read(
        &self,
        cell: &ShareCell,
        from: Offset,
        room: usize,
        min_one: bool,
    ) -> (Result<Read, ReadError>, Option<Share>) {
        let marks = cell.log().marks();
        let nothing = Read { bytes: Bytes::new(), next: from, aborted: Vec::new(), marks };
        if from >= marks.start && from >= self.limit(&marks) && from <= marks.end {
            return (Ok(nothing), None);
        }
        let mut room = AnswerRoom::take(self.ctx.broker.answers(), room);
        if room.is_spent() && !min_one {
            return (Ok(nothing), None);
        }
        loop {
            let read = cell.log().read(from, room.bytes(), self.bound, min_one).await;
            let used = read.as_ref().map_or(0, |read| read.bytes.len());
            if room.fits(used) {
                return (read, room.into_share());
            }
            drop(read);
            if !room.wait(used, self.deadline).await {
                return (Ok(nothing), None);
            }
        }
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
