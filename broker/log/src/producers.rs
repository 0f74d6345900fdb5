//! What a partition knows of its producers: sequences, epochs, open transactions.
//!
//! Kafka's rules: a batch that is one of its producer's last five is a duplicate and is answered with
//! the offsets it was given; any other must follow the last one without a gap. A higher epoch starts
//! again at 0, a lower one is fenced. A transaction is open from its first batch to its marker, and a
//! producer writes nothing else meanwhile. What the broker itself writes for a producer (the offsets of
//! its transaction) carries no sequence, and none is checked.
//!
//! The state is rebuilt from a snapshot (see `snapshot.rs`) and the batches behind it, so [`apply`] must
//! depend on nothing but the batch.
//!
//! [`apply`]: ProducerStates::apply

use std::collections::{BTreeMap, HashMap, VecDeque};

use flumen_records::{Batch, BatchError, BatchHeader, ControlRecord};
use flumen_types::{Millis, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use thiserror::Error;

/// How many of a producer's batches are remembered, because so many may be in flight.
pub const BATCHES_REMEMBERED: usize = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: HashMap<ProducerId, ProducerState>,
    /// First offset of each open transaction.
    open: BTreeMap<Offset, ProducerId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    pub epoch: ProducerEpoch,
    /// Of the coordinator that wrote the last marker; -1 before the first.
    pub coordinator_epoch: i32,
    pub last_timestamp: Timestamp,
    pub open_transaction: Option<Offset>,
    pub(crate) batches: VecDeque<BatchFacts>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchFacts {
    pub(crate) last_sequence: Sequence,
    pub(crate) last_offset: Offset,
    pub(crate) offset_delta: i32,
    pub(crate) timestamp: Timestamp,
}

impl BatchFacts {
    fn first_sequence(&self) -> Sequence {
        let first = i64::from(self.last_sequence.0) - i64::from(self.offset_delta);
        // A batch may run over the wrap to 0.
        Sequence(if first < 0 { first + i64::from(i32::MAX) + 1 } else { first } as i32)
    }
}

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// It is here already, at these offsets.
    Duplicate {
        base: Offset,
        last: Offset,
        timestamp: Timestamp,
    },
}

/// The last thing that the log has of an active producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastOfProducer {
    /// `None`: a marker, of this epoch.
    pub last_data_offset: Option<Offset>,
    pub epoch: ProducerEpoch,
}

/// A transaction that a marker has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
    /// That of the marker.
    pub last_offset: Offset,
    pub aborted: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProducerError {
    #[error("producer {id} sent sequence {found} where {expected} was to come")]
    OutOfOrder { id: ProducerId, expected: Sequence, found: Sequence },
    #[error("producer {id} of epoch {found} is fenced by epoch {current}")]
    Fenced { id: ProducerId, found: ProducerEpoch, current: ProducerEpoch },
    #[error("producer {id} sent a batch outside the transaction that it has open")]
    OutsideTransaction { id: ProducerId },
    #[error("a marker for producer {id} of coordinator epoch {found} comes after one of {current}")]
    CoordinatorFenced { id: ProducerId, found: i32, current: i32 },
}

impl ProducerStates {
    /// Judges a data batch. One without a sequence is the broker's own (`append::validate` refuses it
    /// from a client).
    pub fn check(&self, header: &BatchHeader) -> Result<Verdict, ProducerError> {
        let id = header.producer_id;
        if !id.is_some() {
            return Ok(Verdict::Append);
        }
        // Of a producer that it has never met, a partition takes any sequence (KIP-360).
        let Some(state) = self.producers.get(&id) else { return Ok(Verdict::Append) };
        if header.producer_epoch < state.epoch {
            return Err(ProducerError::Fenced { id, found: header.producer_epoch, current: state.epoch });
        }
        if header.base_sequence != Sequence::NONE {
            let same_epoch = header.producer_epoch == state.epoch;
            if let Some(known) = state.find(header).filter(|_| same_epoch) {
                let base = known.last_offset.plus(-i64::from(known.offset_delta));
                return Ok(Verdict::Duplicate { base, last: known.last_offset, timestamp: known.timestamp });
            }
            let expected = if same_epoch { state.next_sequence() } else { Sequence(0) };
            if header.base_sequence != expected {
                return Err(ProducerError::OutOfOrder { id, expected, found: header.base_sequence });
            }
        }
        if state.open_transaction.is_some() && !header.is_transactional() {
            return Err(ProducerError::OutsideTransaction { id });
        }
        Ok(Verdict::Append)
    }

    /// Judges a batch that may be the first of its producer here, where that one must have sequence 0: with
    /// transactions of version 2 (KIP-890) each begins at 0, and nothing of one that is open is forgotten.
    pub fn check_first(&self, header: &BatchHeader) -> Result<(), ProducerError> {
        match self.producers.contains_key(&header.producer_id) || header.base_sequence == Sequence(0) {
            true => Ok(()),
            false => Err(ProducerError::OutOfOrder {
                id: header.producer_id,
                expected: Sequence(0),
                found: header.base_sequence,
            }),
        }
    }

    /// Takes in a data batch that is in the log, offsets assigned.
    pub fn apply(&mut self, header: &BatchHeader) {
        if !header.producer_id.is_some() {
            return;
        }
        let state = self
            .producers
            .entry(header.producer_id)
            .or_insert_with(|| ProducerState::new(header.producer_epoch));
        state.raise_epoch(header.producer_epoch);
        state.remember(BatchFacts {
            last_sequence: header.last_sequence(),
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
        if header.is_transactional() && state.open_transaction.is_none() {
            state.open_transaction = Some(header.base_offset);
            self.open.insert(header.base_offset, header.producer_id);
        }
    }

    /// Judges a marker before it is written.
    pub fn check_marker(
        &self,
        id: ProducerId,
        epoch: ProducerEpoch,
        control: ControlRecord,
    ) -> Result<(), ProducerError> {
        let Some(state) = self.producers.get(&id) else { return Ok(()) };
        if epoch < state.epoch {
            return Err(ProducerError::Fenced { id, found: epoch, current: state.epoch });
        }
        match coordinator_epoch(control) {
            Some(found) if found < state.coordinator_epoch => {
                Err(ProducerError::CoordinatorFenced { id, found, current: state.coordinator_epoch })
            }
            _ => Ok(()),
        }
    }

    /// Takes in a marker that is in the log, offset assigned; tells which transaction it ended.
    pub fn apply_marker(&mut self, header: &BatchHeader, control: ControlRecord) -> Option<Ended> {
        let id = header.producer_id;
        let coordinator_epoch = coordinator_epoch(control)?;
        let state = self.producers.entry(id).or_insert_with(|| ProducerState::new(header.producer_epoch));
        state.raise_epoch(header.producer_epoch);
        state.coordinator_epoch = coordinator_epoch;
        state.last_timestamp = header.max_timestamp;
        let first_offset = state.open_transaction.take()?;
        self.open.remove(&first_offset);
        Some(Ended {
            producer_id: id,
            first_offset,
            last_offset: header.last_offset(),
            aborted: matches!(control, ControlRecord::Abort { .. }),
        })
    }

    /// Takes in a batch that is in the log, of either kind: what a load does. A marker that compaction
    /// has emptied says nothing any more.
    pub fn replay(&mut self, batch: &Batch) -> Result<Option<Ended>, BatchError> {
        let header = batch.header();
        if !header.is_control() {
            self.apply(header);
            return Ok(None);
        }
        Ok(self.apply_marker(header, batch.control()?))
    }

    /// What compaction must keep of each producer.
    pub fn last_records(&self) -> HashMap<ProducerId, LastOfProducer> {
        let last = |state: &ProducerState| LastOfProducer {
            last_data_offset: state.batches.back().map(|batch| batch.last_offset),
            epoch: state.epoch,
        };
        self.producers.iter().map(|(id, state)| (*id, last(state))).collect()
    }

    /// Where the earliest open transaction begins: what `read_committed` may not pass.
    pub fn first_unstable(&self) -> Option<Offset> {
        self.open.keys().next().copied()
    }

    pub fn get(&self, id: ProducerId) -> Option<&ProducerState> {
        self.producers.get(&id)
    }

    /// By id, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerState)> {
        let mut all: Vec<_> = self.producers.iter().map(|(id, state)| (*id, state)).collect();
        all.sort_unstable_by_key(|(id, _)| *id);
        all.into_iter()
    }

    pub fn len(&self) -> usize {
        self.producers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Forgets those that have been silent for longer than `expiration` and have no open transaction.
    pub fn expire(&mut self, now: Timestamp, expiration: Millis) {
        self.producers.retain(|_, state| {
            state.open_transaction.is_some() || now.since(state.last_timestamp) < expiration.0
        });
    }

    /// Takes over from what was known at another time those that are not known here, and whose last batch lies
    /// before an offset.
    pub fn recall(&mut self, other: ProducerStates, before: Offset) {
        for (id, state) in other.producers {
            if state.last_offset() < before && !self.producers.contains_key(&id) {
                self.insert(id, state);
            }
        }
    }

    /// A batch before the last one that is known of its producer, and behind all others.
    pub(crate) fn recall_batch(&mut self, id: ProducerId, batch: BatchFacts) {
        if let Some(state) = self.producers.get_mut(&id)
            && (1..BATCHES_REMEMBERED).contains(&state.batches.len())
        {
            state.batches.insert(state.batches.len() - 1, batch);
        }
    }

    #[cfg(test)]
    pub(crate) fn forget_earlier(&mut self) {
        for state in self.producers.values_mut() {
            state.batches.drain(..state.batches.len().saturating_sub(1));
        }
    }

    pub(crate) fn insert(&mut self, id: ProducerId, state: ProducerState) {
        if let Some(first) = state.open_transaction {
            self.open.insert(first, id);
        }
        self.producers.insert(id, state);
    }
}

fn coordinator_epoch(control: ControlRecord) -> Option<i32> {
    match control {
        ControlRecord::Abort { coordinator_epoch } | ControlRecord::Commit { coordinator_epoch } => {
            Some(coordinator_epoch)
        }
        ControlRecord::Other(_) => None,
    }
}

impl ProducerState {
    fn new(epoch: ProducerEpoch) -> Self {
        ProducerState {
            epoch,
            coordinator_epoch: -1,
            last_timestamp: Timestamp::NONE,
            open_transaction: None,
            batches: VecDeque::new(),
        }
    }

    /// Of its last data batch; `Sequence::NONE` when the epoch has none yet.
    pub fn last_sequence(&self) -> Sequence {
        self.batches.back().map_or(Sequence::NONE, |batch| batch.last_sequence)
    }

    pub fn last_offset(&self) -> Offset {
        self.batches.back().map_or(Offset::UNKNOWN, |batch| batch.last_offset)
    }

    /// The batches before the last, oldest first.
    pub(crate) fn earlier(&self) -> impl Iterator<Item = &BatchFacts> {
        self.batches.iter().take(self.batches.len().saturating_sub(1))
    }

    fn next_sequence(&self) -> Sequence {
        self.batches.back().map_or(Sequence(0), |batch| batch.last_sequence.plus(1))
    }

    fn find(&self, header: &BatchHeader) -> Option<&BatchFacts> {
        self.batches.iter().find(|known| {
            known.last_sequence == header.last_sequence() && known.first_sequence() == header.base_sequence
        })
    }

    /// A new epoch begins with no batches: its sequences start at 0.
    fn raise_epoch(&mut self, epoch: ProducerEpoch) {
        if epoch != self.epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }

    pub(crate) fn remember(&mut self, batch: BatchFacts) {
        if self.batches.len() == BATCHES_REMEMBERED {
            self.batches.pop_front();
        }
        self.last_timestamp = batch.timestamp;
        self.batches.push_back(batch);
    }
}

#[cfg(test)]
mod tests {
    use flumen_records::{Attributes, BatchBuilder, Compression, NewRecord, control_batch};
    use flumen_types::LeaderEpoch;

    use super::*;

    fn batch(
        id: i64,
        epoch: i16,
        sequence: i32,
        count: i32,
        offset: i64,
        transactional: bool,
    ) -> BatchHeader {
        let attributes = Attributes::default();
        BatchHeader {
            base_offset: Offset(offset),
            batch_length: 100,
            leader_epoch: LeaderEpoch(0),
            magic: 2,
            crc: 0,
            attributes: if transactional { attributes.with_transactional() } else { attributes },
            last_offset_delta: count - 1,
            base_timestamp: Timestamp(1),
            max_timestamp: Timestamp(1),
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
            records_count: count,
        }
    }

    fn marker(id: i64, epoch: i16, offset: i64, control: ControlRecord) -> BatchHeader {
        let bytes = control_batch(ProducerId(id), ProducerEpoch(epoch), control, Timestamp(2));
        BatchHeader { base_offset: Offset(offset), ..BatchHeader::parse(&bytes).unwrap() }
    }

    const COMMIT: ControlRecord = ControlRecord::Commit { coordinator_epoch: 0 };
    const ABORT: ControlRecord = ControlRecord::Abort { coordinator_epoch: 0 };

    #[test]
    fn a_batch_sent_again_is_answered_with_its_first_offsets() {
        let mut states = ProducerStates::default();
        for i in 0..7 {
            let next = batch(1, 0, i * 10, 10, i64::from(i) * 10, false);
            assert_eq!(states.check(&next), Ok(Verdict::Append));
            states.apply(&next);
        }
        for i in 2..7 {
            let again = states.check(&batch(1, 0, i * 10, 10, -1, false)).unwrap();
            let (base, last) = (Offset(i64::from(i) * 10), Offset(i64::from(i) * 10 + 9));
            assert_eq!(again, Verdict::Duplicate { base, last, timestamp: Timestamp(1) });
        }
        // Older than the last five: no longer known.
        assert!(matches!(
            states.check(&batch(1, 0, 10, 10, -1, false)),
            Err(ProducerError::OutOfOrder { .. })
        ));
    }

    #[test]
    fn a_gap_is_refused_and_the_wrap_to_zero_is_not_a_gap() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 0, i32::MAX - 1, 2, 0, false));
        assert_eq!(states.check(&batch(1, 0, 0, 1, -1, false)), Ok(Verdict::Append));
        assert!(matches!(states.check(&batch(1, 0, 1, 1, -1, false)), Err(ProducerError::OutOfOrder { .. })));
        states.apply(&batch(1, 0, 0, 1, 2, false));
        // One batch that runs over the wrap is found again.
        let over = batch(2, 0, i32::MAX, 3, 3, false);
        states.apply(&over);
        assert!(matches!(states.check(&over), Ok(Verdict::Duplicate { .. })));
    }

    #[test]
    fn a_lower_epoch_is_fenced_and_a_higher_one_starts_at_zero() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 3, 0, 5, 0, false));
        assert!(matches!(states.check(&batch(1, 2, 5, 1, -1, false)), Err(ProducerError::Fenced { .. })));
        assert!(matches!(states.check(&batch(1, 4, 5, 1, -1, false)), Err(ProducerError::OutOfOrder { .. })));
        assert_eq!(states.check(&batch(1, 4, 0, 1, -1, false)), Ok(Verdict::Append));
    }

    #[test]
    fn a_transaction_is_open_from_its_first_batch_to_its_marker() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 0, 0, 2, 10, true));
        states.apply(&batch(2, 0, 0, 2, 12, true));
        states.apply(&batch(1, 0, 2, 2, 14, true));
        assert_eq!(states.first_unstable(), Some(Offset(10)));
        assert!(matches!(
            states.check(&batch(1, 0, 4, 1, -1, false)),
            Err(ProducerError::OutsideTransaction { .. })
        ));
        let ended = states.apply_marker(&marker(1, 0, 16, ABORT), ABORT).unwrap();
        assert_eq!((ended.first_offset, ended.last_offset, ended.aborted), (Offset(10), Offset(16), true));
        assert_eq!(states.first_unstable(), Some(Offset(12)));
        assert!(states.apply_marker(&marker(2, 0, 17, COMMIT), COMMIT).is_some_and(|e| !e.aborted));
        assert_eq!(states.first_unstable(), None);
        // The sequence goes on in the next transaction of the same epoch.
        assert_eq!(states.check(&batch(1, 0, 4, 1, -1, true)), Ok(Verdict::Append));
    }

    #[test]
    fn a_marker_of_a_higher_epoch_fences_and_starts_the_sequence_again() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 0, 0, 2, 0, true));
        states.apply_marker(&marker(1, 1, 2, ABORT), ABORT);
        assert!(matches!(states.check(&batch(1, 0, 2, 1, -1, true)), Err(ProducerError::Fenced { .. })));
        assert!(states.check_marker(ProducerId(1), ProducerEpoch(0), COMMIT).is_err());
        assert_eq!(states.check(&batch(1, 1, 0, 1, -1, true)), Ok(Verdict::Append));
    }

    #[test]
    fn the_brokers_own_batches_carry_no_sequence_but_an_epoch() {
        let mut states = ProducerStates::default();
        for offset in 0..3 {
            let offsets = batch(1, 2, -1, 3, offset * 3, true);
            assert_eq!(states.check(&offsets), Ok(Verdict::Append));
            states.apply(&offsets);
        }
        assert!(matches!(states.check(&batch(1, 1, -1, 1, -1, true)), Err(ProducerError::Fenced { .. })));
        assert_eq!(states.first_unstable(), Some(Offset(0)));
    }

    #[test]
    fn a_higher_epoch_does_not_write_beside_an_open_transaction() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 0, 0, 1, 0, true));
        let beside = states.check(&batch(1, 1, 0, 1, -1, false));
        assert!(matches!(beside, Err(ProducerError::OutsideTransaction { .. })));
        assert_eq!(states.check(&batch(1, 1, 0, 1, -1, true)), Ok(Verdict::Append));
    }

    #[test]
    fn a_load_takes_in_data_and_markers_and_passes_over_emptied_ones() {
        let mut data = BatchBuilder::new(Compression::None)
            .producer(ProducerId(1), ProducerEpoch(0), Sequence(0))
            .transactional();
        data.push(&NewRecord::default());
        let marker = control_batch(ProducerId(1), ProducerEpoch(0), ABORT, Timestamp(2));
        let mut emptied = marker.slice(..flumen_records::HEADER_LEN).to_vec();
        emptied[57..61].copy_from_slice(&[0; 4]);
        flumen_records::seal(&mut emptied);
        let [data, marker, emptied] =
            [data.build().unwrap(), marker, emptied.into()].map(|bytes| Batch::parse(bytes).unwrap());

        let mut states = ProducerStates::default();
        assert_eq!(states.replay(&data).unwrap(), None);
        assert_eq!(states.replay(&emptied).unwrap(), None);
        assert_eq!(states.first_unstable(), Some(Offset(0)));
        assert!(states.replay(&marker).unwrap().is_some_and(|ended| ended.aborted));
        let last = LastOfProducer { last_data_offset: Some(Offset(0)), epoch: ProducerEpoch(0) };
        assert_eq!(states.last_records(), HashMap::from([(ProducerId(1), last)]));
    }

    #[test]
    fn a_marker_without_a_transaction_ends_none() {
        let mut states = ProducerStates::default();
        assert_eq!(states.apply_marker(&marker(1, 0, 0, COMMIT), COMMIT), None);
    }

    #[test]
    fn the_silent_are_forgotten_but_not_with_a_transaction_open() {
        let mut states = ProducerStates::default();
        states.apply(&batch(1, 0, 0, 1, 0, false));
        states.apply(&batch(2, 0, 0, 1, 1, true));
        states.expire(Timestamp(100), Millis(50));
        assert_eq!(states.iter().map(|(id, _)| id).collect::<Vec<_>>(), [ProducerId(2)]);
    }

    #[test]
    fn those_are_recalled_of_whom_nothing_else_is_left() {
        let (mut states, mut later) = (ProducerStates::default(), ProducerStates::default());
        states.apply(&batch(1, 0, 0, 1, 0, false));
        for (id, epoch, offset) in [(1, 1, 2), (2, 0, 3), (3, 0, 7)] {
            later.apply(&batch(id, epoch, 0, 1, offset, id == 2));
        }
        states.recall(later, Offset(7));
        let known: Vec<_> = states.iter().map(|(id, state)| (id.0, state.epoch.0)).collect();
        assert_eq!(known, [(1, 0), (2, 0)]);
        assert_eq!(states.first_unstable(), Some(Offset(3)));
    }

    #[test]
    fn batches_without_a_producer_leave_no_trace() {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord { value: Some(b"x"), ..NewRecord::default() });
        let header = BatchHeader::parse(&builder.build().unwrap()).unwrap();
        let mut states = ProducerStates::default();
        assert_eq!(states.check(&header), Ok(Verdict::Append));
        states.apply(&header);
        assert!(states.is_empty());
    }
}
