//! A producer snapshot as Kafka writes it beside the segments.
//!
//! ```text
//! version i16 (1) | CRC-32C u32 of all that follows | count i32
//! | (producer id i64 | epoch i16 | last sequence i32 | last offset i64 | offset delta i32
//!    | timestamp i64 | coordinator epoch i32 | first offset of its open transaction i64, or -1)*
//! ```
//!
//! Of a producer's batches that is the last. A client that lost its connection sends again the ones before it too, and
//! Apache Kafka, when it has restarted from a snapshot, knows them no more and stops the producer for good. So they follow,
//! oldest first, where Kafka reads no further, under the same CRC:
//!
//! ```text
//! count i32 | (producer id i64 | last sequence i32 | last offset i64 | offset delta i32 | timestamp i64)*
//! ```

use flumen_records::Check;
use flumen_types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use thiserror::Error;

use crate::producers::{BatchFacts, ProducerState, ProducerStates};

const VERSION: i16 = 1;
const HEADER_LEN: usize = 6;
const ENTRY_LEN: usize = 46;

#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SnapshotError {
    #[error("it is of version {0}, which is not known")]
    Version(i16),
    #[error("it is cut short")]
    Short,
    #[error("its CRC-32C is {found:08x} where {expected:08x} was written")]
    Crc { expected: u32, found: u32 },
}

impl ProducerStates {
    pub fn snapshot(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN + 4 + self.len() * ENTRY_LEN);
        out.extend_from_slice(&VERSION.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(self.len() as i32).to_be_bytes());
        // Sorted, which is not done twice: an append may be waiting.
        let producers: Vec<_> = self.iter().collect();
        for (id, state) in &producers {
            let last = state.batches.back();
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&state.epoch.0.to_be_bytes());
            out.extend_from_slice(&state.last_sequence().0.to_be_bytes());
            out.extend_from_slice(&state.last_offset().0.to_be_bytes());
            out.extend_from_slice(&last.map_or(0, |batch| batch.offset_delta).to_be_bytes());
            out.extend_from_slice(&state.last_timestamp.0.to_be_bytes());
            out.extend_from_slice(&state.coordinator_epoch.to_be_bytes());
            out.extend_from_slice(&state.open_transaction.unwrap_or(Offset::UNKNOWN).0.to_be_bytes());
        }
        write_earlier(&producers, &mut out);
        let crc = flumen_records::crc32c(&out[HEADER_LEN..]);
        out[2..HEADER_LEN].copy_from_slice(&crc.to_be_bytes());
        out
    }

    pub fn from_snapshot(bytes: &[u8]) -> Result<ProducerStates, SnapshotError> {
        let mut reader = Reader(bytes);
        let version = i16::from_be_bytes(reader.take()?);
        if version != VERSION {
            return Err(SnapshotError::Version(version));
        }
        let expected = u32::from_be_bytes(reader.take()?);
        let found = flumen_records::crc32c(reader.0);
        if Check::Snapshot.differs(expected, found) {
            return Err(SnapshotError::Crc { expected, found });
        }
        let count = i32::from_be_bytes(reader.take()?);
        let mut states = ProducerStates::default();
        for _ in 0..count {
            let (id, state) = reader.entry()?;
            states.insert(id, state);
        }
        if !reader.0.is_empty() {
            for _ in 0..i32::from_be_bytes(reader.take()?) {
                let (id, batch) = reader.earlier()?;
                states.recall_batch(id, batch);
            }
        }
        Ok(states)
    }
}

/// The batches before the last of each producer; nothing where there are none, as Kafka has it.
fn write_earlier(producers: &[(ProducerId, &ProducerState)], out: &mut Vec<u8>) {
    let count: usize = producers.iter().map(|(_, state)| state.earlier().count()).sum();
    if count == 0 {
        return;
    }
    out.extend_from_slice(&(count as i32).to_be_bytes());
    for (id, state) in producers {
        for batch in state.earlier() {
            out.extend_from_slice(&id.0.to_be_bytes());
            out.extend_from_slice(&batch.last_sequence.0.to_be_bytes());
            out.extend_from_slice(&batch.last_offset.0.to_be_bytes());
            out.extend_from_slice(&batch.offset_delta.to_be_bytes());
            out.extend_from_slice(&batch.timestamp.0.to_be_bytes());
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(SnapshotError::Short)?;
        self.0 = rest;
        Ok(*head)
    }

    fn entry(&mut self) -> Result<(ProducerId, ProducerState), SnapshotError> {
        let id = ProducerId(i64::from_be_bytes(self.take()?));
        let epoch = ProducerEpoch(i16::from_be_bytes(self.take()?));
        let last_sequence = Sequence(i32::from_be_bytes(self.take()?));
        let last_offset = Offset(i64::from_be_bytes(self.take()?));
        let offset_delta = i32::from_be_bytes(self.take()?);
        let last_timestamp = Timestamp(i64::from_be_bytes(self.take()?));
        let coordinator_epoch = i32::from_be_bytes(self.take()?);
        let open = i64::from_be_bytes(self.take()?);
        let mut state = ProducerState {
            epoch,
            coordinator_epoch,
            last_timestamp,
            open_transaction: (open >= 0).then_some(Offset(open)),
            batches: Default::default(),
        };
        if last_offset.0 >= 0 {
            state.remember(BatchFacts {
                last_sequence,
                last_offset,
                offset_delta,
                timestamp: last_timestamp,
            });
        }
        Ok((id, state))
    }

    fn earlier(&mut self) -> Result<(ProducerId, BatchFacts), SnapshotError> {
        let id = ProducerId(i64::from_be_bytes(self.take()?));
        let last_sequence = Sequence(i32::from_be_bytes(self.take()?));
        let last_offset = Offset(i64::from_be_bytes(self.take()?));
        let offset_delta = i32::from_be_bytes(self.take()?);
        let timestamp = Timestamp(i64::from_be_bytes(self.take()?));
        Ok((id, BatchFacts { last_sequence, last_offset, offset_delta, timestamp }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn states() -> ProducerStates {
        let mut states = ProducerStates::default();
        for id in 0..3 {
            let mut state = ProducerState {
                epoch: ProducerEpoch(id as i16),
                coordinator_epoch: -1,
                last_timestamp: Timestamp(5),
                open_transaction: (id == 1).then_some(Offset(7)),
                batches: Default::default(),
            };
            // One has as many as are remembered, one a single one, one none.
            for n in 0..[5, 1, 0][id as usize] {
                state.remember(BatchFacts {
                    last_sequence: Sequence(4 * n + 3),
                    last_offset: Offset(20 + id + 12 * i64::from(n)),
                    offset_delta: 3,
                    timestamp: Timestamp(5 + i64::from(n)),
                });
            }
            states.insert(ProducerId(id), state);
        }
        states
    }

    #[test]
    fn what_was_written_comes_back() {
        let back = ProducerStates::from_snapshot(&states().snapshot()).unwrap();
        assert_eq!(back, states());
        assert_eq!(back.first_unstable(), Some(Offset(7)));
    }

    #[test]
    fn kafkas_part_is_as_long_as_kafka_writes_it() {
        let mut states = states();
        let all = states.snapshot();
        states.forget_earlier();
        assert_eq!(states.snapshot().len(), HEADER_LEN + 4 + 3 * ENTRY_LEN);
        assert_eq!(all.len(), HEADER_LEN + 4 + 3 * ENTRY_LEN + 4 + 4 * 32);
        assert_eq!(all[HEADER_LEN..HEADER_LEN + 4], 3_i32.to_be_bytes());
    }

    proptest! {
        #[test]
        fn damage_is_an_error(at: prop::sample::Index, bit in 0_u32..8) {
            let mut bytes = states().snapshot();
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(ProducerStates::from_snapshot(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_an_error_or_a_state(bytes: Vec<u8>) {
            ProducerStates::from_snapshot(&bytes).ok();
        }
    }
}
