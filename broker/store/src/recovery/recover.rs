//! Recovery of a partition after a crash: what no sync is known to have covered is read again.
//!
//! From the last entry of the index below the recovery point on, every batch's CRC and place in the order of
//! offsets is checked, as the disk has it and not the page cache. On the way the indexes, the aborted transactions and, from the newest snapshot
//! on, the state of the producers are rebuilt. Where a batch fails, it depends on what it is:
//!
//! - A torn write: nobody was told of it, so the log ends there. What is cut off is set aside
//!   (`set_aside.rs`), segments behind it too.
//! - Rot: it lies below the recovery point, or what follows was clearly written later (`segment::breakage`).
//!   It may have been acknowledged, and what follows even more so: the range is quarantined
//!   (`segment::damage`), the log goes on behind it.
//! - An old message format: the open is refused.
//!
//! Invariants: no offset below the recovery point is given to another record, and no byte that was
//! ever in a log is unlinked. A recovery that is cut short leaves the next one what this one went by.

use std::io;
use std::sync::Arc;

use flumen_records::{Batch, BatchHeader, Check};
use flumen_types::Offset;

use crate::error::FileError;
use crate::files::durable_file;
use crate::files::file_system::Advice;
use crate::files::site::Site;
use crate::partition::Sealed;
use crate::partition::aborted::AbortedIndex;
use crate::partition::folder::snapshot_path;
use crate::partition::known::Known;
use crate::recovery::load::Loader;
use crate::recovery::set_aside;
use crate::segment::breakage;
use crate::segment::damage::Damaged;
use crate::segment::index::SegmentIndex;
use crate::segment::misplaced::Found;
use crate::segment::scan::ScanError;
use crate::segment::{Part, Segment};

impl Loader<'_> {
    /// Reads again what no sync is known to have covered.
    pub(crate) fn recover(&mut self, known: &Known) -> Result<(), FileError> {
        let point = known.recovery_point.unwrap_or(Offset::ZERO);
        // Strictly: a point right at a base may be older than the indexes of the segment before it.
        let trusted = self.segments.iter().skip(1).take_while(|next| next.base() < point).count();
        // If what is beside one of them is not right, all are read again.
        let trusted = if self.load_trusted(trusted)? { trusted } else { 0 };
        let point = self.credible(point);
        let mut resume = self.resume(&self.segments[trusted], point)?;
        let (from, upto) = match &resume {
            Some(resume) => (resume.first, point),
            None => (self.segments[trusted].base(), self.segments[trusted].base()),
        };
        self.taken = self.load_snapshot(upto)?;
        if let Some(resume) = &resume {
            self.shared.options.progress.spare(resume.position);
            // Checked before. Behind that the scan finds them.
            self.aborted.load_below(&resume.aborted, from.max(self.taken));
        }
        if self.taken < from {
            self.replay(self.taken, from)?;
            self.taken = from;
        }
        self.end = from;
        for segment in &self.segments[trusted..] {
            self.distrust_cache(segment, known.sync)?;
        }
        // Where the log ended when it was stopped.
        let stopped_at = Some(point).filter(|_| known.clean);
        let mut whole = trusted;
        let suspects = self.segments[trusted..].to_vec();
        for segment in &suspects {
            let fits = segment.base() >= self.end && !self.is_torn_off(known, segment, point);
            if resume.is_none() && !fits {
                break;
            }
            if whole > trusted {
                self.snapshots.insert(segment.base(), self.producers.snapshot());
            }
            whole += 1;
            if !self.recover_segment(segment, point, stopped_at, resume.take())? {
                break;
            }
        }
        self.set_aside_from(whole)?;
        self.miss(known, point);
        self.point = Some(point);
        self.save_recovered(trusted, known.sync)
    }

    /// The aborted transactions of the first segments; false if they cannot be right.
    fn load_trusted(&mut self, count: usize) -> Result<bool, FileError> {
        self.aborted = AbortedIndex::default();
        let from = self.segments[count].base();
        for base in self.folder.aborted.clone().into_iter().filter(|base| *base < from) {
            if !self.load_aborted(base)? {
                self.aborted = AbortedIndex::default();
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Where in a segment the part begins that is not trusted; `None` if nothing in it can be.
    fn resume(&self, segment: &Arc<Segment>, point: Offset) -> Result<Option<Resume>, FileError> {
        let Some((index, position, header)) = segment.index_below(point)? else { return Ok(None) };
        let aborted =
            durable_file::read(self.shared.files(), &segment.path(Part::TxnIndex))?.unwrap_or_default();
        let right = AbortedIndex::default().load(&aborted);
        Ok(right.then_some(Resume { index, position, first: header.base_offset, aborted }))
    }

    /// Has the segment's bytes come from the disk when they are read: after a sync that failed, pages
    /// can be in the page cache, clean, that never reached it. The others are written first; the caller
    /// has synced them all if this is not to.
    fn distrust_cache(&self, segment: &Segment, sync: bool) -> Result<(), FileError> {
        let file = segment.file()?;
        if sync {
            durable_file::sync(&*file, &segment.path(Part::Log), Site::Distrusted)?;
        }
        file.advise(0, None, Advice::DontNeed);
        Ok(())
    }

    /// A point that the last segment cannot reach is no truth about this log.
    fn credible(&self, point: Offset) -> Offset {
        let reach = self.last().base().plus(i64::from(i32::MAX));
        if point <= reach { point } else { Offset::ZERO }
    }

    /// What was durable and is not there: its offsets are not given to others.
    fn miss(&mut self, known: &Known, point: Offset) {
        if self.end < point {
            tracing::error!(
                partition = %known.tp, from = %self.end, upto = %point,
                "records that were durable are missing at the end of the log; their offsets stay empty"
            );
            self.missing = Some(self.end..point);
            self.end = point;
        }
    }

    /// Whether what lies between the end so far and this segment was appended and never reached the disk,
    /// though the segment's name did. Nobody was told of it, nor of what is behind it. Below the point, and
    /// where compaction leaves gaps, a gap is no sign of that.
    fn is_torn_off(&self, known: &Known, segment: &Arc<Segment>, point: Offset) -> bool {
        let compacted = known.config.cleanup_policy.compact || known.cleaned_upto.is_some();
        let first = Arc::ptr_eq(segment, &self.segments[0]);
        !compacted && !first && self.end >= point && segment.base() > self.end
    }

    fn set_aside_from(&mut self, whole: usize) -> Result<(), FileError> {
        for segment in self.segments.drain(whole..) {
            if segment.size() == 0 {
                set_aside::remove_empty(&segment)?;
                continue;
            }
            let to = set_aside::whole(&segment)?;
            tracing::error!(file = %to.display(), "set aside a segment behind a torn one");
        }
        Ok(())
    }

    /// Indexes and aborted transactions of what was read.
    fn save_recovered(&mut self, trusted: usize, sync: bool) -> Result<(), FileError> {
        for segment in &self.segments.clone()[trusted..] {
            if !Arc::ptr_eq(segment, self.last()) {
                self.save_sealed(segment)?;
            }
            if sync {
                let path = segment.path(Part::Log);
                durable_file::sync(&*segment.file()?, &path, Site::RecoveredRecords)?;
            }
        }
        if sync {
            durable_file::sync_dir(self.shared.files(), self.dir, Site::RecoveredNames)
        } else {
            Ok(())
        }
    }

    /// What a sealed segment has beside its records; the producers too, for when it is dropped.
    fn save_sealed(&mut self, segment: &Arc<Segment>) -> Result<(), FileError> {
        segment.seal()?;
        let end = self.next_base(segment).unwrap_or(self.end);
        let snapshot = self.snapshots.remove(&end);
        let saved = self.save_aborted(segment).and_then(|()| {
            if let Some(snapshot) = &snapshot {
                let path = snapshot_path(self.dir, end);
                durable_file::exchange(self.shared.files(), &path, snapshot, Site::RecoveredSnapshot)?;
            }
            segment.save_index(Site::RecoveredIndex)
        });
        match saved {
            // A full disk can be read: the next sync tries again.
            Err(error) if error.is_full() => {
                self.unsaved.push(Sealed { segment: segment.clone(), end, snapshot });
                Ok(())
            }
            other => other,
        }
    }

    fn save_aborted(&self, segment: &Segment) -> Result<(), FileError> {
        let content = self.aborted.encode(segment.base(), self.next_base(segment));
        let path = segment.path(Part::TxnIndex);
        if content.is_empty() {
            return durable_file::remove(self.shared.files(), &path).map(|_| ());
        }
        durable_file::exchange(self.shared.files(), &path, &content, Site::RecoveredAborted)
    }

    /// Checks every batch that is not trusted, rebuilds the index of those; false if the log ends in this
    /// segment.
    fn recover_segment(
        &mut self,
        segment: &Arc<Segment>,
        point: Offset,
        stopped_at: Option<Offset>,
        resume: Option<Resume>,
    ) -> Result<bool, FileError> {
        let file = segment.file()?;
        let resume = resume.map(|resume| (resume.index, resume.position, resume.first));
        let (mut index, from, first) =
            resume.unwrap_or_else(|| (SegmentIndex::new(segment.base()), 0, segment.base()));
        let mut scan = segment.scan(&*file, from);
        self.end = self.end.max(first);
        let torn_at = loop {
            let at = match scan.next_batch() {
                Ok(Some((position, batch)))
                    if is_whole(&batch)
                        && self.belongs(segment, &scan.found(position, batch.header()), stopped_at)? =>
                {
                    if batch.header().base_offset >= self.taken {
                        self.take(&batch, true);
                    }
                    index.note(position, batch.header(), self.index_interval_bytes);
                    self.end = batch.header().next_offset();
                    self.shared.options.progress.read(batch.bytes().len() as u64);
                    continue;
                }
                Ok(None) => break None,
                Ok(Some((position, _))) | Err(ScanError::Broken { position, .. }) => position,
                Err(ScanError::Io { source, .. }) => return Err(segment.unreadable(source)),
            };
            let Some(range) = self.judge(segment, at, point)? else { break Some(at) };
            segment.quarantine(range)?;
            scan.skip_to(range.upto);
            self.end = range.next;
        };
        self.end = segment.damage().next_offset_at(segment.size()).unwrap_or(self.end).max(self.end);
        segment.go_live(index);
        if let Some(at) = torn_at {
            cut(segment, at)?;
        }
        Ok(torn_at.is_none())
    }

    /// What of a broken place is rotten; `None` if it is a torn write.
    fn judge(&self, segment: &Segment, at: u64, point: Offset) -> Result<Option<Damaged>, FileError> {
        let (file, size) = (segment.file()?, segment.size());
        let synced = self.end < point;
        let read = |source: io::Error| segment.unreadable(source);
        if let Some(format) = breakage::old_format_at(&*file, at, size).map_err(read)? {
            return Err(read(breakage::old_format(format, at)));
        }
        let follows = |header: &BatchHeader| self.follows(segment, header);
        let found = breakage::examine(&*file, at, size, &follows, synced).map_err(read)?;
        let next = match &found.next {
            Some(header) => Some(header.base_offset),
            None => self.next_written(segment)?,
        };
        let next = match next {
            Some(next) if synced || !found.unwritten => Some(next),
            None if synced => Some(point),
            _ => None,
        };
        Ok(next.map(|next| Damaged { position: at, upto: found.upto, first: self.end, next }))
    }

    /// The base of the next segment that something is in.
    fn next_written(&self, segment: &Segment) -> Result<Option<Offset>, FileError> {
        for next in self.segments.iter().filter(|next| next.base() > segment.base()) {
            let whole = breakage::whole_at(&*next.file()?, 0, next.size());
            if whole.map_err(|source| next.unreadable(source))?.is_some() && next.base() >= self.end {
                return Ok(Some(next.base()));
            }
        }
        Ok(None)
    }

    /// Whether a batch that is whole has the offset it was given, as far as what is around it tells.
    fn belongs(
        &self,
        segment: &Segment,
        found: &Found<'_>,
        stopped_at: Option<Offset>,
    ) -> Result<bool, FileError> {
        let bound = self.next_base(segment).or(stopped_at);
        let misplaced = segment.is_misplaced(found, self.end, bound);
        Ok(self.follows(segment, found.header) && !misplaced.map_err(|source| segment.unreadable(source))?)
    }

    /// Offsets ascend, and fit the segment's index.
    fn follows(&self, segment: &Segment, header: &BatchHeader) -> bool {
        header.base_offset >= self.end && header.last_offset().since(segment.base()) <= i64::from(i32::MAX)
    }
}

/// A batch of a segment before which all is trusted.
struct Resume {
    /// Up to it.
    index: SegmentIndex,
    position: u64,
    /// Its first offset.
    first: Offset,
    /// What the segment's `.txnindex` has.
    aborted: Vec<u8>,
}

fn is_whole(batch: &Batch) -> bool {
    Check::RecoveredBatch.verify(batch).is_ok()
}

/// Ends the segment at a byte; what lies behind it is set aside, if there is room for that.
fn cut(segment: &Segment, at: u64) -> Result<(), FileError> {
    let (path, lost) = (segment.path(Part::Log), segment.size() - at);
    match set_aside::tail(segment, at) {
        Ok(Some(to)) => {
            tracing::warn!(segment = %path.display(), at, lost, to = %to.display(), "cutting off a torn tail");
        }
        Ok(None) => {
            tracing::warn!(segment = %path.display(), at, lost, "cutting off a tail that was never written")
        }
        // The broker has to start on a full disk, or nobody can make room.
        Err(error) if error.is_full() => {
            tracing::error!(segment = %path.display(), at, lost, "cutting off a torn tail, with no room to keep it");
        }
        Err(error) => return Err(error),
    }
    segment.clip_damage(at)?;
    segment.cut(at)
}
