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
//! Invariants: offsets never change; nothing at or above the last stable offset, and nothing of the
//! active segment, is touched. A reader that holds an old segment keeps its file open and reads on in
//! it. One pass at a time on a partition (`upkeep`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use flumen_log::cleaner::{Aborted, Cleaner, OffsetMap, Outcome, Transactions};
use flumen_log::compaction::{self, Dirt};
use flumen_log::config::TopicConfig;
use flumen_log::retention::SegmentFacts;
use flumen_records::{Batch, BatchError, BatchHeader};
use flumen_types::{Offset, Timestamp};

use crate::error::{CompactError, FileError, ReadError};
use crate::files::durable_file::{self, sync_dir};
use crate::files::file_system::FileSystem;
use crate::files::site::Site;
use crate::locks::{lock, read, write};
use crate::partition::Partition;
use crate::partition::lookup::broken;
use crate::recovery::folder::SWAP;
use crate::segment::{DELETED, Part, Segment};
use crate::upkeep::cleaned::Cleaned;

type Sealed = (Arc<Segment>, SegmentFacts);

impl Partition {
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
        let mut segments = self.facts()?;
        // Until the flusher has saved a sealed segment, it counts as the active one. So does a damaged
        // one: rewritten without what is lost, it would look whole.
        let movable = |segment: &Segment| !segment.is_live() && segment.damage().is_empty();
        let sealed = segments.iter().take_while(|(segment, _)| movable(segment)).count();
        segments.truncate(sealed + 1);
        let dirt = self.dirt(&segments, &config, now)?;
        self.cleaning.surveyed(&dirt);
        if !dirt.due(&config) {
            return Ok(false);
        }
        segments.truncate(sealed);
        match self.counted_pass(&dirt, || self.pass(&segments, dirt, &config, now)) {
            Err(CompactError::Stopped) => Ok(false),
            Err(error) => {
                self.condemn_compacted(&segments, &error)?;
                Err(error)
            }
            passed => passed.map(|()| true),
        }
    }

    /// A batch that a pass could not read is not met by the next.
    fn condemn_compacted(&self, segments: &[Sealed], error: &CompactError) -> Result<(), FileError> {
        let (CompactError::Batch { path, position, .. }
        | CompactError::Read(ReadError::Corrupt { path, position, .. })) = error
        else {
            return Ok(());
        };
        match segments.iter().find(|(segment, _)| segment.path(Part::Log) == *path) {
            Some((segment, facts)) => {
                self.condemn(segment, *position, segment.base(), Some(facts.next)).map(|_| ())
            }
            None => Ok(()),
        }
    }

    fn dirt(&self, segments: &[Sealed], config: &TopicConfig, now: Timestamp) -> Result<Dirt, CompactError> {
        let marks = self.marks();
        let first_dirty = self.cleaned_upto().unwrap_or(marks.start).max(marks.start);
        let first_time = match self.segment_of(first_dirty) {
            Some((segment, _)) if config.max_compaction_lag.0 < i64::MAX => {
                first_header(&segment, first_dirty)?
            }
            _ => None,
        };
        let facts: Vec<SegmentFacts> = segments.iter().map(|(_, facts)| *facts).collect();
        let first_time = first_time.map(|header| header.max_timestamp);
        Ok(compaction::survey(&facts, first_dirty, first_time, marks.last_stable, config, now))
    }

    fn pass(
        &self,
        segments: &[Sealed],
        dirt: Dirt,
        config: &TopicConfig,
        now: Timestamp,
    ) -> Result<(), CompactError> {
        let aborted = read(&self.aborted).entries().to_vec();
        let map = self.map_keys(segments, dirt, &aborted)?;
        let reached = segments.partition_point(|(segment, _)| segment.base() < map.end());
        let segments = &segments[..reached];
        let producers = self.writer().producers.last_records();
        let transactions = Transactions::new(aborted, Offset::ZERO);
        let mut cleaner = Cleaner { map: &map, transactions, producers: &producers, config, now };
        let facts: Vec<SegmentFacts> = segments.iter().map(|(_, facts)| *facts).collect();
        let before: u64 = facts.iter().map(|facts| facts.size).sum();
        let mut after = 0;
        for group in compaction::groups(&facts, config) {
            let old: Vec<Arc<Segment>> = segments[group].iter().map(|(segment, _)| segment.clone()).collect();
            let cleaned = self.clean_group(&old, &mut cleaner)?;
            after += cleaned.size();
            self.swap(&old, cleaned, cleaner.transactions.take_met(), config)?;
        }
        *lock(&self.cleaned_upto) = Some(map.end());
        tracing::info!(partition = %self.tp, upto = %map.end(), keys = map.len(), before, after, "compacted");
        Ok(())
    }

    /// The last offset of each key in the dirty part, or in as much of it as fits.
    fn map_keys(
        &self,
        segments: &[Sealed],
        dirt: Dirt,
        aborted: &[Aborted],
    ) -> Result<OffsetMap, CompactError> {
        let mut map = OffsetMap::new(self.shared.options.compaction_buffer.as_usize());
        let mut transactions = Transactions::new(aborted.to_vec(), dirt.from);
        for (segment, _) in segments.iter().filter(|(_, facts)| facts.next > dirt.from) {
            let file = segment.file()?;
            let size = segment.size();
            let Some(position) = segment.locate(&*file, size, dirt.from)? else { continue };
            let mut scan = segment.scan(&*file, position);
            while let Some((position, batch)) = scan.next_batch().map_err(|e| broken(segment, e))? {
                self.go_on(&batch)?;
                let header = batch.header();
                if header.base_offset >= dirt.to {
                    return Ok(map);
                }
                let discarded = transactions.discards(&batch).map_err(|e| damaged(segment, position, e))?;
                if discarded || header.is_control() {
                    map.passed(header.next_offset());
                } else if !map.read(&batch).map_err(|e| damaged(segment, position, e))? {
                    return Ok(map);
                }
            }
        }
        Ok(map)
    }

    /// A pass takes long; whoever stops the store or deletes the topic does not wait for its end.
    fn go_on(&self, read: &Batch) -> Result<(), CompactError> {
        self.cleaning.read(read.bytes().len());
        let stopped = self.shared.stopping.load(Ordering::Relaxed) || self.closed.load(Ordering::Relaxed);
        if stopped { Err(CompactError::Stopped) } else { Ok(()) }
    }

    /// Step 1.
    fn clean_group(&self, old: &[Arc<Segment>], cleaner: &mut Cleaner<'_>) -> Result<Cleaned, CompactError> {
        let mut cleaned = Cleaned::create(
            &self.shared.options.files,
            &self.dir,
            old[0].base(),
            cleaner.config.index_interval_bytes,
        )?;
        for segment in old {
            let file = segment.file()?;
            let mut scan = segment.scan(&*file, 0);
            while let Some((position, batch)) = scan.next_batch().map_err(|e| broken(segment, e))? {
                self.go_on(&batch)?;
                match cleaner.clean(&batch).map_err(|e| damaged(segment, position, e))? {
                    Outcome::Keep => cleaned.push(&batch)?,
                    Outcome::Rewrite(bytes) => {
                        let batch = Batch::parse(bytes).map_err(|e| damaged(segment, position, e))?;
                        cleaned.push(&batch)?;
                    }
                    Outcome::Drop => {}
                }
            }
        }
        Ok(cleaned)
    }

    /// Steps 2 to 4, and the list of segments.
    fn swap(
        &self,
        old: &[Arc<Segment>],
        cleaned: Cleaned,
        mut met: Vec<Aborted>,
        config: &TopicConfig,
    ) -> Result<(), CompactError> {
        let base = old[0].base();
        let next =
            self.segments_now().into_iter().map(|s| s.base()).find(|next| *next > old[old.len() - 1].base());
        met.sort_unstable_by_key(|txn| txn.last_offset);
        let swap = cleaned.finish(&met)?;
        for segment in old {
            segment.pin()?;
        }
        let mut renames = Renames { files: self.shared.files(), made: Vec::new() };
        if let Err(error) = self.install(old, base, &mut renames) {
            if renames.undo() {
                old.iter().for_each(|segment| segment.unpin());
            } else {
                // Half-way: the old ones are read on by those who hold them, the next open finishes it.
                swap.keep();
            }
            return Err(error.into());
        }
        let size = swap.size;
        let new = Segment::existing(&self.dir, base, size, &self.shared.open_files);
        new.note_verified(0, size);
        swap.keep();
        {
            let mut segments = write(&self.segments);
            segments.retain(|base, _| !old.iter().any(|segment| segment.base() == *base));
            segments.insert(base, new);
        }
        self.count_replaced(old, size);
        write(&self.aborted).replace(base, next, met);
        sync_dir(self.shared.files(), &self.dir, Site::InstalledNames)?;
        let doomed = renames.made.into_iter().map(|(_, to)| to);
        let doomed = doomed.filter(|path| path.as_os_str().as_encoded_bytes().ends_with(DELETED.as_bytes()));
        self.shared.reaper.doom(doomed, config.file_delete_delay.duration());
        Ok(())
    }

    /// Steps 3 and 4.
    fn install(
        &self,
        old: &[Arc<Segment>],
        base: Offset,
        renames: &mut Renames<'_>,
    ) -> Result<(), FileError> {
        for segment in old {
            for part in Part::LOG_LAST {
                renames.rename(segment.path(part), part.path(&self.dir, segment.base(), DELETED))?;
            }
        }
        for part in Part::LOG_LAST {
            renames.rename(part.path(&self.dir, base, SWAP), part.path(&self.dir, base, ""))?;
        }
        Ok(())
    }
}

/// Renames that are made as one, or taken back.
struct Renames<'a> {
    files: &'a dyn FileSystem,
    made: Vec<(PathBuf, PathBuf)>,
}

impl Renames<'_> {
    /// A file that is not there needs no other name.
    fn rename(&mut self, from: PathBuf, to: PathBuf) -> Result<(), FileError> {
        if durable_file::rename(self.files, &from, &to)? {
            self.made.push((from, to));
        }
        Ok(())
    }

    /// False if that is not possible either.
    fn undo(&mut self) -> bool {
        while let Some((from, to)) = self.made.pop() {
            if let Err(error) = self.files.rename(&to, &from) {
                tracing::error!(file = %to.display(), %error, "a compaction that failed cannot be taken back; the next start carries it through");
                return false;
            }
        }
        true
    }
}

/// That of the batch that holds an offset, or the next behind it.
fn first_header(segment: &Segment, offset: Offset) -> Result<Option<BatchHeader>, CompactError> {
    let file = segment.file()?;
    let mut scan = segment.scan(&*file, segment.begin_at(&*file, offset)?);
    while let Some((_, batch)) = scan.next_batch().map_err(|e| broken(segment, e))? {
        if batch.header().last_offset() >= offset {
            return Ok(Some(batch.header().clone()));
        }
    }
    Ok(None)
}

fn damaged(segment: &Segment, position: u64, source: BatchError) -> CompactError {
    CompactError::Batch { path: segment.path(Part::Log), position, source }
}
