//! Ends the active segment and opens the next.
//!
//! Only what must be is done here, under the writer's lock: the new file is made, and the state of
//! the producers kept. Indexes, snapshot and names are written by the sync that follows (`sync.rs`),
//! before anything in the new segment counts as durable.

use std::hash::BuildHasher;
use std::sync::Arc;

use flumen_log::append::{RollFacts, rolls};
use flumen_log::config::TopicConfig;
use flumen_types::{Offset, Timestamp};

use crate::error::{AppendError, FileError};
use crate::locks::{read, write};
use crate::partition::incoming::Incoming;
use crate::partition::{Partition, Sealed, Writer};
use crate::segment::Segment;

impl Partition {
    /// Kafka's rules, for batches that come together.
    pub(crate) fn roll_if_due(
        &self,
        writer: &mut Writer,
        config: &TopicConfig,
        incoming: &[Incoming],
        size: usize,
    ) -> Result<(), AppendError> {
        if size as u64 > config.segment_bytes {
            return Err(AppendError::ListTooLarge { size, max: config.segment_bytes });
        }
        let Some(first) = incoming.first() else { return Ok(()) };
        let count: i64 = incoming.iter().map(|batch| i64::from(batch.header.last_offset_delta) + 1).sum();
        let facts = {
            let index = writer.active.index()?;
            let index = read(&index);
            RollFacts {
                base: writer.active.base(),
                size: writer.active.size(),
                first_timestamp: writer.first_timestamp,
                index_entries: index.offset_entries() as u64,
                time_index_entries: index.time_entries() as u64,
                jitter: if config.segment_jitter.0 > 0 { self.chance(writer.active.base()) } else { 0.0 },
            }
        };
        let last = writer.end.plus(count - 1);
        let due = if incoming.len() == 1 {
            rolls(&facts, &first.header, last, config)
        } else {
            let mut all = first.header.clone();
            all.max_timestamp =
                incoming.iter().map(|b| b.header.max_timestamp).max().unwrap_or(Timestamp::NONE);
            all.batch_length = i32::try_from(size).unwrap_or(i32::MAX) - 12;
            rolls(&facts, &all, last, config)
        };
        if due { Ok(self.roll(writer)?) } else { Ok(()) }
    }

    /// From 0 to 1, another one for each partition and segment, and for each process.
    fn chance(&self, base: Offset) -> f64 {
        f64::from(self.shared.chance.hash_one((&self.tp, base)) as u32) / f64::from(u32::MAX)
    }

    /// The next batch begins a new segment. An empty active segment stays.
    pub(crate) fn roll(&self, writer: &mut Writer) -> Result<(), FileError> {
        if writer.active.size() == 0 {
            return Ok(());
        }
        let next = Segment::create(&self.dir, writer.end, &self.shared.open_files)?;
        let old = std::mem::replace(&mut writer.active, next.clone());
        old.seal()?;
        write(&self.segments).insert(next.base(), Arc::clone(&next));
        writer.sealed.push(Sealed {
            segment: old,
            end: writer.end,
            snapshot: Some(writer.producers.snapshot()),
        });
        writer.first_timestamp = None;
        writer.names = true;
        Ok(())
    }
}
