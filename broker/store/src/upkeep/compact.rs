//! Rewrites the sealed segments of a compacted topic, as `flumen_log` plans and filters it.
//!
//! Each group of neighbours becomes one segment, in steps that a crash can fall between:
//!
//! ```text
//! 1 write X.*.cleaned, synced            a crash: removed at open, as if nothing had been done
//! 2 rename to X.*.swap, the .log last    a crash: removed at open, until the .log is renamed
//! 3 rename the old ones to .deleted      a crash: carried through at open
//! 4 rename X.*.swap to X.*               the same
//! ```
//!
//! The folder is synced behind 2, 3, and 4 but for the `.log`: a later step that is on the device without an
//! earlier one would leave a segment of the run beside the one that replaces it, or that one without its aborted
//! transactions. The last rename needs no sync: an open does it again.
//!
//! Invariants: offsets never change; nothing at or above the last stable offset, and nothing of the
//! active segment, is touched. A reader that holds an old segment keeps its file open and reads on in
//! it. One pass at a time on a partition (`upkeep`). A damaged segment is left as it is, and does not stop what
//! lies behind it from being compacted: the keys that are lost in it only keep older records longer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flumen_log::cleaner::{Aborted, Cleaner, Holds, OffsetMap, Outcome, Transactions};
use flumen_log::compaction::{self, Dirt, Group, Piece, Reached};
use flumen_log::config::TopicConfig;
use flumen_log::retention::SegmentFacts;
use flumen_records::{Batch, BatchError, Check};
use flumen_types::{Offset, Timestamp};

use crate::error::{CompactError, FileError, ReadError};
use crate::files::file_system::File;
use crate::locks::{lock, read};
use crate::partition::Partition;
use crate::segment::in_place::InPlace;
use crate::segment::{Part, Segment};
use crate::upkeep::cleaned::Cleaned;

/// A sync that takes longer is waited for by the next pass.
const SYNC_WAIT: Duration = Duration::from_secs(5);

type Known = (Arc<Segment>, SegmentFacts);

impl Partition {
    /// How dirty it is; `None` if its topic is not compacted.
    pub(crate) fn dirt(&self, now: Timestamp) -> Result<Option<Dirt>, FileError> {
        let config = self.config();
        if !config.cleanup_policy.compact || self.is_closed() {
            return Ok(None);
        }
        let segments = self.facts()?;
        let dirt = self.survey(settled(&segments), &config, now)?;
        self.cleaning.surveyed(&dirt);
        Ok(Some(dirt))
    }

    /// One pass if it is due; says whether there was one.
    pub(crate) fn compact(&self, now: Timestamp) -> Result<bool, CompactError> {
        let config = self.config();
        if !config.cleanup_policy.compact {
            return Ok(false);
        }
        let _upkeep = lock(&self.upkeep);
        if self.is_closed() {
            return Ok(false);
        }
        let segments = self.facts()?;
        let segments = settled(&segments);
        let dirt = self.survey(segments, &config, now)?;
        self.cleaning.surveyed(&dirt);
        if !dirt.due(&config) {
            return Ok(false);
        }
        let sealed = &segments[..segments.len() - 1];
        match self.counted_pass(&dirt, || self.pass(sealed, dirt, &config, now)) {
            Err(CompactError::Stopped) => Ok(false),
            Err(error) => {
                self.condemn_compacted(sealed, &error)?;
                Err(error)
            }
            passed => passed.map(|()| true),
        }
    }

    /// A batch that a pass could not read is not met by the next.
    fn condemn_compacted(&self, segments: &[Known], error: &CompactError) -> Result<(), FileError> {
        let (CompactError::Batch { path, position, .. }
        | CompactError::Read(ReadError::Corrupt { path, position, .. })) = error
        else {
            return Ok(());
        };
        match segments.iter().find(|(segment, _)| segment.path(Part::Log) == *path) {
            Some((segment, facts)) => {
                let known = segment.damage();
                self.condemn(segment, &known, *position, segment.base(), Some(facts.next)).map(|_| ())
            }
            None => Ok(()),
        }
    }

    fn survey(&self, segments: &[Known], config: &TopicConfig, now: Timestamp) -> Result<Dirt, FileError> {
        let marks = self.marks();
        let reached =
            Reached { start: marks.start, cleaned: self.cleaned_upto(), last_stable: marks.last_stable };
        let facts: Vec<SegmentFacts> = segments.iter().map(|(_, facts)| *facts).collect();
        let mut first = None;
        if let (Some((active, sealed)), true) =
            (segments.split_last(), config.max_compaction_lag.0 < i64::MAX)
        {
            let from = compaction::first_dirty(reached.start, reached.cleaned, active.1.next);
            for (segment, _) in sealed.iter().filter(|(_, facts)| facts.next > from) {
                let began = segment.first_timestamp()?.filter(|timestamp| timestamp.0 > 0);
                first = first.into_iter().chain(began).min();
            }
        }
        Ok(compaction::survey(&facts, reached, first, config, now))
    }

    fn pass(
        &self,
        segments: &[Known],
        dirt: Dirt,
        config: &TopicConfig,
        now: Timestamp,
    ) -> Result<(), CompactError> {
        let Some(first) = segments.first().map(|(segment, _)| segment.base()) else { return Ok(()) };
        let aborted = read(&self.aborted).entries().to_vec();
        let holds = Holds::new(self.shared.options.tombstones.holds(&self.tp));
        let map = self.map_keys(segments, dirt, &aborted)?;
        let reached = segments.partition_point(|(segment, _)| segment.base() < map.end());
        let segments = &segments[..reached];
        // The batch before a producer's last is not needed any more once the last is durable.
        let (producers, end) = {
            let writer = self.writer();
            (writer.producers.last_records(), writer.end)
        };
        if self.durable() < end {
            self.mark_dirty();
        }
        if !self.wait_durable(end, SYNC_WAIT) {
            return Err(CompactError::Stopped);
        }
        // Also of what lies before the start: who replays it would not meet the end of one whose marker went first.
        let transactions = Transactions::new(aborted, first);
        let upto = dirt.to;
        let mut cleaner =
            Cleaner { map: &map, transactions, producers: &producers, config, now, upto, holds };
        let pieces: Vec<Piece> = segments.iter().map(piece).collect::<Result<_, _>>()?;
        let before: u64 = pieces.iter().map(|piece| piece.size).sum();
        let mut after = 0;
        for group in compaction::groups(&pieces, config) {
            match group {
                Group::Rewrite(range) => {
                    let cleaned = self.clean_group(&segments[range.clone()], &mut cleaner)?;
                    after += cleaned.size();
                    let old: Vec<Arc<Segment>> =
                        segments[range].iter().map(|(segment, _)| segment.clone()).collect();
                    self.swap(&old, cleaned, cleaner.transactions.take_met(), config)?;
                }
                Group::Leave(at) => {
                    self.pass_over(&segments[at], &mut cleaner)?;
                    after += pieces[at].size;
                }
            }
        }
        *lock(&self.cleaned_upto) = Some(map.end());
        *lock(&self.held_tombstones) = cleaner.holds.held();
        tracing::info!(partition = %self.tp, upto = %map.end(), keys = map.len(), before, after, "compacted");
        Ok(())
    }

    /// The last offset of each key in the dirty part, or in as much of it as fits.
    fn map_keys(
        &self,
        segments: &[Known],
        dirt: Dirt,
        aborted: &[Aborted],
    ) -> Result<OffsetMap, CompactError> {
        let mut map = OffsetMap::new(self.shared.settings().cleaner.map_bytes(), secret());
        let mut transactions = Transactions::new(aborted.to_vec(), dirt.from);
        let dirty = |(_, facts): &&Known| facts.next > dirt.from && facts.base < dirt.to;
        for (segment, facts) in segments.iter().filter(dirty) {
            let file = segment.file()?;
            let position = segment.begin_at(&*file, dirt.from)?;
            let mut inside = self.inside(segment, &*file, position, facts.next);
            while let Some((position, batch)) = inside.next_batch()? {
                self.go_on(&batch)?;
                let read = map_batch(&mut map, &mut transactions, &batch, dirt.from);
                if !read.map_err(|e| damaged(segment, position, e))? {
                    return Ok(map);
                }
            }
            map.passed(facts.next);
        }
        Ok(map)
    }

    /// Before the next batch. A pass takes long: whoever stops the store or deletes the topic does not wait for
    /// its end. And it may have to be slow.
    fn go_on(&self, next: &Batch) -> Result<(), CompactError> {
        self.cleaning.read(next.bytes().len());
        self.pace(next)
    }

    fn pace(&self, next: &Batch) -> Result<(), CompactError> {
        let stopped = || self.shared.stopping.load(Ordering::Relaxed) || self.closed.load(Ordering::Relaxed);
        self.shared.throttle.pass(next.bytes().len(), &stopped);
        if stopped() { Err(CompactError::Stopped) } else { Ok(()) }
    }

    /// Step 1.
    fn clean_group(&self, old: &[Known], cleaner: &mut Cleaner<'_>) -> Result<Cleaned, CompactError> {
        let chunk = self.shared.settings().cleaner.chunk();
        let interval = cleaner.config.index_interval_bytes;
        let mut cleaned =
            Cleaned::create(&self.shared.options.files, &self.dir, old[0].0.base(), interval, chunk)?;
        for (segment, facts) in old {
            let file = segment.file()?;
            let mut inside = self.inside(segment, &*file, 0, facts.next);
            while let Some((position, batch)) = inside.next_batch()? {
                self.go_on(&batch)?;
                match cleaner.clean(&batch).map_err(|e| damaged(segment, position, e))? {
                    Outcome::Keep => self.write_cleaned(&mut cleaned, &batch)?,
                    Outcome::Rewrite(bytes) => {
                        let batch = Batch::parse(bytes).map_err(|e| damaged(segment, position, e))?;
                        self.write_cleaned(&mut cleaned, &batch)?;
                    }
                    Outcome::Drop => {}
                }
            }
        }
        Ok(cleaned)
    }

    /// From a position on; `bound`: the base of the segment behind.
    fn inside<'a>(
        &self,
        segment: &'a Segment,
        file: &'a dyn File,
        position: u64,
        bound: Offset,
    ) -> InPlace<'a> {
        let scan = segment.scan(file, position).in_chunks(self.shared.settings().cleaner.chunk());
        InPlace::new(segment, scan, position, bound)
    }

    fn write_cleaned(&self, cleaned: &mut Cleaned, batch: &Batch) -> Result<(), CompactError> {
        self.pace(batch)?;
        Ok(cleaned.push(batch)?)
    }

    /// A segment that stays as it is: transactions that begin or end in it are followed all the same.
    fn pass_over(&self, known: &Known, cleaner: &mut Cleaner<'_>) -> Result<(), CompactError> {
        let (segment, facts) = known;
        let file = segment.file()?;
        let mut inside = self.inside(segment, &*file, 0, facts.next);
        while let Some((position, batch)) = inside.next_batch()? {
            self.go_on(&batch)?;
            let followed =
                Check::CleanedBatch.verify(&batch).and_then(|()| cleaner.transactions.discards(&batch));
            followed.map_err(|e| damaged(segment, position, e))?;
        }
        cleaner.transactions.take_met();
        tracing::warn!(
            partition = %self.tp, segment = %segment.path(Part::Log).display(),
            "a damaged segment is not compacted; those before and behind it are"
        );
        Ok(())
    }
}

/// Those that will not change any more, and one behind them. Until the flusher has saved a sealed segment, it
/// counts as the active one.
fn settled(segments: &[Known]) -> &[Known] {
    let sealed = segments.iter().take_while(|(segment, _)| !segment.is_live()).count();
    &segments[..segments.len().min(sealed + 1)]
}

/// False if the map has no room for all of it.
fn map_batch(
    map: &mut OffsetMap,
    transactions: &mut Transactions,
    batch: &Batch,
    from: Offset,
) -> Result<bool, BatchError> {
    // A rotten key would hide a record that is whole.
    Check::CleanedBatch.verify(batch)?;
    let discarded = transactions.discards(batch)?;
    if discarded || batch.header().is_control() {
        map.passed(batch.header().next_offset());
        return Ok(true);
    }
    map.read(batch, from)
}

fn piece((segment, facts): &Known) -> Result<Piece, FileError> {
    let (index_bytes, time_index_bytes) = segment.index_lengths()?;
    Ok(Piece {
        base: facts.base,
        next: facts.next,
        size: facts.size,
        index_bytes,
        time_index_bytes,
        damaged: !segment.damage().is_empty(),
    })
}

/// What keys are hashed under, another one for each pass.
fn secret() -> u128 {
    uuid::Uuid::new_v4().as_u128()
}

fn damaged(segment: &Segment, position: u64, source: BatchError) -> CompactError {
    CompactError::Batch { path: segment.path(Part::Log), position, source }
}
