//! One transaction of a pump, from its first record to its commit.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_types::{Offset, TopicPartition};

use super::{At, Progress, TRANSACTION_AGE, TRANSACTION_BYTES};
use crate::dead_letter::{Letter, Sender};
use crate::io::{IoError, Producer};
use crate::route::Routed;
use crate::status::{Board, Counts, now_ms};

/// Of a letter that its topic refuses so much is tried, and then none of it: its place says where it was.
const LETTER_BYTES: [usize; 2] = [64 << 10, 0];

pub(crate) struct Transaction {
    producer: Box<dyn Producer>,
    opened: Option<Instant>,
    bytes: usize,
    counts: Counts,
    offsets: BTreeMap<At, Offset>,
    cursor: Option<Vec<u8>>,
}

impl Transaction {
    pub(crate) fn new(producer: Box<dyn Producer>) -> Transaction {
        Transaction {
            producer,
            opened: None,
            bytes: 0,
            counts: Counts::default(),
            offsets: BTreeMap::new(),
            cursor: None,
        }
    }

    /// Whether there is anything to commit.
    pub(crate) fn is_open(&self) -> bool {
        self.opened.is_some()
    }

    /// Whether it has taken enough, or long enough.
    pub(crate) fn is_due(&self) -> bool {
        self.bytes >= TRANSACTION_BYTES || self.left().is_some_and(|left| left.is_zero())
    }

    /// How long it may still stay open.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.opened.map(|opened| TRANSACTION_AGE.saturating_sub(opened.elapsed()))
    }

    /// The offsets that a commit would move.
    pub(crate) fn held(&self) -> BTreeMap<At, Offset> {
        self.offsets.clone()
    }

    fn touch(&mut self) {
        self.opened.get_or_insert_with(Instant::now);
    }

    pub(crate) async fn send(&mut self, routed: Routed) -> Result<(), IoError> {
        self.touch();
        self.bytes += routed.packed.records.len();
        self.producer.send(&routed.topic, routed.partition, routed.packed).await
    }

    /// A letter; where its topic does not take it whole, as much of it as the topic does.
    pub(crate) async fn park(&mut self, sender: &Sender, letter: &Letter<'_>) -> Result<(), IoError> {
        let mut parked = self.send(sender.pack(letter, now_ms())).await;
        for bytes_max in LETTER_BYTES {
            match parked {
                Err(IoError::Refused(_)) => {
                    parked = self.send(sender.pack_shortened(letter, now_ms(), bytes_max)).await;
                }
                other => return other,
            }
        }
        parked
    }

    /// Input of this size has been dealt with.
    pub(crate) fn count(&mut self, counts: Counts, bytes: usize) {
        self.touch();
        self.counts.records_in += counts.records_in;
        self.counts.records_out += counts.records_out;
        self.counts.rejected += counts.rejected;
        self.bytes += bytes;
    }

    pub(crate) fn advance(&mut self, topic: &Arc<str>, partition: u32, next: Offset) {
        self.touch();
        self.offsets.insert((topic.clone(), partition), next);
    }

    pub(crate) fn set_cursor(&mut self, cursor: Vec<u8>) {
        self.touch();
        self.cursor = Some(cursor);
    }

    /// Commits what there is. The offsets that it moved, or the cursor.
    pub(crate) async fn commit(&mut self, owner: &Owner<'_>) -> Result<Committed, IoError> {
        if !self.is_open() {
            return Ok(Committed::default());
        }
        let offsets = std::mem::take(&mut self.offsets);
        if !offsets.is_empty() {
            let moved: Vec<(TopicPartition, Offset)> = offsets
                .iter()
                .map(|((topic, partition), next)| {
                    (TopicPartition::new(topic.clone(), *partition as i32), *next)
                })
                .collect();
            self.producer.offsets(owner.group, &moved).await?;
        }
        let cursor = self.cursor.take();
        if let Some(cursor) = &cursor {
            self.producer.cursor(owner.name, owner.task, cursor).await?;
        }
        self.producer.commit().await?;
        owner.board.count(std::mem::take(&mut self.counts));
        for ((topic, partition), next) in &offsets {
            owner.progress.set(topic, *partition, *next);
        }
        owner.progress.notify();
        self.opened = None;
        self.bytes = 0;
        Ok(Committed { offsets, cursor })
    }

    /// Forgets what was not committed; the transaction can be used on.
    pub(crate) async fn abort(&mut self) -> Result<(), IoError> {
        self.opened = None;
        self.bytes = 0;
        self.counts = Counts::default();
        self.offsets.clear();
        self.cursor = None;
        self.producer.abort().await
    }
}

/// Whose offsets, cursor and counts they are.
pub(crate) struct Owner<'a> {
    pub name: &'a str,
    pub group: &'a str,
    pub task: u32,
    pub board: &'a Board,
    pub progress: &'a Progress,
}

#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub offsets: BTreeMap<At, Offset>,
    pub cursor: Option<Vec<u8>>,
}
