//! The records of one partition that a share group works on (KIP-932): who holds which, how often each
//! was delivered, which are done.
//!
//! ```text
//!                  acquired: count + 1                  accepted
//!   Available ------------------------------> Acquired ----------> Acknowledged
//!       ^                                      |    |   rejected, or a gap
//!       +--------------------------------------+    +------------> Archived
//!         released, its holder's session or lock
//!         has ended, and count is below the limit (else Archived)
//!
//!   start                                    frontier
//!     | batch | batch |  batch  |   batch   |            never delivered yet
//! ```
//!
//! Invariants
//! - A record is held by one member at most, and never longer than its lock lasts.
//! - What is done (acknowledged or archived) is never delivered again.
//! - Nothing below `start` is remembered, nothing at or above `frontier` was ever delivered, and there are
//!   no batches when all between is done.
//! - A record's count goes up by one with each delivery and never down.
//!
//! Decided by `&self` methods that return [`Changes`]; what lasts of them ([`SharePartition::write`]) is
//! appended to `__share_group_state`, and [`SharePartition::apply`] makes them so. An acquisition does not
//! last: what is held when the broker is killed is available again.
//!
//! Records are kept in batches, a state for all of them until they differ, because what is released
//! together is delivered together again, with one count.
//!
//! Not here: the log, whose batches are passed in as spans; sessions; who waits.

mod acknowledge;
mod acquire;
mod in_flight;

use std::collections::BTreeMap;

use flumen_types::{Millis, Offset, Timestamp};
use thiserror::Error;

pub use acknowledge::{Acknowledge, Changes, Kind};
pub use acquire::{Acquire, Acquired};
use in_flight::{Batch, Delivery, State};

use crate::share_state::{Delivered, StateBatch};

/// Offsets of records, the last one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub first: Offset,
    pub last: Offset,
}

impl Span {
    pub fn len(self) -> i64 {
        (self.last.0 - self.first.0 + 1).max(0)
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    pub fn overlaps(self, other: Span) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// What a group may do here, by its own settings or the broker's.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// share.delivery.count.limit
    pub deliveries_max: i16,
    /// share.partition.max.record.locks
    pub in_flight_max: i64,
    /// share.record.lock.duration.ms
    pub lock: Millis,
    /// share.renew.acknowledge.enable
    pub may_renew: bool,
}

/// Why an acknowledgement is refused; nothing of it has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    #[error("the offsets lie beyond what was delivered")]
    Beyond,
    #[error("a record is not held by this member")]
    NotHeld,
    #[error("the group does not renew locks")]
    NoRenewal,
}

/// What is to last of [`Changes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub start: Offset,
    /// Of the records from `start` on, how many are done.
    pub done: i32,
    pub batches: Vec<StateBatch>,
}

/// How many records a group is at, for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// From the first that is not done to the last that was delivered: those that are not done.
    pub in_flight: i64,
    /// Of them, those that somebody holds.
    pub acquired: i64,
}

#[derive(Clone, Debug)]
pub struct SharePartition {
    start: Offset,
    frontier: Offset,
    /// By their first offsets; there may be gaps where the log has nothing.
    batches: BTreeMap<Offset, Batch>,
    /// Whether there may be something available below the frontier.
    may_have_available: bool,
}

impl SharePartition {
    /// From what `__share_group_state` says. What it does not say of the records between two batches was
    /// held by somebody when the broker ended: these are as if never delivered.
    pub fn load(start: Offset, kept: &[StateBatch]) -> Self {
        let mut batches = BTreeMap::new();
        let mut frontier = start;
        for batch in kept {
            if batch.first < frontier || batch.last < batch.first {
                continue;
            }
            if batch.first > frontier {
                let last = Offset(batch.first.0 - 1);
                batches.insert(frontier, Batch::whole(last, Delivery::fresh()));
            }
            batches.insert(batch.first, Batch::whole(batch.last, Delivery::read(batch)));
            frontier = batch.last.next();
        }
        let mut loaded = SharePartition { start, frontier, batches, may_have_available: true };
        loaded.move_start();
        loaded
    }

    pub fn start(&self) -> Offset {
        self.start
    }

    /// The first offset that was never delivered.
    pub fn frontier(&self) -> Offset {
        self.frontier
    }

    /// Where to read next: what is available again, or else what was never delivered.
    pub fn next_fetch(&mut self) -> Offset {
        if self.may_have_available {
            let first = self.batches.iter().find_map(|(first, batch)| batch.first_available(*first));
            if let Some(first) = first {
                return first;
            }
            self.may_have_available = false;
        }
        self.frontier
    }

    /// Whether a read may lead to an acquisition.
    pub fn can_acquire(&mut self, limits: &Limits) -> bool {
        self.next_fetch() != self.frontier || self.in_flight() < limits.in_flight_max
    }

    /// Records from the first that is not done on, whether they are held or not.
    pub fn in_flight(&self) -> i64 {
        if self.batches.is_empty() { 0 } else { self.frontier.since(self.start) }
    }

    /// How many of the records from the start on are done.
    fn done(&self) -> i64 {
        self.batches.iter().map(|(first, batch)| batch.done(*first, self.start)).sum()
    }

    /// What is to last of these changes: said of the records as they will be, with the start as it still is.
    pub fn write(&self, changes: &Changes) -> Write {
        let newly = changes.settled.iter().filter(|batch| batch.state != Delivered::Available);
        let newly: i64 = newly.map(|batch| batch.span().len()).sum();
        let done = i32::try_from(self.done() + newly).unwrap_or(i32::MAX);
        Write { start: self.start, done, batches: changes.settled.clone() }
    }

    /// Makes changes that were decided since the last ones were made.
    pub fn apply(&mut self, changes: &Changes) {
        for settled in &changes.settled {
            self.may_have_available |= settled.state == Delivered::Available;
            self.set(settled.span(), |delivery| *delivery = Delivery::read(settled));
        }
        for (renewed, until) in &changes.renewed {
            self.set(*renewed, |delivery| {
                if let State::Acquired(lock) = &mut delivery.state {
                    lock.until = *until;
                }
            });
        }
        self.move_start();
    }

    /// Changes each record of a span, batch by batch.
    fn set(&mut self, span: Span, change: impl Fn(&mut Delivery)) {
        let from = self.batch_at(span.first).unwrap_or(span.first);
        for (first, batch) in self.batches.range_mut(from..=span.last) {
            batch.set(*first, span, &change);
        }
    }

    /// The first offset of the batch that holds an offset.
    fn batch_at(&self, offset: Offset) -> Option<Offset> {
        let (first, batch) = self.batches.range(..=offset).next_back()?;
        (batch.last >= offset).then_some(*first)
    }

    /// Forgets what is done at the beginning.
    fn move_start(&mut self) {
        while let Some((&first, batch)) = self.batches.first_key_value() {
            match batch.first_open(first) {
                None => {
                    self.start = batch.last.next();
                    self.batches.pop_first();
                }
                Some(open) => {
                    // The records before it stay in their batch, which goes as one.
                    self.start = self.start.max(open);
                    return;
                }
            }
        }
        self.start = self.start.max(self.frontier);
        self.frontier = self.start;
    }

    /// The log begins later now: what lay before is gone.
    pub fn truncate(&mut self, log_start: Offset) {
        if log_start <= self.start {
            return;
        }
        let span = Span { first: self.start, last: Offset(log_start.0 - 1) };
        self.set(span, |delivery| {
            if !delivery.is_done() {
                delivery.state = State::Archived;
            }
        });
        self.start = log_start;
        self.frontier = self.frontier.max(log_start);
        self.batches.retain(|_, batch| batch.last >= log_start);
        self.move_start();
    }

    /// When the next lock ends.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.batches.values().filter_map(Batch::next_deadline).min()
    }

    pub fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        for (span, delivery) in self.runs(Span { first: self.start, last: self.frontier }) {
            let open = if delivery.is_done() { 0 } else { span.len() };
            figures.in_flight += open;
            figures.acquired += if delivery.holder().is_some() { open } else { 0 };
        }
        figures
    }

    /// Of a record that was delivered and is remembered: its state, how often it was, and its holder.
    pub fn look(&self, offset: Offset) -> Option<(&'static str, i16, Option<&str>)> {
        let first = self.batch_at(offset)?;
        let delivery = self.batches.get(&first)?.at(first, offset);
        Some((delivery.state.name(), delivery.count, delivery.holder()))
    }
}
