//! What lasts of share partitions: all that one partition of `__share_group_state` keeps (KIP-932).
//!
//! Of each share partition the log has a snapshot, and behind it what has changed since; after so many
//! changes another snapshot. What lies before the oldest snapshot that counts is not needed any more
//! ([`ShareStates::redundant_before`]).
//!
//! Invariants: a change goes through decide, append and [`ShareStates::apply`]; read back from the log,
//! the same entries make the same states. An older epoch than the last one changes nothing.

mod batches;
mod records;

use std::collections::HashMap;
use std::sync::Arc;

use flumen_types::{Offset, PartitionId, Timestamp, TopicId};
use thiserror::Error;

pub use batches::{Delivered, StateBatch, combine};
pub use records::{ShareStateEntry, Update};

/// Whose state it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareKey {
    pub group: Arc<str>,
    pub topic: TopicId,
    pub partition: PartitionId,
}

/// All of it, as a snapshot has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShareState {
    pub snapshot_epoch: i32,
    /// Goes up when the group's offsets are set anew; an older one may change nothing.
    pub state_epoch: i32,
    pub leader_epoch: i32,
    /// [`Offset::UNKNOWN`] until the first reader finds out where to begin.
    pub start: Offset,
    /// Of the records from the start on, how many are done; -1 if that is not known.
    pub done: i32,
    pub batches: Vec<StateBatch>,
    pub created_at: Timestamp,
    pub written_at: Timestamp,
}

/// Kafka's broker keys.
#[derive(Clone, Debug)]
pub struct Options {
    /// share.coordinator.snapshot.update.records.per.snapshot
    pub updates_per_snapshot: u32,
    /// share.coordinator.cold.partition.snapshot.interval.ms
    pub cold_after: flumen_types::Millis,
}

impl Default for Options {
    fn default() -> Self {
        Options { updates_per_snapshot: 500, cold_after: flumen_types::Millis(300_000) }
    }
}

/// Why a state is neither read nor written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StateError {
    #[error("the share partition was not initialized")]
    Uninitialized,
    #[error("a newer leader has written")]
    FencedLeaderEpoch,
    #[error("the offsets were set anew meanwhile")]
    FencedStateEpoch,
}

/// What a share partition's leader writes.
#[derive(Clone, Debug)]
pub struct StateWrite {
    /// -1: whatever it is.
    pub state_epoch: i32,
    /// -1: whoever it is.
    pub leader_epoch: i32,
    /// [`Offset::UNKNOWN`]: as it was.
    pub start: Offset,
    pub done: i32,
    pub batches: Vec<StateBatch>,
}

#[derive(Debug)]
struct Kept {
    state: ShareState,
    updates: u32,
    /// Where its last snapshot lies.
    snapshot_at: Offset,
}

#[derive(Debug, Default)]
pub struct ShareStates {
    options: Options,
    kept: HashMap<ShareKey, Kept>,
}

impl ShareStates {
    pub fn new(options: Options) -> Self {
        ShareStates { options, kept: HashMap::new() }
    }

    pub fn get(&self, key: &ShareKey) -> Option<&ShareState> {
        self.kept.get(key).map(|kept| &kept.state)
    }

    /// Begins anew at an offset, or leaves it to the first reader where to begin.
    pub fn initialize(
        &self,
        key: ShareKey,
        state_epoch: i32,
        start: Offset,
        now: Timestamp,
    ) -> Result<ShareStateEntry, StateError> {
        let known = self.get(&key);
        if known.is_some_and(|known| state_epoch != -1 && known.state_epoch > state_epoch) {
            return Err(StateError::FencedStateEpoch);
        }
        let state = ShareState {
            snapshot_epoch: known.map_or(0, |known| known.snapshot_epoch + 1),
            state_epoch,
            leader_epoch: 0,
            start,
            done: if start == Offset::UNKNOWN { -1 } else { 0 },
            batches: Vec::new(),
            created_at: now,
            written_at: now,
        };
        Ok(ShareStateEntry::Snapshot { key, state: Some(state) })
    }

    /// For the leader that reads: the state, and what has to be written if it is another leader.
    pub fn read(
        &self,
        key: &ShareKey,
        leader_epoch: i32,
        now: Timestamp,
    ) -> Result<(&ShareState, Option<ShareStateEntry>), StateError> {
        let state = self.checked(key, -1, leader_epoch)?;
        if leader_epoch == -1 || leader_epoch == state.leader_epoch {
            return Ok((state, None));
        }
        let (start, done) = (state.start, state.done);
        let write = StateWrite { state_epoch: state.state_epoch, leader_epoch, start, done, batches: vec![] };
        Ok((state, Some(self.entry(key, state, &write, leader_epoch, now))))
    }

    pub fn write(
        &self,
        key: &ShareKey,
        write: &StateWrite,
        now: Timestamp,
    ) -> Result<ShareStateEntry, StateError> {
        let state = self.checked(key, write.state_epoch, write.leader_epoch)?;
        Ok(self.entry(key, state, write, state.leader_epoch, now))
    }

    fn checked(
        &self,
        key: &ShareKey,
        state_epoch: i32,
        leader_epoch: i32,
    ) -> Result<&ShareState, StateError> {
        let state = self.get(key).ok_or(StateError::Uninitialized)?;
        if leader_epoch != -1 && state.leader_epoch > leader_epoch {
            return Err(StateError::FencedLeaderEpoch);
        }
        if state_epoch != -1 && state.state_epoch > state_epoch {
            return Err(StateError::FencedStateEpoch);
        }
        Ok(state)
    }

    /// A change, or the whole once there were changes enough.
    fn entry(
        &self,
        key: &ShareKey,
        state: &ShareState,
        write: &StateWrite,
        leader_epoch: i32,
        now: Timestamp,
    ) -> ShareStateEntry {
        let updates = self.kept.get(key).map_or(0, |kept| kept.updates);
        let update = Update {
            snapshot_epoch: state.snapshot_epoch,
            leader_epoch,
            start: write.start,
            done: write.done,
            batches: combine([], &write.batches, write.start),
        };
        if updates < self.options.updates_per_snapshot {
            return ShareStateEntry::Update { key: key.clone(), update };
        }
        let mut merged = state.clone();
        merged.take(&update);
        merged.snapshot_epoch += 1;
        (merged.created_at, merged.written_at) = (now, now);
        ShareStateEntry::Snapshot { key: key.clone(), state: Some(merged) }
    }

    /// `None` if there is nothing to delete.
    pub fn delete(&self, key: &ShareKey) -> Option<ShareStateEntry> {
        self.kept.contains_key(key).then(|| ShareStateEntry::Snapshot { key: key.clone(), state: None })
    }

    /// The changes that forget the states of topics that are gone.
    pub fn delete_topics(&self, gone: impl Fn(TopicId) -> bool) -> Vec<ShareStateEntry> {
        self.kept.keys().filter(|key| gone(key.topic)).filter_map(|key| self.delete(key)).collect()
    }

    /// New snapshots of what has not been written for long, so that the log before them may go.
    pub fn snapshot_cold(&self, now: Timestamp) -> Vec<ShareStateEntry> {
        let all_cold = self.kept.values().all(|kept| kept.state.created_at != kept.state.written_at);
        if all_cold {
            return Vec::new();
        }
        let cold = |kept: &&Kept| now.since(kept.state.written_at) >= self.options.cold_after.0;
        let snapshot = |(key, kept): (&ShareKey, &Kept)| {
            let epoch = kept.state.snapshot_epoch + 1;
            let state = ShareState { snapshot_epoch: epoch, written_at: now, ..kept.state.clone() };
            ShareStateEntry::Snapshot { key: key.clone(), state: Some(state) }
        };
        self.kept.iter().filter(|(_, kept)| cold(kept)).map(snapshot).collect()
    }

    /// Nothing before this offset counts any more; `None` if nothing is kept.
    pub fn redundant_before(&self) -> Option<Offset> {
        self.kept.values().map(|kept| kept.snapshot_at).min()
    }

    /// Takes in what is in the log at `at`.
    pub fn apply(&mut self, entry: &ShareStateEntry, at: Offset) {
        match entry {
            ShareStateEntry::Snapshot { key, state: None } => {
                self.kept.remove(key);
            }
            ShareStateEntry::Snapshot { key, state: Some(state) } => {
                let limit = self.options.updates_per_snapshot;
                let (mut state, before) = (state.clone(), self.kept.get(key));
                // Epochs only go up.
                state.leader_epoch = state.leader_epoch.max(before.map_or(0, |kept| kept.state.leader_epoch));
                let updates = before.map_or(0, |kept| kept.updates);
                let updates = if updates >= limit { 0 } else { updates };
                self.kept.insert(key.clone(), Kept { state, updates, snapshot_at: at });
            }
            ShareStateEntry::Update { key, update } => {
                if let Some(kept) = self.kept.get_mut(key) {
                    kept.state.take(update);
                    kept.updates += 1;
                }
            }
            ShareStateEntry::Other { .. } => {}
        }
    }
}

impl ShareState {
    fn take(&mut self, update: &Update) {
        if update.start != Offset::UNKNOWN {
            self.start = update.start;
        }
        self.leader_epoch = self.leader_epoch.max(update.leader_epoch);
        self.done = update.done;
        self.batches = combine(std::mem::take(&mut self.batches), &update.batches, self.start);
    }
}

impl ShareKey {
    /// As Kafka names it to find its coordinator.
    pub fn coordinator_key(&self) -> String {
        format!("{}:{}:{}", self.group, kafka_id(self.topic), self.partition)
    }
}

/// A topic's id in Kafka's own text: base64 of the URL's alphabet, without padding.
fn kafka_id(topic: TopicId) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = u128::from_be_bytes(topic.to_bytes());
    // 21 characters of six bits, and the last two bits.
    let digit = |n: u32| match n {
        0..21 => (bits >> (122 - 6 * n)) & 63,
        _ => (bits & 3) << 4,
    };
    (0..22).map(|n| char::from(ALPHABET[digit(n) as usize])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> ShareKey {
        ShareKey { group: "g".into(), topic: TopicId::from_bytes([7; 16]), partition: PartitionId(3) }
    }

    fn write(start: i64, first: i64, last: i64, done: i32) -> StateWrite {
        let batch =
            StateBatch { first: Offset(first), last: Offset(last), state: Delivered::Acknowledged, count: 1 };
        StateWrite { state_epoch: 2, leader_epoch: 0, start: Offset(start), done, batches: vec![batch] }
    }

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        // From Java: Uuid.fromString("BwcHBwcHBwcHBwcHBwcHBw"), and Uuid.ONE_UUID.
        assert_eq!(key().coordinator_key(), "g:BwcHBwcHBwcHBwcHBwcHBw:3");
        let mut one = [0; 16];
        one[15] = 1;
        assert_eq!(kafka_id(TopicId::from_bytes(one)), "AAAAAAAAAAAAAAAAAAAAAQ");
    }

    #[test]
    fn updates_become_a_snapshot_and_old_epochs_are_fenced() {
        let mut states = ShareStates::new(Options { updates_per_snapshot: 2, ..Options::default() });
        let first = states.initialize(key(), 2, Offset::UNKNOWN, Timestamp(5)).unwrap();
        states.apply(&first, Offset(0));
        assert_eq!(states.get(&key()).unwrap().done, -1);
        for (at, last) in [(1, 9), (2, 19), (3, 29)] {
            let entry = states.write(&key(), &write(0, last - 9, last, last as i32), Timestamp(6)).unwrap();
            assert_eq!(matches!(entry, ShareStateEntry::Snapshot { .. }), at == 3, "{entry:?}");
            states.apply(&entry, Offset(at));
        }
        let state = states.get(&key()).unwrap();
        assert_eq!((state.snapshot_epoch, state.start, state.done), (1, Offset(0), 29));
        assert_eq!(state.batches.len(), 1, "{:?}", state.batches);
        assert_eq!(states.redundant_before(), Some(Offset(3)));
        let stale = StateWrite { state_epoch: 1, ..write(0, 0, 0, 0) };
        assert_eq!(states.write(&key(), &stale, Timestamp(7)), Err(StateError::FencedStateEpoch));
        let anew = states.initialize(key(), 1, Offset(4), Timestamp(7));
        assert_eq!(anew, Err(StateError::FencedStateEpoch));
    }

    #[test]
    fn a_new_leader_is_written_down_and_fences_the_old() {
        let mut states = ShareStates::default();
        let first = states.initialize(key(), 2, Offset(4), Timestamp(5)).unwrap();
        states.apply(&first, Offset(0));
        let (state, led) = states.read(&key(), 3, Timestamp(6)).unwrap();
        assert_eq!(state.start, Offset(4));
        let led = led.expect("it is another leader");
        states.apply(&led, Offset(1));
        assert_eq!(states.read(&key(), 3, Timestamp(6)).unwrap().1, None);
        assert_eq!(states.read(&key(), 2, Timestamp(6)), Err(StateError::FencedLeaderEpoch));
        let gone = states.delete(&key()).unwrap();
        states.apply(&gone, Offset(2));
        assert_eq!(states.read(&key(), 3, Timestamp(6)), Err(StateError::Uninitialized));
    }
}
