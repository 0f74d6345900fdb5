//! What becomes of records that a member holds: accepted, released, rejected, held for longer; or its
//! session, or their lock, has ended.

use flumen_types::{Offset, Timestamp};

use super::in_flight::{Delivery, State};
use super::{Limits, Refused, SharePartition, Span};
use crate::share_state::{Delivered, StateBatch};

/// What a member says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// There is no such record in the log.
    Gap,
    Accept,
    Release,
    Reject,
    Renew,
}

/// Kinds for the records of a span: one for each, or one for all.
#[derive(Clone, Debug)]
pub struct Acknowledge {
    pub span: Span,
    pub kinds: Vec<Kind>,
}

/// What was decided of records that were held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What lasts.
    pub settled: Vec<StateBatch>,
    /// Locks that last until then.
    pub renewed: Vec<(Span, Timestamp)>,
}

impl Kind {
    pub fn read(code: i8) -> Option<Kind> {
        Some(match code {
            0 => Kind::Gap,
            1 => Kind::Accept,
            2 => Kind::Release,
            3 => Kind::Reject,
            4 => Kind::Renew,
            _ => return None,
        })
    }

    /// `None`: the record stays held.
    fn settles(self, delivery: &Delivery, limits: &Limits) -> Option<Delivered> {
        match self {
            Kind::Accept => Some(Delivered::Acknowledged),
            Kind::Gap | Kind::Reject => Some(Delivered::Archived),
            Kind::Release => Some(released(delivery, limits)),
            Kind::Renew => None,
        }
    }
}

/// Whether another may have it, or it has been delivered often enough.
fn released(delivery: &Delivery, limits: &Limits) -> Delivered {
    if delivery.count >= limits.deliveries_max { Delivered::Archived } else { Delivered::Available }
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.settled.is_empty() && self.renewed.is_empty()
    }

    /// How many records something lasting was decided of.
    pub fn settled_count(&self) -> i64 {
        self.settled.iter().map(|batch| batch.span().len()).sum()
    }

    fn settle(&mut self, span: Span, state: Delivered, count: i16) {
        let next = StateBatch { first: span.first, last: span.last, state, count };
        match self.settled.last_mut().filter(|last| last.continues(&next)) {
            Some(last) => last.last = next.last,
            None => self.settled.push(next),
        }
    }
}

impl SharePartition {
    /// What a member's acknowledgements come to: all of them, or none.
    pub fn acknowledge(
        &self,
        member: &str,
        acknowledged: &[Acknowledge],
        limits: &Limits,
        now: Timestamp,
    ) -> Result<Changes, Refused> {
        let mut changes = Changes::default();
        let mut said = Offset::UNKNOWN;
        for one in acknowledged.iter().filter(|one| one.span.last >= self.start) {
            // Of one record twice: it is no longer held the second time.
            if one.span.first <= said {
                return Err(Refused::NotHeld);
            }
            said = one.span.last;
            self.check_known(one.span)?;
            self.acknowledge_one(member, one, limits, now, &mut changes)?;
        }
        Ok(changes)
    }

    fn check_known(&self, span: Span) -> Result<(), Refused> {
        let floor = self.batches.range(..=span.first.max(self.start)).next_back();
        let Some((from, _)) = floor else { return Err(Refused::NotHeld) };
        let last = self.batches.range(from..=&span.last).next_back().map(|(_, batch)| batch.last);
        match last {
            Some(last) if last >= span.last => Ok(()),
            _ => Err(Refused::Beyond),
        }
    }

    fn acknowledge_one(
        &self,
        member: &str,
        one: &Acknowledge,
        limits: &Limits,
        now: Timestamp,
        changes: &mut Changes,
    ) -> Result<(), Refused> {
        let span = Span { first: one.span.first.max(self.start), last: one.span.last };
        for (run, delivery) in self.runs(span) {
            if delivery.holder() != Some(member) {
                return Err(Refused::NotHeld);
            }
            for (part, kind) in one.parts(run) {
                match kind.settles(delivery, limits) {
                    Some(state) => changes.settle(part, state, delivery.count),
                    None if limits.may_renew => changes.renewed.push((part, now.plus(limits.lock))),
                    None => return Err(Refused::NoRenewal),
                }
            }
        }
        Ok(())
    }

    /// Stretches of records that are alike.
    pub(super) fn runs(&self, span: Span) -> impl Iterator<Item = (Span, &Delivery)> {
        let from = self.batch_at(span.first).unwrap_or(span.first);
        let to = span.last.max(from);
        self.batches.range(from..=to).flat_map(move |(first, batch)| batch.runs(*first, span))
    }

    /// What a member holds goes back: its session has ended.
    pub fn release(&self, member: &str, limits: &Limits) -> Changes {
        self.give_back(limits, |lock| *lock.member == *member)
    }

    /// What was held for too long goes back.
    pub fn expire(&self, limits: &Limits, now: Timestamp) -> Changes {
        self.give_back(limits, |lock| lock.until <= now)
    }

    fn give_back(&self, limits: &Limits, which: impl Fn(&super::in_flight::Lock) -> bool) -> Changes {
        let mut changes = Changes::default();
        for (span, delivery) in self.runs(Span { first: self.start, last: self.frontier }) {
            if let State::Acquired(lock) = &delivery.state
                && which(lock)
            {
                changes.settle(span, released(delivery, limits), delivery.count);
            }
        }
        changes
    }
}

impl Acknowledge {
    /// Of how many records this is said.
    pub fn count(&self, kind: Kind) -> i64 {
        match self.kinds[..] {
            [one] => {
                if one == kind {
                    self.span.len()
                } else {
                    0
                }
            }
            _ => self.kinds.iter().filter(|each| **each == kind).count() as i64,
        }
    }

    /// Stretches of one kind within a span.
    fn parts(&self, within: Span) -> Vec<(Span, Kind)> {
        let [kind] = self.kinds[..] else {
            let mut parts: Vec<(Span, Kind)> = Vec::new();
            for at in within.first.0..=within.last.0 {
                let Some(kind) = self.kinds.get((at - self.span.first.0) as usize) else { break };
                match parts.last_mut().filter(|(_, last)| last == kind) {
                    Some((span, _)) => span.last = Offset(at),
                    None => parts.push((Span { first: Offset(at), last: Offset(at) }, *kind)),
                }
            }
            return parts;
        };
        vec![(within, kind)]
    }
}
