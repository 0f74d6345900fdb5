//! The log's rules against models simple enough to be believed: what a reader of committed records sees,
//! and what a producer has been told.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;
use flumen_log::cleaner::{Aborted, Cleaner, Holds, OffsetMap, Outcome, Transactions};
use flumen_log::config::TopicConfig;
use flumen_log::producers::{ProducerStates, Verdict};
use flumen_records::{
    Batch, BatchBuilder, Compression, ControlRecord, NewRecord, assign, batches, control_batch,
};
use flumen_types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use proptest::prelude::*;

fn load(states: &mut ProducerStates, batches: &[Batch]) {
    for batch in batches {
        states.replay(batch).unwrap();
    }
}

/// One thing that happens to a partition. Keys and producers are few, so that they meet.
#[derive(Clone, Debug)]
enum Step {
    /// By a producer in a transaction, or by nobody.
    Write {
        producer: Option<i64>,
        records: Vec<(Option<u8>, Option<u8>)>,
        codec: usize,
    },
    End {
        producer: i64,
        commit: bool,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let record = (prop::option::weighted(0.9, 0_u8..6), prop::option::weighted(0.7, any::<u8>()));
    let write = (prop::option::of(0_i64..3), prop::collection::vec(record, 1..6), 0_usize..5)
        .prop_map(|(producer, records, codec)| Step::Write { producer, records, codec });
    let end = (0_i64..3, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit });
    prop::collection::vec(prop_oneof![3 => write, 1 => end], 1..40)
}

/// A partition's log, as the store would hold it.
#[derive(Default)]
struct Log {
    batches: Vec<Batch>,
    states: ProducerStates,
    aborted: Vec<Aborted>,
    sequences: HashMap<i64, i32>,
}

impl Log {
    fn end(&self) -> Offset {
        self.batches.last().map_or(Offset::ZERO, |batch| batch.header().next_offset())
    }

    fn append(&mut self, bytes: Bytes) {
        let mut bytes = bytes.to_vec();
        assign(&mut bytes, self.end(), LeaderEpoch(0));
        let batch = Batch::parse(bytes.into()).unwrap();
        if let Some(ended) = self.states.replay(&batch).unwrap()
            && ended.aborted
        {
            let end = batch.header().next_offset();
            self.aborted.push(Aborted {
                producer_id: ended.producer_id,
                first_offset: ended.first_offset,
                last_offset: ended.last_offset,
                last_stable: self.states.first_unstable().unwrap_or(end),
            });
        }
        self.batches.push(batch);
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { producer, records, codec } => {
                let mut builder = BatchBuilder::new(Compression::ALL[*codec]);
                if let Some(id) = producer {
                    let sequence = self.sequences.entry(*id).or_default();
                    builder = builder
                        .producer(ProducerId(*id), ProducerEpoch(0), Sequence(*sequence))
                        .transactional();
                    *sequence += records.len() as i32;
                }
                for (key, value) in records {
                    builder.push(&NewRecord {
                        timestamp: Timestamp(1000),
                        key: key.as_ref().map(std::slice::from_ref),
                        value: value.as_ref().map(std::slice::from_ref),
                        headers: &[],
                    });
                }
                self.append(builder.build().unwrap());
            }
            Step::End { producer, commit } => {
                let marker = match commit {
                    true => ControlRecord::Commit { coordinator_epoch: 0 },
                    false => ControlRecord::Abort { coordinator_epoch: 0 },
                };
                let id = ProducerId(*producer);
                self.append(control_batch(id, ProducerEpoch(0), marker, Timestamp(1000)));
            }
        }
    }

    fn built(steps: &[Step]) -> Log {
        let mut log = Log::default();
        log.go_on(steps);
        log
    }

    /// Compaction stops before the first open transaction, so at the end there are none.
    fn go_on(&mut self, steps: &[Step]) {
        steps.iter().for_each(|step| self.step(step));
        (0..3).for_each(|producer| self.step(&Step::End { producer, commit: true }));
    }

    /// One pass over a log that was never compacted, as the store does it.
    fn clean(&self, now: Timestamp, map_bytes: usize) -> Log {
        self.clean_from(Offset::ZERO, now, map_bytes).0
    }

    /// One pass over a log that is clean up to an offset, and up to where it is clean then.
    fn clean_from(&self, from: Offset, now: Timestamp, map_bytes: usize) -> (Log, Offset) {
        let mut map = OffsetMap::new(map_bytes, 7);
        let mut transactions = Transactions::new(self.aborted.clone(), from);
        for batch in self.batches.iter().filter(|batch| batch.header().last_offset() >= from) {
            if transactions.discards(batch).unwrap() || batch.header().is_control() {
                map.passed(batch.header().next_offset());
            } else if !map.read(batch, from).unwrap() {
                break;
            }
        }
        let config = TopicConfig::default();
        let producers = self.states.last_records();
        let transactions = Transactions::new(self.aborted.clone(), Offset::ZERO);
        let upto = self.batches.last().map_or(Offset::ZERO, |batch| batch.header().next_offset());
        let holds = Holds::default();
        let mut cleaner =
            Cleaner { map: &map, transactions, producers: &producers, config: &config, now, upto, holds };
        let mut out = Vec::new();
        for batch in &self.batches {
            match cleaner.clean(batch).unwrap() {
                Outcome::Keep => out.extend_from_slice(batch.bytes()),
                Outcome::Rewrite(bytes) => out.extend_from_slice(&bytes),
                Outcome::Drop => {}
            }
        }
        let aborted = cleaner.transactions.take_met();
        let batches: Vec<Batch> = batches(out.into()).collect::<Result<_, _>>().unwrap();
        batches.iter().for_each(|batch| batch.verify_crc().unwrap());
        (Log { batches, states: self.states.clone(), aborted, sequences: self.sequences.clone() }, map.end())
    }

    /// Every record that a reader of committed records is given: offset, key, value.
    fn committed(&self) -> Vec<(i64, Option<u8>, Option<u8>)> {
        let mut seen = Vec::new();
        for batch in self.batches.iter().filter(|batch| !batch.header().is_control()) {
            let header = batch.header();
            let is_aborted = |txn: &Aborted| {
                txn.producer_id == header.producer_id
                    && (txn.first_offset..=txn.last_offset).contains(&header.base_offset)
            };
            if header.is_transactional() && self.aborted.iter().any(is_aborted) {
                continue;
            }
            for record in &batch.records(1 << 20).unwrap() {
                let record = record.unwrap();
                let offset = header.base_offset.0 + i64::from(record.offset_delta);
                let byte = |field: Option<&[u8]>| field.map(|bytes| bytes[0]);
                assert_eq!(header.base_timestamp.0 + record.timestamp_delta, 1000, "timestamps survive");
                seen.push((offset, byte(record.key), byte(record.value)));
            }
        }
        seen
    }

    /// The table that the log spells: per key its last value, nothing where that is a tombstone.
    fn table(&self) -> BTreeMap<u8, u8> {
        let mut table = BTreeMap::new();
        for (_, key, value) in self.committed() {
            match (key, value) {
                (Some(key), Some(value)) => drop(table.insert(key, value)),
                (Some(key), None) => drop(table.remove(&key)),
                (None, _) => {}
            }
        }
        table
    }
}

const DAY: i64 = 86_400_000;

proptest! {
    #[test]
    fn compaction_never_changes_the_table_that_a_log_spells(steps in steps(), small: bool) {
        let log = Log::built(&steps);
        let mut cleaned = log.clean(Timestamp(5000), if small { 120 } else { 1 << 20 });
        for pass in 1..4 {
            prop_assert_eq!(cleaned.table(), log.table(), "before pass {}", pass);
            prop_assert_eq!(cleaned.end(), log.end());
            let before: HashSet<_> = log.committed().into_iter().collect();
            prop_assert!(cleaned.committed().iter().all(|record| before.contains(record)), "invented a record");
            cleaned = cleaned.clean(Timestamp(5000 + pass * 2 * DAY), 1 << 20);
        }
        // By now horizons have passed: one record a key, and no tombstone.
        let left = cleaned.committed();
        prop_assert_eq!(left.len(), log.table().len());
        prop_assert!(left.iter().all(|(_, key, value)| key.is_some() && value.is_some()));
        prop_assert!(cleaned.aborted.is_empty() || cleaned.batches.iter().any(|b| b.header().records_count == 0));
    }

    #[test]
    fn a_pass_that_begins_where_the_last_one_ended_finds_the_same_table(
        first in steps(), then in steps(), small: bool,
    ) {
        let mut log = Log::built(&first);
        let map_bytes = if small { 120 } else { 1 << 20 };
        let (mut cleaned, mut from) = log.clean_from(Offset::ZERO, Timestamp(5000), map_bytes);
        // Behind the horizon of a tombstone, what it hid must be gone.
        for (n, steps) in [&then[..], &[], &[]].into_iter().enumerate() {
            log.go_on(steps);
            cleaned.go_on(steps);
            let now = Timestamp(5000 + n as i64 * 2 * DAY);
            (cleaned, from) = cleaned.clean_from(from, now, map_bytes);
            prop_assert_eq!(cleaned.table(), log.table(), "after pass {}", n);
            prop_assert_eq!(cleaned.end(), log.end());
        }
    }

    #[test]
    fn compaction_keeps_what_a_load_needs_to_know_of_producers(steps in steps()) {
        let log = Log::built(&steps);
        let cleaned = log.clean(Timestamp(5000), 1 << 20).clean(Timestamp(5000 + 2 * DAY), 1 << 20);
        let mut loaded = ProducerStates::default();
        load(&mut loaded, &cleaned.batches);
        for (id, state) in log.states.iter().filter(|(_, state)| state.last_offset().0 >= 0) {
            let found = loaded.get(id).map(|found| (found.epoch, found.last_sequence(), found.last_offset()));
            prop_assert_eq!(found, Some((state.epoch, state.last_sequence(), state.last_offset())));
        }
    }

    #[test]
    fn a_snapshot_and_the_rest_of_the_log_give_the_same_producers(steps in steps(), cut: prop::sample::Index) {
        let mut log = Log::default();
        steps.iter().for_each(|step| log.step(step));
        let cut = cut.index(log.batches.len());
        let mut before = ProducerStates::default();
        load(&mut before, &log.batches[..cut]);
        let mut loaded = ProducerStates::from_snapshot(&before.snapshot()).unwrap();
        load(&mut loaded, &log.batches[cut..]);
        // Of the batches before a snapshot only the last of each producer is in it.
        let facts = |states: &ProducerStates| -> Vec<_> {
            let fact = |(id, s): (ProducerId, &flumen_log::producers::ProducerState)| {
                (id, s.epoch, s.last_sequence(), s.last_offset(), s.open_transaction, s.coordinator_epoch)
            };
            states.iter().map(fact).collect()
        };
        prop_assert_eq!(facts(&loaded), facts(&log.states));
        prop_assert_eq!(loaded.first_unstable(), log.states.first_unstable());
    }
}

/// What a client does with its batches.
#[derive(Clone, Copy, Debug)]
enum Send {
    Next {
        count: i32,
    },
    /// The one so many before the last.
    Again {
        back: usize,
    },
    Gap {
        by: i32,
    },
    /// A new incarnation, from sequence 0.
    Bump,
    /// One of the incarnation before.
    Zombie,
}

fn sends() -> impl Strategy<Value = Vec<Send>> {
    let send = prop_oneof![
        4 => (1_i32..4).prop_map(|count| Send::Next { count }),
        3 => (0_usize..8).prop_map(|back| Send::Again { back }),
        1 => (1_i32..5).prop_map(|by| Send::Gap { by }),
        1 => Just(Send::Bump),
        1 => Just(Send::Zombie),
    ];
    prop::collection::vec(send, 1..60)
}

proptest! {
    /// Near the wrap of the sequence too.
    #[test]
    fn every_batch_is_in_the_log_once_and_in_order(sends in sends(), start in prop_oneof![Just(0), i32::MAX - 9..=i32::MAX]) {
        let mut states = ProducerStates::default();
        let (mut epoch, mut next, mut end) = (3_i16, Sequence(start), Offset(0));
        // Of this epoch: sequence, count, offset.
        let mut written: Vec<(Sequence, i32, Offset)> = Vec::new();
        let header = |epoch, sequence, count: i32| {
            let mut builder = BatchBuilder::new(Compression::None)
                .producer(ProducerId(1), ProducerEpoch(epoch), sequence);
            (0..count).for_each(|_| builder.push(&NewRecord::default()));
            Batch::parse(builder.build().unwrap()).unwrap().header().clone()
        };
        for send in sends {
            match send {
                Send::Next { count } => {
                    let mut batch = header(epoch, next, count);
                    prop_assert_eq!(states.check(&batch), Ok(Verdict::Append));
                    batch.base_offset = end;
                    states.apply(&batch);
                    written.push((next, count, end));
                    next = next.plus(count);
                    end = end.plus(count.into());
                }
                Send::Again { back } => {
                    let Some(at) = written.len().checked_sub(back + 1) else { continue };
                    let (sequence, count, base) = written[at];
                    let verdict = states.check(&header(epoch, sequence, count));
                    if back < 5 {
                        let last = base.plus(i64::from(count) - 1);
                        let known = matches!(verdict, Ok(Verdict::Duplicate { base: b, last: l, .. }) if (b, l) == (base, last));
                        prop_assert!(known, "{verdict:?}");
                    } else {
                        prop_assert!(verdict.is_err(), "{verdict:?}");
                    }
                }
                // Of a producer never met any sequence is taken: that is Kafka's rule, and tested apart.
                Send::Gap { .. } if states.is_empty() => {}
                Send::Gap { by } => prop_assert!(states.check(&header(epoch, next.plus(by), 1)).is_err()),
                Send::Bump => {
                    epoch += 1;
                    next = Sequence(0);
                    if !states.is_empty() {
                        prop_assert!(states.check(&header(epoch, Sequence(1), 1)).is_err());
                        let mut batch = header(epoch, next, 1);
                        prop_assert_eq!(states.check(&batch), Ok(Verdict::Append));
                        batch.base_offset = end;
                        states.apply(&batch);
                        written = vec![(next, 1, end)];
                        (next, end) = (next.plus(1), end.next());
                    }
                }
                Send::Zombie if states.is_empty() => {}
                Send::Zombie => prop_assert!(states.check(&header(epoch - 1, next, 1)).is_err()),
            }
        }
    }
}
