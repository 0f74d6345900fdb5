//! Records that were delivered: the state of each, kept once for a whole batch while they are alike.

use std::sync::Arc;

use flumen_types::{Offset, Timestamp};

use super::Span;
use crate::share_state::{Delivered, StateBatch};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Available,
    Acquired(Lock),
    Acknowledged,
    Archived,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) member: Arc<str>,
    pub(super) until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) state: State,
    /// How often it was delivered.
    pub(super) count: i16,
}

impl Delivery {
    /// Not delivered yet, though others behind it were.
    pub(super) fn fresh() -> Self {
        Delivery { state: State::Available, count: 0 }
    }

    pub(super) fn read(batch: &StateBatch) -> Self {
        let state = match batch.state {
            Delivered::Available => State::Available,
            Delivered::Acknowledged => State::Acknowledged,
            Delivered::Archived => State::Archived,
        };
        Delivery { state, count: batch.count }
    }

    pub(super) fn is_available(&self) -> bool {
        self.state == State::Available
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.is_available() && self.count == 0
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Acknowledged | State::Archived)
    }

    pub(super) fn holder(&self) -> Option<&str> {
        match &self.state {
            State::Acquired(lock) => Some(&lock.member),
            _ => None,
        }
    }

    pub(super) fn acquire(&mut self, lock: &Lock) {
        self.state = State::Acquired(lock.clone());
        self.count = self.count.saturating_add(1);
    }
}

impl State {
    pub(super) fn name(&self) -> &'static str {
        match self {
            State::Available => "available",
            State::Acquired(_) => "acquired",
            State::Acknowledged => "acknowledged",
            State::Archived => "archived",
        }
    }
}

/// Records that are next to each other.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) last: Offset,
    pub(super) deliveries: Deliveries,
}

#[derive(Clone, Debug)]
pub(super) enum Deliveries {
    /// All are alike.
    Whole(Delivery),
    Each(Vec<Delivery>),
}

impl Batch {
    pub(super) fn whole(last: Offset, delivery: Delivery) -> Self {
        Batch { last, deliveries: Deliveries::Whole(delivery) }
    }

    pub(super) fn span(&self, first: Offset) -> Span {
        Span { first, last: self.last }
    }

    /// The whole batch's, if all are alike.
    pub(super) fn alike(&self) -> Option<&Delivery> {
        match &self.deliveries {
            Deliveries::Whole(delivery) => Some(delivery),
            Deliveries::Each(_) => None,
        }
    }

    pub(super) fn at(&self, first: Offset, offset: Offset) -> &Delivery {
        match &self.deliveries {
            Deliveries::Whole(delivery) => delivery,
            Deliveries::Each(each) => &each[offset.since(first) as usize],
        }
    }

    /// One for each record.
    pub(super) fn each_mut(&mut self, first: Offset) -> &mut Vec<Delivery> {
        if let Deliveries::Whole(delivery) = &self.deliveries {
            let count = self.span(first).len() as usize;
            self.deliveries = Deliveries::Each(vec![delivery.clone(); count]);
        }
        match &mut self.deliveries {
            Deliveries::Each(each) => each,
            Deliveries::Whole(_) => unreachable!("it was split above"),
        }
    }

    /// Changes those that lie in a span, as one if they are all and alike.
    pub(super) fn set(&mut self, first: Offset, span: Span, change: impl Fn(&mut Delivery)) {
        let (from, to) = (span.first.max(first), span.last.min(self.last));
        if from > to {
            return;
        }
        if from == first
            && to == self.last
            && let Deliveries::Whole(delivery) = &mut self.deliveries
        {
            return change(delivery);
        }
        let (from, to) = (from.since(first) as usize, to.since(first) as usize);
        self.each_mut(first)[from..=to].iter_mut().for_each(change);
    }

    /// Stretches of records that are alike, within a span.
    pub(super) fn runs(&self, first: Offset, span: Span) -> Vec<(Span, &Delivery)> {
        let (from, to) = (span.first.max(first), span.last.min(self.last));
        if from > to {
            return Vec::new();
        }
        let each = match &self.deliveries {
            Deliveries::Whole(delivery) => return vec![(Span { first: from, last: to }, delivery)],
            Deliveries::Each(each) => each,
        };
        let mut runs: Vec<(Span, &Delivery)> = Vec::new();
        for at in from.0..=to.0 {
            let (at, delivery) = (Offset(at), &each[(at - first.0) as usize]);
            match runs.last_mut().filter(|(_, last)| *last == delivery) {
                Some((run, _)) => run.last = at,
                None => runs.push((Span { first: at, last: at }, delivery)),
            }
        }
        runs
    }

    fn find(&self, first: Offset, wanted: impl Fn(&Delivery) -> bool) -> Option<Offset> {
        match &self.deliveries {
            Deliveries::Whole(delivery) => wanted(delivery).then_some(first),
            Deliveries::Each(each) => each.iter().position(wanted).map(|at| first.plus(at as i64)),
        }
    }

    pub(super) fn first_available(&self, first: Offset) -> Option<Offset> {
        self.find(first, Delivery::is_available)
    }

    /// The first that is not done.
    pub(super) fn first_open(&self, first: Offset) -> Option<Offset> {
        self.find(first, |delivery| !delivery.is_done())
    }

    /// How many from an offset on are done.
    pub(super) fn done(&self, first: Offset, from: Offset) -> i64 {
        match &self.deliveries {
            Deliveries::Whole(delivery) if delivery.is_done() => self.span(first.max(from)).len(),
            Deliveries::Whole(_) => 0,
            Deliveries::Each(each) => {
                let skipped = from.since(first).max(0) as usize;
                each.iter().skip(skipped).filter(|delivery| delivery.is_done()).count() as i64
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        let until = |delivery: &Delivery| match &delivery.state {
            State::Acquired(lock) => Some(lock.until),
            _ => None,
        };
        match &self.deliveries {
            Deliveries::Whole(delivery) => until(delivery),
            Deliveries::Each(each) => each.iter().filter_map(until).min(),
        }
    }
}
