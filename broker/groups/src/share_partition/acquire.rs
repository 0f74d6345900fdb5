//! A member takes records that it has not read yet: whole batches of the log where that is possible.
//!
//! By Kafka's rules: as many records as were asked for at least, up to the end of a batch of the log, if
//! there are so many; what was released together is taken together, with its count. Records that failed
//! half of the deliveries that they may have are taken in ever smaller portions, the last time alone, so
//! that one that makes its readers fail takes no others with it.

use std::sync::Arc;

use flumen_types::{Offset, Timestamp};

use super::in_flight::{Batch, Deliveries, Delivery, Lock, State};
use super::{Limits, SharePartition, Span};

/// Portions never begin to shrink earlier.
const PORTIONS_AFTER_MIN: i16 = 2;

/// What a member asks for.
#[derive(Clone, Debug)]
pub struct Acquire {
    pub member: Arc<str>,
    /// How many records it wants, 1 at least.
    pub records_max: i64,
    /// Never more, though a batch of the log is cut in two by it (KIP-1206).
    pub is_strict: bool,
    /// How long the pieces are that it acknowledges best.
    pub batch_size: i64,
    /// Where the log was read.
    pub from: Offset,
    pub now: Timestamp,
}

/// Records that are a member's now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acquired {
    pub span: Span,
    pub count: i16,
}

/// What one acquisition has come to.
struct Taking<'a> {
    ask: &'a Acquire,
    limits: &'a Limits,
    /// The batches of the log that were read.
    read: &'a [Span],
    lock: Lock,
    /// Up to and with this one.
    last: Offset,
    left: i64,
    taken: Vec<Acquired>,
}

impl SharePartition {
    /// Takes what may be taken of the batches that were read, which must not be empty.
    pub fn acquire(&mut self, ask: &Acquire, limits: &Limits, read: &[Span]) -> Vec<Acquired> {
        let (Some(first), Some(last)) = (read.first(), read.last()) else { return Vec::new() };
        let (upto, room) = self.room(ask, limits, last.last);
        if last.last < self.start || room <= 0 {
            return Vec::new();
        }
        self.archive_missing(ask.from, first.first);
        let lock = Lock { member: ask.member.clone(), until: ask.now.plus(limits.lock) };
        let mut taking = Taking { ask, limits, read, lock, last: upto, left: room, taken: Vec::new() };
        let base = match self.batch_at(first.first) {
            Some(holding) => holding,
            None if self.batches.range(..first.first).next_back().is_none() => first.first.max(self.start),
            None => first.first,
        };
        let known: Vec<Offset> =
            self.batches.range(base.min(first.first)..=upto).map(|(first, _)| *first).collect();
        let mut next = base;
        for at in known {
            if taking.left <= 0 {
                break;
            }
            next = self.batches[&at].last.next();
            self.take_again(at, &mut taking);
        }
        if taking.left > 0 && next <= upto {
            self.take_new(Span { first: next, last: upto }, &mut taking);
        }
        taking.taken
    }

    /// Up to which offset, and how many records.
    fn room(&self, ask: &Acquire, limits: &Limits, last: Offset) -> (Offset, i64) {
        let room = ask.records_max.min(limits.in_flight_max - self.in_flight());
        let end = Offset(self.frontier.0 - 1);
        if room > 0 || self.batches.is_empty() || ask.from > end {
            return (last, room);
        }
        // No more may be in flight, but what is may be delivered again.
        (last.min(end), ask.records_max.min(end.since(ask.from) + 1))
    }

    /// What is available but no longer in the log (compaction has taken it) is never delivered.
    fn archive_missing(&mut self, from: Offset, upto: Offset) {
        if from >= upto {
            return;
        }
        let missing = Span { first: from, last: Offset(upto.0 - 1) };
        self.set(missing, |delivery| {
            if delivery.is_available() {
                delivery.state = State::Archived;
            }
        });
        self.may_have_available = true;
    }

    /// Takes of a batch that is known what is available.
    fn take_again(&mut self, at: Offset, taking: &mut Taking<'_>) {
        let batch = &self.batches[&at];
        let span = batch.span(at);
        if batch.alike().is_some_and(Delivery::is_fresh) {
            return self.take_fresh(at, taking);
        }
        let portion_after = portions_after(taking.limits.deliveries_max);
        let asked = Span { first: taking.read[0].first, last: taking.last };
        let most = batch.runs(at, asked).into_iter().filter(|(_, delivery)| delivery.is_available());
        let Some(most) = most.map(|(_, delivery)| delivery.count).max() else { return };
        let in_portions = most >= portion_after;
        if in_portions && !taking.taken.is_empty() {
            taking.left = 0;
            return;
        }
        let is_whole = asked.first <= at && batch.last <= asked.last;
        let is_too_long = taking.ask.is_strict && span.len() > taking.left;
        let Some(batch) = self.batches.get_mut(&at) else { return };
        if is_whole
            && !is_too_long
            && !in_portions
            && let Deliveries::Whole(delivery) = &mut batch.deliveries
        {
            delivery.acquire(&taking.lock);
            taking.take(Acquired { span, count: delivery.count });
            return;
        }
        let taken = take_some(batch, at, asked, taking);
        if in_portions && taken {
            taking.left = 0;
        }
    }

    /// Takes of a batch that was never delivered, though batches behind it were.
    fn take_fresh(&mut self, at: Offset, taking: &mut Taking<'_>) {
        let Some(batch) = self.batches.remove(&at) else { return };
        let upto = batch.last.min(taking.last);
        let from = at.max(taking.read[0].first);
        if at < from {
            self.batches.insert(at, Batch::whole(Offset(from.0 - 1), Delivery::fresh()));
        }
        self.take_new(Span { first: from, last: upto }, taking);
        let next = taking.taken.last().map_or(from, |taken| taken.span.last.next()).max(from);
        if next <= batch.last && !self.batches.contains_key(&next) {
            self.batches.insert(next, Batch::whole(batch.last, Delivery::fresh()));
            self.may_have_available = true;
        }
    }

    /// Takes of what was never delivered, up to the end of a batch of the log.
    fn take_new(&mut self, span: Span, taking: &mut Taking<'_>) {
        let mut span = span;
        let mut rest = None;
        if taking.left < span.len() {
            let enough = span.first.plus(taking.left - 1);
            let holding = taking.read.iter().find(|batch| batch.first <= enough && enough <= batch.last);
            let aligned = holding.map_or(enough, |batch| batch.last).min(span.last);
            span.last = if taking.ask.is_strict { enough } else { aligned };
            // What is left of a batch that was cut is the next to be taken.
            rest = (span.last < aligned).then_some(Span { first: span.last.next(), last: aligned });
        }
        if span.is_empty() {
            return;
        }
        if self.batches.first_key_value().is_none_or(|(first, _)| span.first < *first) {
            self.start = span.first;
        }
        for piece in pieces(span, taking) {
            let mut delivery = Delivery::fresh();
            delivery.acquire(&taking.lock);
            let count = delivery.count;
            self.batches.insert(piece.first, Batch::whole(piece.last, delivery));
            taking.take(Acquired { span: piece, count });
        }
        if let Some(rest) = rest {
            self.batches.insert(rest.first, Batch::whole(rest.last, Delivery::fresh()));
            self.may_have_available = true;
        }
        let last = rest.map_or(span.last, |rest| rest.last);
        self.frontier = self.frontier.max(last.next());
    }

    /// Archives what was taken though its transaction was aborted, and takes it out of `taken`.
    pub fn archive_aborted(&mut self, aborted: &[Span], taken: Vec<Acquired>) -> Vec<Acquired> {
        for span in aborted {
            self.set(*span, |delivery| {
                if matches!(delivery.state, State::Acquired(_)) {
                    delivery.state = State::Archived;
                }
            });
        }
        taken.into_iter().flat_map(|acquired| without(acquired, aborted)).collect()
    }
}

impl Taking<'_> {
    fn take(&mut self, acquired: Acquired) {
        self.left -= acquired.span.len();
        self.taken.push(acquired);
    }
}

/// From how many deliveries on records are taken in portions.
fn portions_after(deliveries_max: i16) -> i16 {
    (deliveries_max / 2 + deliveries_max % 2).max(PORTIONS_AFTER_MIN)
}

/// Takes single records of a batch; whether there were any.
fn take_some(batch: &mut Batch, at: Offset, asked: Span, taking: &mut Taking<'_>) -> bool {
    let max = taking.limits.deliveries_max;
    let portion_after = portions_after(max);
    let (from, to) = (asked.first.max(at), asked.last.min(batch.last));
    let each = batch.each_mut(at);
    let length = each.len() as i64;
    let mut portion = None;
    let mut taken: Vec<Acquired> = Vec::new();
    let mut count = 0;
    for offset in from.0..=to.0 {
        let delivery = &mut each[(offset - at.0) as usize];
        if !delivery.is_available() {
            continue;
        }
        let is_last_try = max > 2 && delivery.count == max - 1;
        if is_last_try && count > 0 {
            break;
        }
        if delivery.count >= portion_after && portion.is_none() {
            portion = Some((length >> (delivery.count - portion_after + 1).min(62)).max(1));
        }
        delivery.acquire(&taking.lock);
        let span = Span { first: Offset(offset), last: Offset(offset) };
        let fits = |last: &&mut Acquired| last.span.last.0 + 1 == offset && last.count == delivery.count;
        match taken.last_mut().filter(fits) {
            Some(last) => last.span.last = span.last,
            None => taken.push(Acquired { span, count: delivery.count }),
        }
        count += 1;
        let is_full = (taking.ask.is_strict && count == taking.left) || portion == Some(count);
        if is_last_try || is_full {
            break;
        }
    }
    taken.into_iter().for_each(|acquired| taking.take(acquired));
    count > 0
}

/// New records in pieces of the length asked for, cut where batches of the log begin.
fn pieces(span: Span, taking: &Taking<'_>) -> Vec<Span> {
    let mut pieces = Vec::new();
    let mut first = span.first;
    if !taking.ask.is_strict && span.len() > taking.ask.batch_size {
        for batch in taking.read.iter().take_while(|batch| batch.first <= span.last) {
            if batch.first.since(first) >= taking.ask.batch_size && batch.first > first {
                pieces.push(Span { first, last: Offset(batch.first.0 - 1) });
                first = batch.first;
            }
        }
    }
    pieces.push(Span { first, last: span.last });
    pieces
}

/// What is left of acquired records outside of some spans, which ascend.
fn without(acquired: Acquired, gone: &[Span]) -> Vec<Acquired> {
    let mut left = Vec::new();
    let mut first = acquired.span.first;
    for gone in gone.iter().filter(|gone| gone.overlaps(acquired.span)) {
        if first < gone.first {
            left.push(Acquired { span: Span { first, last: Offset(gone.first.0 - 1) }, ..acquired });
        }
        first = first.max(gone.last.next());
    }
    if first <= acquired.span.last {
        left.push(Acquired { span: Span { first, last: acquired.span.last }, ..acquired });
    }
    left
}
