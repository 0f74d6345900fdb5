//! What a group has committed, and what open transactions are about to commit for it.
//!
//! Invariants
//! - A transaction's offsets are invisible until its commit marker; an abort marker drops them.
//! - Of two commits of one partition the later in the log wins, even if the earlier one belongs to a
//!   transaction that ends after it.

use std::collections::BTreeMap;

use flumen_types::{Millis, Offset, ProducerId, Timestamp, TopicPartition};

use crate::offset_records::Committed;

/// A commit, and where in the log it was written: it is lasting once the log is durable up to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub committed: Committed,
    pub written_at: Offset,
    /// Durable with this: of a transaction, its marker.
    pub visible_at: Offset,
}

#[derive(Clone, Debug, Default)]
pub struct Offsets {
    committed: BTreeMap<TopicPartition, Entry>,
    pending: BTreeMap<ProducerId, BTreeMap<TopicPartition, Entry>>,
}

impl Offsets {
    pub fn get(&self, partition: &TopicPartition) -> Option<&Entry> {
        self.committed.get(partition)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &Entry)> {
        self.committed.iter()
    }

    /// Whether an open transaction has committed an offset here.
    pub fn is_unstable(&self, partition: &TopicPartition) -> bool {
        self.pending.values().any(|offsets| offsets.contains_key(partition))
    }

    pub fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.pending.is_empty()
    }

    /// All partitions with an offset, committed or about to be.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        let pending = self.pending.values().flat_map(BTreeMap::keys);
        self.committed.keys().chain(pending.filter(|partition| !self.committed.contains_key(*partition)))
    }

    /// A commit that is in the log at `at`; `None` removes it.
    pub(crate) fn apply(
        &mut self,
        producer: Option<ProducerId>,
        partition: TopicPartition,
        committed: Option<Committed>,
        at: Offset,
    ) {
        let entry = committed.map(|committed| Entry { committed, written_at: at, visible_at: at });
        match (producer, entry) {
            (Some(producer), Some(entry)) => {
                self.pending.entry(producer).or_default().insert(partition, entry);
            }
            (None, Some(entry)) => {
                self.committed.insert(partition, entry);
            }
            (_, None) => self.remove(&partition),
        }
    }

    fn remove(&mut self, partition: &TopicPartition) {
        self.committed.remove(partition);
        for offsets in self.pending.values_mut() {
            offsets.remove(partition);
        }
        self.pending.retain(|_, offsets| !offsets.is_empty());
    }

    /// The marker of `producer`'s transaction is in the log at `at`.
    pub(crate) fn end_transaction(&mut self, producer: ProducerId, commit: bool, at: Offset) {
        let Some(offsets) = self.pending.remove(&producer) else { return };
        if !commit {
            return;
        }
        for (partition, mut entry) in offsets {
            entry.visible_at = at;
            match self.committed.get(&partition) {
                Some(newer) if newer.written_at > entry.written_at => {}
                _ => {
                    self.committed.insert(partition, entry);
                }
            }
        }
    }

    /// The partitions whose offsets have been kept long enough: counted from the commit, or from
    /// `idle_since` if the group was still at work then. One that names its own expiry goes by that.
    pub(crate) fn expired(
        &self,
        now: Timestamp,
        retention: Millis,
        idle_since: Timestamp,
        subscribed: impl Fn(&TopicPartition) -> bool,
    ) -> Vec<TopicPartition> {
        let is_over = |entry: &Entry| match entry.committed.expires_at {
            Some(at) => now >= at,
            None => now.since(entry.committed.committed_at.max(idle_since)) >= retention.0,
        };
        let old = self.committed.iter().filter(|(_, entry)| is_over(entry));
        let old = old.filter(|(partition, _)| !subscribed(partition) && !self.is_unstable(partition));
        old.map(|(partition, _)| partition.clone()).collect()
    }
}
