//! The records of a share partition against a model that keeps each by itself.
//!
//! Members take, accept, release, reject, renew and fall silent; the log grows and loses its beginning; the
//! broker is killed and has what was written. A record is never with two members, never comes again when it
//! is done, and counts its deliveries; in the end everything is done.

use std::collections::BTreeMap;

use flumen_groups::share_partition::{Acknowledge, Acquire, Acquired, Kind, Limits, SharePartition, Span};
use flumen_groups::share_state::{Delivered, Options, ShareKey, ShareStates, StateWrite};
use flumen_types::{Millis, Offset, PartitionId, Timestamp, TopicId};
use proptest::prelude::*;

const LOCK: i64 = 50;
const LIMITS: Limits = Limits { deliveries_max: 4, in_flight_max: 60, lock: Millis(LOCK), may_renew: true };

#[derive(Clone, Debug)]
enum Op {
    Grow { records: i64 },
    Take { member: usize, records_max: i64, batch_size: i64, strict: bool, batches: usize },
    Say { member: usize, kind: i8, from: usize, count: usize },
    Leave { member: usize },
    Wait { millis: i64 },
    Kill,
    Trim { records: i64 },
}

fn op() -> impl Strategy<Value = Op> {
    let take = (0..3usize, 1..20i64, 1..10i64, any::<bool>(), 1..5usize);
    prop_oneof![
        3 => (1..12i64).prop_map(|records| Op::Grow { records }),
        6 => take.prop_map(|(member, records_max, batch_size, strict, batches)| {
            Op::Take { member, records_max, batch_size, strict, batches }
        }),
        6 => (0..3usize, 0..5i8, 0..30usize, 1..15usize)
            .prop_map(|(member, kind, from, count)| Op::Say { member, kind, from, count }),
        1 => (0..3usize).prop_map(|member| Op::Leave { member }),
        2 => (1..40i64).prop_map(|millis| Op::Wait { millis }),
        1 => Just(Op::Kill),
        1 => (1..10i64).prop_map(|records| Op::Trim { records }),
    ]
}

#[derive(Clone, Debug, Default)]
struct Record {
    count: i16,
    held: Option<(usize, i64)>,
    done: bool,
    /// As the log of states has it.
    kept: (bool, i16),
}

struct World {
    partition: SharePartition,
    states: ShareStates,
    key: ShareKey,
    written: i64,
    now: i64,
    log: Vec<Span>,
    start: i64,
    records: BTreeMap<i64, Record>,
}

impl World {
    fn new() -> World {
        let key =
            ShareKey { group: "g".into(), topic: TopicId::from_bytes([1; 16]), partition: PartitionId(0) };
        let mut states = ShareStates::new(Options { updates_per_snapshot: 5, ..Options::default() });
        let begun = states.initialize(key.clone(), 1, Offset(0), Timestamp(0)).unwrap();
        states.apply(&begun, Offset(0));
        World {
            partition: SharePartition::load(Offset(0), &[]),
            states,
            key,
            written: 1,
            now: 0,
            log: Vec::new(),
            start: 0,
            records: BTreeMap::new(),
        }
    }

    fn end(&self) -> i64 {
        self.log.last().map_or(0, |batch| batch.last.0 + 1)
    }

    fn settle(&mut self, changes: &flumen_groups::share_partition::Changes) {
        for settled in &changes.settled {
            for at in settled.first.0..=settled.last.0 {
                let record = self.records.get_mut(&at).expect("it was delivered");
                assert_eq!(record.count, settled.count, "at {at}");
                assert!(record.held.is_some(), "{at} was held by nobody");
                record.held = None;
                record.done = settled.state != Delivered::Available;
                record.kept = (record.done, record.count);
            }
        }
        for (span, until) in &changes.renewed {
            for at in span.first.0..=span.last.0 {
                self.records.get_mut(&at).unwrap().held.as_mut().expect("it is held").1 = until.0;
            }
        }
        let write = self.partition.write(changes);
        self.partition.apply(changes);
        if !write.batches.is_empty() {
            let write = StateWrite {
                state_epoch: 1,
                leader_epoch: 0,
                start: write.start,
                done: write.done,
                batches: write.batches,
            };
            let entry = self.states.write(&self.key, &write, Timestamp(self.now)).unwrap();
            self.states.apply(&entry, Offset(self.written));
            self.written += 1;
        }
    }

    fn take(&mut self, member: usize, ask: &Acquire, batches: usize) -> Vec<Acquired> {
        if !self.partition.can_acquire(&LIMITS) {
            return Vec::new();
        }
        let from = self.partition.next_fetch();
        if from.0 < self.start {
            self.trim_to(self.start);
            return Vec::new();
        }
        let read: Vec<Span> =
            self.log.iter().filter(|batch| batch.last >= from).take(batches).copied().collect();
        let ask = Acquire { from, ..ask.clone() };
        let taken = self.partition.acquire(&ask, &LIMITS, &read);
        for acquired in &taken {
            for at in acquired.span.first.0..=acquired.span.last.0 {
                assert!(at < self.end() && at >= self.start, "{at} is not in the log");
                let record = self.records.entry(at).or_default();
                assert!(record.held.is_none() && !record.done, "{at} taken again: {record:?}");
                record.count += 1;
                record.held = Some((member, self.now + LOCK));
                assert_eq!(record.count, acquired.count, "at {at}");
                assert!(record.count <= LIMITS.deliveries_max, "{at} too often");
            }
        }
        if ask.is_strict {
            let count: i64 = taken.iter().map(|acquired| acquired.span.len()).sum();
            assert!(count <= ask.records_max, "{count} of {}", ask.records_max);
        }
        taken
    }

    fn trim_to(&mut self, start: i64) {
        self.start = start;
        self.partition.truncate(Offset(start));
        for (_, record) in self.records.range_mut(..start) {
            (record.held, record.done) = (None, true);
        }
    }

    fn expire(&mut self) {
        let expired = self.partition.expire(&LIMITS, Timestamp(self.now));
        self.settle(&expired);
        for (at, record) in &self.records {
            assert!(record.held.is_none_or(|(_, until)| until > self.now), "{at} is held for too long");
        }
    }

    fn say(&mut self, member: usize, kind: i8, from: usize, count: usize) {
        let held =
            self.records.iter().filter(|(_, record)| record.held.is_some_and(|(who, _)| who == member));
        let held: Vec<i64> = held.map(|(at, _)| *at).skip(from).take(count).collect();
        let kind = Kind::read(kind).unwrap();
        let said = held.iter().map(|at| Acknowledge {
            span: Span { first: Offset(*at), last: Offset(*at) },
            kinds: vec![kind],
        });
        let said: Vec<_> = said.collect();
        let name = name(member);
        let changes = self.partition.acknowledge(&name, &said, &LIMITS, Timestamp(self.now)).unwrap();
        if let Some(first) = said.first().filter(|one| one.span.last >= self.partition.start()) {
            let other = [first.clone()];
            let refused = self.partition.acknowledge("other", &other, &LIMITS, Timestamp(self.now));
            assert!(refused.is_err(), "somebody else's record was acknowledged");
        }
        self.settle(&changes);
    }

    fn kill(&mut self) {
        let kept = self.states.get(&self.key).unwrap();
        self.partition = SharePartition::load(kept.start, &kept.batches);
        for record in self.records.values_mut() {
            (record.done, record.count) = record.kept;
            record.held = None;
        }
        self.trim_to(self.start);
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Grow { records } => {
                let first = Offset(self.end());
                self.log.push(Span { first, last: first.plus(records - 1) });
            }
            Op::Take { member, records_max, batch_size, strict, batches } => {
                let ask = self.ask(member, records_max, batch_size, strict);
                self.take(member, &ask, batches);
            }
            Op::Say { member, kind, from, count } => self.say(member, kind, from, count),
            Op::Leave { member } => {
                let released = self.partition.release(&name(member), &LIMITS);
                self.settle(&released);
            }
            Op::Wait { millis } => {
                self.now += millis;
                self.expire();
            }
            Op::Kill => self.kill(),
            Op::Trim { records } => self.trim_to((self.start + records).min(self.end())),
        }
    }

    fn ask(&self, member: usize, records_max: i64, batch_size: i64, is_strict: bool) -> Acquire {
        let (from, now) = (Offset(0), Timestamp(self.now));
        Acquire { member: name(member).as_str().into(), records_max, is_strict, batch_size, from, now }
    }

    /// Whatever has happened: whoever goes on working gets everything done.
    fn finish(&mut self) {
        self.now += LOCK;
        self.expire();
        let ask = self.ask(0, 10, 5, false);
        for _ in 0..2000 {
            if self.partition.start().0 == self.end().max(self.start) {
                return;
            }
            self.take(0, &ask, 3);
            self.say(0, 1, 0, usize::MAX);
        }
        panic!("stuck at {} of {}: {:?}", self.partition.start(), self.end(), self.partition);
    }
}

fn name(member: usize) -> String {
    format!("member-{member}")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_nothing_comes_twice_and_nothing_is_stuck(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op);
            let partition = &world.partition;
            prop_assert!(partition.start() <= partition.frontier());
            for at in partition.start().0..partition.frontier().0 {
                let (found, record) = (partition.look(Offset(at)), world.records.get(&at));
                if let (Some((state, count, holder)), Some(record)) = (found, record) {
                    prop_assert_eq!(count, record.count, "at {} after {:?}", at, op);
                    prop_assert_eq!(state == "acquired", record.held.is_some(), "at {} after {:?}", at, op);
                    prop_assert_eq!(state == "available", !record.done && record.held.is_none());
                    prop_assert_eq!(holder.map(str::to_owned), record.held.map(|(member, _)| name(member)));
                }
            }
        }
        world.finish();
    }
}
