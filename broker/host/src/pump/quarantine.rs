//! Keys that wait in the dead-letter topic, and with them every later record of theirs.
//!
//! The dead-letter topic itself says which: the keys of this plugin's letters that `flumen dlq redrive`
//! has not taken back yet, as the offsets of its group tell. A redrive sends the records and moves that
//! group in one transaction, so that who sees a redriven record finds its key free.
//!
//! A record without a key is parked alone. A sink without transactions has delivered what followed a
//! rejected record in the same call; there the quarantine begins with the next call.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use flumen_records::RecordIter;
use flumen_types::Offset;

use crate::chunk::{Chunk, Piece, pieces};
use crate::io::{IoError, Log};
use crate::route::Rejected;
use crate::section::Heads;

const READ_BYTES: usize = 1 << 20;
pub(super) const REASON: &str = "an earlier record of its key waits for a redrive";

/// The group of `flumen dlq redrive`.
fn group(topic: &str) -> String {
    format!("flumen.dlq.{topic}")
}

pub(super) struct Quarantine {
    log: Arc<dyn Log>,
    plugin: String,
    topic: Arc<str>,
    keys: HashSet<Vec<u8>>,
    /// What had been redriven when the keys were read.
    redriven: BTreeMap<u32, Option<Offset>>,
}

impl Quarantine {
    pub(super) async fn load(log: Arc<dyn Log>, plugin: &str, topic: &str) -> Result<Quarantine, IoError> {
        let mut quarantine = Quarantine {
            log,
            plugin: plugin.to_owned(),
            topic: Arc::from(topic),
            keys: HashSet::new(),
            redriven: BTreeMap::new(),
        };
        quarantine.refresh().await?;
        Ok(quarantine)
    }

    pub(super) fn add(&mut self, chunk: &Chunk, rejected: &[Rejected]) {
        self.keys.extend(keys_of(chunk, rejected).map(<[u8]>::to_vec));
    }

    fn holds(&self, key: Option<&[u8]>) -> bool {
        key.is_some_and(|key| self.keys.contains(key))
    }

    /// Reads the keys anew where a redrive has moved on.
    async fn refresh(&mut self) -> Result<(), IoError> {
        let group = group(&self.topic);
        let mut redriven = BTreeMap::new();
        for partition in 0..self.log.partitions(&self.topic).await? {
            let done = self.log.committed(&group, &self.topic, partition).await?;
            redriven.insert(partition, done.map(|done| done.offset));
        }
        if redriven == self.redriven {
            return Ok(());
        }
        self.keys.clear();
        for (partition, from) in &redriven {
            self.scan(*partition, from.unwrap_or(Offset::ZERO)).await?;
        }
        self.redriven = redriven;
        Ok(())
    }

    async fn scan(&mut self, partition: u32, mut from: Offset) -> Result<(), IoError> {
        loop {
            let read = match self.log.read(&self.topic, partition, from, READ_BYTES, Duration::ZERO).await {
                Err(IoError::OutOfRange { start, asked, .. }) if asked < start => {
                    from = start;
                    continue;
                }
                read => read?,
            };
            let found = pieces(&self.topic, partition, from, &read, crate::BatchSize::default().records);
            for piece in found.pieces {
                let Piece::Records(chunk) = piece else { continue };
                for record in RecordIter::new(&chunk.records, chunk.count).flatten() {
                    let ours = record.headers().any(|(name, value)| {
                        name == b"flumen.error.plugin" && value == Some(self.plugin.as_bytes())
                    });
                    if let (true, Some(key)) = (ours, record.key) {
                        self.keys.insert(key.to_vec());
                    }
                }
            }
            if found.next <= from || found.next >= read.end {
                return Ok(());
            }
            from = found.next;
        }
    }

    /// The chunk in stretches that are all held or all free, in order.
    pub(super) async fn divide(&mut self, chunk: Chunk) -> Result<Vec<(Chunk, bool)>, IoError> {
        if !self.meets(&chunk) {
            return Ok(vec![(chunk, false)]);
        }
        self.refresh().await?;
        let mut stretches = Vec::new();
        let mut rest = chunk;
        loop {
            let mut held = Heads::new(&rest.records, rest.count).flatten().map(|head| self.holds(head.key()));
            let Some(first) = held.next() else { return Ok(stretches) };
            let length = 1 + held.take_while(|held| *held == first).count() as u32;
            match rest.split(length) {
                Some((stretch, after)) => {
                    stretches.push((stretch, first));
                    rest = after;
                }
                None => {
                    stretches.push((rest, first));
                    return Ok(stretches);
                }
            }
        }
    }

    pub(super) fn meets(&self, chunk: &Chunk) -> bool {
        !self.keys.is_empty()
            && Heads::new(&chunk.records, chunk.count).flatten().any(|head| self.holds(head.key()))
    }
}

fn keys_of<'a>(chunk: &'a Chunk, rejected: &'a [Rejected]) -> impl Iterator<Item = &'a [u8]> {
    let mut rejected = rejected.iter().peekable();
    let heads = Heads::new(&chunk.records, chunk.count).flatten().enumerate();
    heads.filter_map(move |(i, head)| {
        rejected.next_if(|r| r.index as usize == i)?;
        head.key()
    })
}

/// The first record that follows a rejected one of its key, and is not rejected itself: up to there a
/// call's answer may stand.
pub(crate) fn first_follower(chunk: &Chunk, rejected: &[Rejected]) -> Option<u32> {
    let mut rejected = rejected.iter().peekable();
    let mut keys = HashSet::new();
    for (i, head) in Heads::new(&chunk.records, chunk.count).flatten().enumerate() {
        if rejected.next_if(|r| r.index as usize == i).is_some() {
            keys.extend(head.key());
        } else if head.key().is_some_and(|key| keys.contains(key)) {
            return Some(i as u32);
        }
    }
    None
}
