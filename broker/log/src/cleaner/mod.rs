//! Compaction of a batch at a time: which records survive.
//!
//! Kafka's rules (KIP-58, KIP-354, KIP-534):
//! - Of each key the last record stays, and older ones go; a record without a key goes.
//! - A tombstone stays until its delete horizon. The first pass that meets it sets the horizon: now +
//!   `delete.retention.ms`, kept as the batch's base timestamp under attribute bit 6.
//! - Data of an aborted transaction goes at once. A marker stays until a pass met no data of its
//!   transaction, and then for a delete horizon of its own.
//! - The batch with an active producer's last sequence, and the one at the end of what may be compacted,
//!   stay as headers when all of their records have gone.
//! - Offsets never change.
//!
//! And one of our own: a tombstone stays past its horizon while somebody [holds](TombstoneHold) it.

mod hold;
mod offset_map;
mod rewrite;
mod transactions;

use std::collections::HashMap;

use bytes::Bytes;
use flumen_records::{Batch, BatchError, BatchHeader, Check};
use flumen_types::{Offset, ProducerId, Timestamp};

use crate::cleaner::rewrite::{Survivors, rewrite};
use crate::config::TopicConfig;
pub use crate::producers::LastOfProducer;
pub use hold::{HeldTombstones, Holds, TombstoneHold};
pub use offset_map::{ENTRY_BYTES, OffsetMap};
pub use transactions::{Aborted, Transactions};

const DECOMPRESSED_MAX: usize = 1 << 30;

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Keep,
    Rewrite(Bytes),
    Drop,
}

/// One pass over the log.
pub struct Cleaner<'a> {
    pub map: &'a OffsetMap,
    pub transactions: Transactions,
    pub producers: &'a HashMap<ProducerId, LastOfProducer>,
    pub config: &'a TopicConfig,
    pub now: Timestamp,
    /// Where that ends which may be compacted.
    pub upto: Offset,
    pub holds: Holds,
}

impl Cleaner<'_> {
    /// What becomes of the next batch; those of the whole log come in order. A damaged one is an error:
    /// written anew under a new CRC it would pass for a good one.
    pub fn clean(&mut self, batch: &Batch) -> Result<Outcome, BatchError> {
        Check::CleanedBatch.verify(batch)?;
        let header = batch.header();
        let discardable = self.transactions.discards(batch)?;
        let horizon = header.attributes.has_delete_horizon().then_some(header.base_timestamp);
        let horizon_past = horizon.is_some_and(|horizon| horizon <= self.now);
        let discard = discardable && (horizon_past || !header.is_control());
        let survivors = if discard { Survivors::default() } else { self.survivors(batch, horizon)? };

        if survivors.kept.is_empty() {
            let stays = self.is_last_of_producer(header) || header.next_offset() == self.upto;
            return Ok(match (stays, header.records_count) {
                (false, _) => Outcome::Drop,
                (true, 0) => Outcome::Keep,
                (true, _) => Outcome::Rewrite(rewrite(batch, &survivors, None)?),
            });
        }
        let wants_horizon = survivors.tombstones || (header.is_control() && discardable);
        let set_horizon = match horizon {
            None if wants_horizon => Some(self.now.plus(self.config.delete_retention)),
            _ => None,
        };
        if set_horizon.is_none() && survivors.kept.len() == header.records_count as usize {
            return Ok(Outcome::Keep);
        }
        rewrite(batch, &survivors, set_horizon).map(Outcome::Rewrite)
    }

    fn survivors(&mut self, batch: &Batch, horizon: Option<Timestamp>) -> Result<Survivors, BatchError> {
        let header = batch.header();
        let past = horizon.filter(|horizon| *horizon <= self.now);
        let records = batch.records(DECOMPRESSED_MAX)?;
        let mut survivors = Survivors { payload: records.payload().clone(), ..Survivors::default() };
        for (i, record) in records.iter().enumerate() {
            let record = record?;
            let offset = header.base_offset.plus(record.offset_delta.into());
            let beyond = header.is_control() || offset >= self.map.end();
            if !beyond && !record.key.is_some_and(|key| self.map.is_latest(key, offset)) {
                continue;
            }
            let tombstone = record.value.is_none() && !header.is_control();
            let expired = past.filter(|_| tombstone && !beyond);
            if expired.is_none_or(|horizon| self.holds.keep(offset, horizon, self.now)) {
                survivors.kept.push(i as u32);
                survivors.tombstones |= tombstone;
            }
        }
        Ok(survivors)
    }

    fn is_last_of_producer(&self, header: &BatchHeader) -> bool {
        let last = self.producers.get(&header.producer_id);
        last.is_some_and(|last| match last.last_data_offset {
            Some(offset) => header.last_offset() == offset,
            None => header.is_control() && header.producer_epoch == last.epoch,
        })
    }
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, Compression, ControlRecord, NewRecord, assign, control_batch};
    use flumen_types::{LeaderEpoch, Millis, ProducerEpoch, Sequence};

    use super::*;
    use crate::config::Texts;

    const NOW: Timestamp = Timestamp(1_000_000);
    const RETENTION: i64 = 86_400_000;

    /// A log of batches; each is (base offset, producer, records of key and value).
    struct Log(Vec<Batch>);

    type Rows<'a> = &'a [(&'a str, Option<&'a str>)];

    impl Log {
        fn new() -> Log {
            Log(Vec::new())
        }

        fn end(&self) -> Offset {
            self.0.last().map_or(Offset::ZERO, |batch| batch.header().next_offset())
        }

        fn push(mut self, codec: Compression, producer: Option<i64>, rows: Rows<'_>) -> Log {
            let mut builder = BatchBuilder::new(codec);
            if let Some(id) = producer {
                builder = builder.producer(ProducerId(id), ProducerEpoch(0), Sequence(0)).transactional();
            }
            for (key, value) in rows {
                builder.push(&NewRecord {
                    timestamp: Timestamp(500),
                    key: (!key.is_empty()).then_some(key.as_bytes()),
                    value: value.map(str::as_bytes),
                    headers: &[(b"h", Some(b"1"))],
                });
            }
            let mut bytes = builder.build().unwrap().to_vec();
            assign(&mut bytes, self.end(), LeaderEpoch(0));
            self.0.push(Batch::parse(bytes.into()).unwrap());
            self
        }

        fn plain(self, rows: Rows<'_>) -> Log {
            self.push(Compression::None, None, rows)
        }

        fn marker(mut self, producer: i64, control: ControlRecord) -> Log {
            let mut bytes =
                control_batch(ProducerId(producer), ProducerEpoch(0), control, Timestamp(500)).to_vec();
            assign(&mut bytes, self.end(), LeaderEpoch(0));
            self.0.push(Batch::parse(bytes.into()).unwrap());
            self
        }

        /// One whole pass, as the executor does it.
        fn clean(
            &self,
            aborted: &[Aborted],
            producers: &HashMap<ProducerId, LastOfProducer>,
            now: Timestamp,
        ) -> Log {
            self.clean_held(aborted, producers, now, Holds::default()).0
        }

        fn clean_held(
            &self,
            aborted: &[Aborted],
            producers: &HashMap<ProducerId, LastOfProducer>,
            now: Timestamp,
            holds: Holds,
        ) -> (Log, Vec<HeldTombstones>) {
            let mut map = OffsetMap::new(1 << 20, 7);
            let mut transactions = Transactions::new(aborted.to_vec(), Offset::ZERO);
            for batch in &self.0 {
                if transactions.discards(batch).unwrap() || batch.header().is_control() {
                    map.passed(batch.header().next_offset());
                } else {
                    assert!(map.read(batch, Offset::ZERO).unwrap());
                }
            }
            let config = TopicConfig::resolve(&Texts::new(), &Texts::new()).unwrap();
            let transactions = Transactions::new(aborted.to_vec(), Offset::ZERO);
            let upto = self.end();
            let mut cleaner =
                Cleaner { map: &map, transactions, producers, config: &config, now, upto, holds };
            let mut out = Vec::new();
            for batch in &self.0 {
                match cleaner.clean(batch).unwrap() {
                    Outcome::Keep => out.push(batch.clone()),
                    Outcome::Rewrite(bytes) => {
                        let rewritten = Batch::parse(bytes).unwrap();
                        rewritten.verify_crc().unwrap();
                        assert_eq!(rewritten.header().last_offset(), batch.header().last_offset());
                        out.push(rewritten);
                    }
                    Outcome::Drop => {}
                }
            }
            (Log(out), cleaner.holds.held())
        }

        fn cleaned(&self) -> Log {
            self.clean(&[], &HashMap::new(), NOW)
        }

        fn rows(&self) -> Vec<(i64, String, Option<String>)> {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let data = self.0.iter().filter(|batch| !batch.header().is_control());
            data.flat_map(|batch| {
                let records = batch.records(1 << 20).unwrap();
                let base = batch.header().base_offset.0;
                let row = |r: flumen_records::RecordRef<'_>| {
                    assert_eq!(r.headers().count(), 1, "headers survive");
                    assert_eq!(
                        batch.header().base_timestamp.0 + r.timestamp_delta,
                        500,
                        "timestamps survive"
                    );
                    (base + i64::from(r.offset_delta), text(r.key.unwrap_or_default()), r.value.map(text))
                };
                records.iter().map(|r| row(r.unwrap())).collect::<Vec<_>>()
            })
            .collect()
        }

        fn markers(&self) -> usize {
            self.0
                .iter()
                .filter(|batch| batch.header().is_control() && batch.header().records_count > 0)
                .count()
        }
    }

    fn row(offset: i64, key: &str, value: Option<&str>) -> (i64, String, Option<String>) {
        (offset, key.into(), value.map(Into::into))
    }

    #[test]
    fn a_damaged_batch_is_not_written_anew_under_a_good_crc() {
        let log = Log::new().plain(&[("a", Some("old"))]).plain(&[("a", Some("new"))]);
        let mut bytes = log.0[0].bytes().to_vec();
        let at = bytes.windows(3).position(|three| three == b"old").unwrap();
        bytes[at] ^= 1;
        let damaged = Batch::parse(bytes.into()).unwrap();
        let (map, config) =
            (OffsetMap::new(1 << 20, 7), TopicConfig::resolve(&Texts::new(), &Texts::new()).unwrap());
        let (transactions, producers) = (Transactions::new(Vec::new(), Offset::ZERO), HashMap::new());
        let (now, upto) = (NOW, log.end());
        let (producers, config, holds) = (&producers, &config, Holds::default());
        let mut cleaner = Cleaner { map: &map, transactions, producers, config, now, upto, holds };
        assert!(matches!(cleaner.clean(&damaged), Err(BatchError::Crc { .. })));
    }

    #[test]
    fn the_last_of_each_key_stays_at_its_offset() {
        for codec in Compression::ALL {
            let log = Log::new()
                .push(codec, None, &[("a", Some("1")), ("b", Some("1")), ("a", Some("2"))])
                .push(codec, None, &[("c", Some("1")), ("b", Some("2"))]);
            let expected = [row(2, "a", Some("2")), row(3, "c", Some("1")), row(4, "b", Some("2"))];
            assert_eq!(log.cleaned().rows(), expected, "{codec}");
        }
    }

    #[test]
    fn records_without_a_key_go() {
        let log = Log::new().plain(&[("", Some("1")), ("a", Some("1"))]);
        assert_eq!(log.cleaned().rows(), [row(1, "a", Some("1"))]);
    }

    #[test]
    fn a_tombstone_stays_until_the_horizon_that_the_first_pass_sets() {
        let log = Log::new().plain(&[("a", Some("1"))]).plain(&[("a", None), ("b", Some("1"))]);
        let once = log.cleaned();
        assert_eq!(once.rows(), [row(1, "a", None), row(2, "b", Some("1"))]);
        let horizon = once.0[0].header();
        assert!(horizon.attributes.has_delete_horizon());
        assert_eq!(horizon.base_timestamp, Timestamp(NOW.0 + RETENTION));
        let before = once.clean(&[], &HashMap::new(), Timestamp(NOW.0 + RETENTION - 1));
        assert_eq!(before.rows().len(), 2);
        let after = once.clean(&[], &HashMap::new(), Timestamp(NOW.0 + RETENTION));
        assert_eq!(after.rows(), [row(2, "b", Some("1"))]);
    }

    fn aborted(first: i64, last: i64) -> Aborted {
        Aborted {
            producer_id: ProducerId(9),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable: Offset(last + 1),
        }
    }

    #[test]
    fn aborted_data_goes_at_once_and_does_not_hide_older_values() {
        let log = Log::new()
            .plain(&[("a", Some("old"))])
            .push(Compression::None, Some(9), &[("a", Some("aborted"))])
            .marker(9, ControlRecord::Abort { coordinator_epoch: 0 })
            .plain(&[("z", Some("1"))]);
        let once = log.clean(&[aborted(1, 2)], &HashMap::new(), NOW);
        assert_eq!(once.rows(), [row(0, "a", Some("old")), row(3, "z", Some("1"))]);
        assert_eq!(once.markers(), 1, "its data was met in this pass");
        let twice = once.clean(&[], &HashMap::new(), NOW);
        assert_eq!(twice.markers(), 1, "it now has a horizon of its own");
        assert_eq!(twice.clean(&[], &HashMap::new(), Timestamp(NOW.0 + RETENTION)).markers(), 0);
    }

    #[test]
    fn a_commit_marker_stays_while_data_of_its_transaction_does() {
        let log = Log::new()
            .push(Compression::None, Some(9), &[("a", Some("1"))])
            .marker(9, ControlRecord::Commit { coordinator_epoch: 0 })
            .plain(&[("z", Some("1"))]);
        let later = Timestamp(NOW.0 + 10 * RETENTION);
        let kept = log.cleaned().clean(&[], &HashMap::new(), later);
        assert_eq!((kept.markers(), kept.rows().len()), (1, 2));
    }

    #[test]
    fn an_active_producers_last_batch_stays_as_an_empty_header() {
        let log = Log::new().push(Compression::Gzip, Some(9), &[("a", Some("1"))]).plain(&[("a", Some("2"))]);
        let last = LastOfProducer { last_data_offset: Some(Offset(0)), epoch: ProducerEpoch(0) };
        let producers = HashMap::from([(ProducerId(9), last)]);
        let kept = log.clean(&[], &producers, NOW);
        assert_eq!(kept.rows(), [row(1, "a", Some("2"))]);
        assert_eq!((kept.0.len(), kept.0[0].header().records_count), (2, 0));
        assert_eq!(kept.0[0].header().last_sequence(), Sequence(0));
        assert_eq!(kept.clean(&[], &producers, NOW).0.len(), 2, "and again");
        assert_eq!(log.cleaned().0.len(), 1);
    }

    #[test]
    fn the_end_of_what_is_compacted_stays_as_an_empty_header() {
        let log = Log::new().plain(&[("a", Some("1"))]).plain(&[("", Some("x"))]);
        let kept = log.cleaned();
        assert_eq!(kept.end(), log.end());
    }

    #[test]
    fn a_tombstone_that_somebody_holds_stays_behind_its_horizon_and_nothing_else_does() {
        let log =
            Log::new().plain(&[("a", None), ("b", Some("1")), ("b", Some("2"))]).plain(&[("z", Some("1"))]);
        let once = log.cleaned();
        let hold = |from, longest| {
            let hold = TombstoneHold { holder: "db".into(), from: Offset(from), longest: Millis(longest) };
            let later = Timestamp(NOW.0 + RETENTION);
            let (kept, held) = once.clean_held(&[], &HashMap::new(), later, Holds::new(vec![hold]));
            (kept.rows().len(), held.len())
        };
        assert_eq!(hold(0, 1), (3, 1));
        assert_eq!(hold(1, 1), (2, 0));
        assert_eq!(hold(0, 0), (2, 0));
    }

    #[test]
    fn a_full_map_takes_no_more_and_says_how_far_it_came() {
        let log = Log::new().plain(&[("a", Some("1")), ("b", Some("1"))]).plain(&[("c", Some("1"))]);
        let mut map = OffsetMap::new(2 * ENTRY_BYTES, 7);
        assert!(!map.read(&log.0[0], Offset::ZERO).unwrap());
        assert_eq!((map.end(), map.len()), (Offset(1), 1));
        let mut map = OffsetMap::new(3 * ENTRY_BYTES, 7);
        assert!(map.read(&log.0[0], Offset::ZERO).unwrap() && !map.read(&log.0[1], Offset::ZERO).unwrap());
        assert_eq!((map.end(), map.len()), (Offset(2), 2));
    }

    #[test]
    fn what_follows_a_lost_abort_marker_is_not_aborted() {
        let log = Log::new()
            .push(Compression::None, Some(9), &[("a", Some("aborted"))])
            .marker(9, ControlRecord::Abort { coordinator_epoch: 0 })
            .push(Compression::None, Some(9), &[("b", Some("committed"))]);
        let mut transactions = Transactions::new(vec![aborted(0, 1)], Offset::ZERO);
        assert!(transactions.discards(&log.0[0]).unwrap());
        assert!(!transactions.discards(&log.0[2]).unwrap());
    }
}
