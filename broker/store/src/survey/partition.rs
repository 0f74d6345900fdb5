//! One partition's folder, from its first batch to its last.
//!
//! What a segment's name says is believed before what is in it: batches that lie before it or behind the next
//! one's are not served. Of two segments that have the same offsets the one that has more stays.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_log::cleaner::Aborted;
use flumen_log::epochs::LeaderEpochs;
use flumen_log::producers::ProducerStates;
use flumen_records::{Batch, BatchHeader};
use flumen_types::{Offset, TopicPartition};

use crate::error::FileError;
use crate::files::durable_file;
use crate::files::open_files::OpenFiles;
use crate::partition::aborted::{self, AbortedIndex};
use crate::partition::folder::{self, snapshot_path};
use crate::segment::damage::{Damage, Damaged};
use crate::segment::misplaced::Found;
use crate::segment::scan::ScanError;
use crate::segment::{Part, Segment, breakage};
use crate::survey::indexes::Cursor;
use crate::survey::{Finding, Question, Remedy, SegmentRange, Surveyed};

/// What is known of a partition beside its folder.
pub(super) struct Facts {
    pub(super) tp: TopicPartition,
    pub(super) compacted: bool,
    pub(super) recovery_point: Option<Offset>,
    /// The last stop wrote everything.
    pub(super) clean: bool,
    /// A broker may be at its end.
    pub(super) in_use: bool,
}

pub(super) struct Walk<'a, 'b> {
    pub(super) facts: &'a Facts,
    pub(super) question: &'a mut Question<'b>,
    pub(super) surveyed: &'a mut Surveyed,
    pub(super) dir: Arc<Path>,
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) end: Offset,
    pub(super) producers: ProducerStates,
    pub(super) aborted: Vec<Aborted>,
    pub(super) snapshots: Vec<Offset>,
    /// What leader epochs the batches have, and what their file says.
    pub(super) epochs: LeaderEpochs,
    pub(super) said_epochs: Option<LeaderEpochs>,
    pub(super) epochs_differ: bool,
    /// Something was lost so far: what is told of producers cannot be compared.
    pub(super) lossy: bool,
    pub(super) holes: Vec<Range<Offset>>,
}

/// Looks through a folder.
pub(super) fn walk(
    facts: &Facts,
    dir: &Path,
    question: &mut Question<'_>,
    surveyed: &mut Surveyed,
) -> Result<(), FileError> {
    let open_files = OpenFiles::new(question.files.clone(), 8);
    let dir: Arc<Path> = dir.into();
    let listed = folder::segments(&*question.files, &dir)?;
    let segments: Vec<_> =
        listed.iter().map(|(base, size)| Segment::existing(&dir, *base, *size, &open_files)).collect();
    let snapshots = folder::snapshots(&*question.files, &dir)?;
    let mut walk = Walk {
        facts,
        question,
        surveyed,
        dir,
        end: segments.first().map_or(Offset::ZERO, |first| first.base()),
        segments,
        producers: ProducerStates::default(),
        aborted: Vec::new(),
        snapshots,
        epochs: LeaderEpochs::default(),
        said_epochs: None,
        epochs_differ: false,
        lossy: false,
        holes: Vec::new(),
    };
    walk.load_epochs()?;
    walk.put_strangers_aside()?;
    let mut at = 0;
    while let Some(segment) = walk.segments.get(at).cloned() {
        match walk.segment(&segment) {
            // Retention or the cleaner has taken it meanwhile.
            Err(error) if facts.in_use && error.source.kind() == std::io::ErrorKind::NotFound => {
                walk.lossy = true;
            }
            other => other?,
        }
        at += 1;
    }
    walk.finish()
}

impl Walk<'_, '_> {
    pub(super) fn tell(
        &mut self,
        path: PathBuf,
        position: Option<u64>,
        what: impl Into<String>,
        remedy: Remedy,
    ) {
        self.tell_lost(path, position, what, None, remedy);
    }

    fn tell_lost(
        &mut self,
        path: PathBuf,
        position: Option<u64>,
        what: impl Into<String>,
        lost: Option<Range<Offset>>,
        remedy: Remedy,
    ) {
        if let Some(lost) = &lost {
            self.lossy = true;
            self.holes.push(lost.clone());
        }
        let lost = lost.filter(|lost| !lost.is_empty());
        (self.question.found)(Finding { path, position, what: what.into(), lost, remedy });
    }

    fn next_of(&self, segment: &Segment) -> Option<Offset> {
        self.segments.iter().map(|other| other.base()).find(|base| *base > segment.base())
    }

    fn is_last(&self, segment: &Segment) -> bool {
        self.next_of(segment).is_none()
    }

    /// Segments that do not begin where their names say.
    fn put_strangers_aside(&mut self) -> Result<(), FileError> {
        for segment in self.segments.clone() {
            let header = match segment.first_header() {
                Err(error) if self.facts.in_use && error.source.kind() == std::io::ErrorKind::NotFound => {
                    continue;
                }
                other => other?,
            };
            let Some(header) = header else { continue };
            let next = self.next_of(&segment);
            let fits = header.base_offset >= segment.base()
                && next.is_none_or(|next| header.base_offset < next)
                && header.base_offset.since(segment.base()) <= i64::from(i32::MAX);
            // It alone has rotted, and what is behind it belongs here.
            let fits = fits || {
                let file = segment.file()?;
                let found = Found { file: &*file, position: 0, header: &header, behind: &[] };
                self.is_misplaced(&segment, &found)?
            };
            // An emptied one keeps its name, and what is in the next may begin later.
            if !fits {
                let what =
                    format!("it begins with offset {}, which does not fit its name", header.base_offset);
                let (path, parts) = (segment.path(Part::Log), self.parts(&segment));
                self.tell(path, Some(0), what, Remedy::SetAside(parts));
                self.segments.retain(|other| !Arc::ptr_eq(other, &segment));
                self.lossy = true;
            }
        }
        if let Some(first) = self.segments.first() {
            self.end = first.base();
        }
        Ok(())
    }

    /// Its files that are there.
    fn parts(&self, segment: &Segment) -> Vec<PathBuf> {
        let all = Part::LOG_LAST.into_iter().rev().map(|part| segment.path(part));
        all.filter(|path| self.question.files.exists(path)).collect()
    }

    fn segment(&mut self, segment: &Arc<Segment>) -> Result<(), FileError> {
        self.surveyed.segments += 1;
        self.load_damage(segment)?;
        let base = segment.base();
        if base > self.end && !self.facts.compacted {
            let what = format!("offsets {} to {} are missing before it", self.end, base.plus(-1));
            self.tell_lost(segment.path(Part::Log), None, what, Some(self.end..base), Remedy::None);
        }
        self.end = self.end.max(base);
        let mut cursor = Cursor::open(&*self.question.files, &self.dir, base, segment.damage())?;
        let first_aborted = self.aborted.len();
        self.batches(segment, &mut cursor)?;
        // Beside a broker its indexes may be yet to come; another may have been compacted while it was read.
        if self.is_being_written(segment) || self.has_changed(segment) {
            return Ok(());
        }
        let sealed = !self.is_last(segment) || self.facts.clean;
        let wrong = cursor.finish(segment.size(), sealed, &self.aborted[first_aborted..]);
        self.tell_indexes(segment, wrong);
        Ok(())
    }

    /// A broker that is running saves what is beside a segment some time after it has gone on to the next, and
    /// has done so before its recovery point is behind it.
    fn is_being_written(&self, segment: &Segment) -> bool {
        self.facts.in_use && self.next_of(segment).is_none_or(|next| !self.is_saved(next))
    }

    /// Whether all that is beside the records before an offset is on the disk for good.
    pub(super) fn is_saved(&self, upto: Offset) -> bool {
        !self.facts.in_use || self.facts.recovery_point.is_some_and(|point| upto <= point)
    }

    fn has_changed(&self, segment: &Segment) -> bool {
        let now = self.question.files.stat(&segment.path(Part::Log));
        self.facts.in_use && now.map_or(true, |now| now.length != segment.size())
    }

    fn load_damage(&mut self, segment: &Segment) -> Result<(), FileError> {
        let path = segment.path(Part::Quarantine);
        let Some(content) = durable_file::read(&*self.question.files, &path)? else { return Ok(()) };
        if Damage::from_text(&String::from_utf8_lossy(&content)).is_none() {
            let what = "the list of damaged ranges cannot be read, so that they are found anew";
            self.tell(path.clone(), None, what, Remedy::SetAside(vec![path]));
            return Ok(());
        }
        segment.load_damage()?;
        for Damaged { position, upto, first, next } in segment.damage().ranges().to_vec() {
            let what = format!("bytes {position} to {upto} are quarantined");
            self.tell_lost(segment.path(Part::Log), Some(position), what, Some(first..next), Remedy::Known);
        }
        Ok(())
    }

    fn batches(&mut self, segment: &Arc<Segment>, cursor: &mut Cursor) -> Result<(), FileError> {
        let file = segment.file()?;
        let mut scan = segment.scan(&*file, 0);
        loop {
            let at = match scan.next_batch() {
                Ok(Some((position, batch))) => {
                    let misplaced = self.is_misplaced(segment, &scan.found(position, batch.header()))?;
                    if !misplaced && self.follows(segment, batch.header()) && batch.verify_crc().is_ok() {
                        cursor.pass(position, &batch);
                        self.take(segment, position, &batch);
                        continue;
                    }
                    if !misplaced && self.is_doubled(segment, position, &batch)? {
                        continue;
                    }
                    position
                }
                Ok(None) => break,
                Err(ScanError::Broken { position, .. }) => position,
                Err(ScanError::Io { source, .. }) => return Err(segment.unreadable(source)),
            };
            if self.is_being_written(segment) && self.is_last(segment) {
                // The rest of an append, or of what is behind by now.
                break;
            }
            let Some(range) = self.judge(segment, at)? else { break };
            cursor.damaged(segment.damage().with(range));
            scan.skip_to(range.upto);
            self.end = self.end.max(range.next);
        }
        self.end = segment.damage().next_offset_at(segment.size()).unwrap_or(self.end).max(self.end);
        Ok(())
    }

    fn is_misplaced(&self, segment: &Segment, found: &Found<'_>) -> Result<bool, FileError> {
        let end = self.end.max(segment.base());
        let stopped_at = self.facts.recovery_point.filter(|_| self.facts.clean);
        let bound = self.next_of(segment).or(stopped_at);
        let misplaced = segment.is_misplaced(found, end, bound);
        misplaced.map_err(|source| segment.unreadable(source))
    }

    fn follows(&self, segment: &Segment, header: &BatchHeader) -> bool {
        let within = self.next_of(segment).is_none_or(|next| header.last_offset() < next);
        header.base_offset >= self.end
            && within
            && header.last_offset().since(segment.base()) <= i64::from(i32::MAX)
    }

    /// A whole batch whose offsets the next segment has too. Whichever reaches less far goes.
    fn is_doubled(
        &mut self,
        segment: &Arc<Segment>,
        position: u64,
        batch: &Batch,
    ) -> Result<bool, FileError> {
        let header = batch.header();
        let Some(at) = self.segments.iter().position(|other| other.base() > segment.base()) else {
            return Ok(false);
        };
        let next = self.segments[at].clone();
        if batch.verify_crc().is_err() || header.base_offset < self.end || header.last_offset() < next.base()
        {
            return Ok(false);
        }
        let (here, there) = (end_of(segment)?, end_of(&next)?);
        if there <= here {
            let what = format!("its offsets, up to {}, are in the segment before it too", there.plus(-1));
            let parts = self.parts(&next);
            self.tell(next.path(Part::Log), None, what, Remedy::SetAside(parts));
            self.segments.remove(at);
            self.lossy = true;
            // It is looked at anew, and fits now or meets the next one.
            if self.follows(segment, header) {
                self.take(segment, position, batch);
                return Ok(true);
            }
            return self.is_doubled(segment, position, batch);
        }
        Ok(false)
    }

    /// A broken place: told, and the range that readers must not see; `None` if the log ends there.
    fn judge(&mut self, segment: &Arc<Segment>, at: u64) -> Result<Option<Damaged>, FileError> {
        let (file, size) = (segment.file()?, segment.size());
        let read = |source| segment.unreadable(source);
        let path = segment.path(Part::Log);
        if let Some(format) = breakage::old_format_at(&*file, at, size).map_err(read)? {
            let what =
                format!("a message of format {format}, which is not read here, and what lies behind it");
            self.tell_lost(path, Some(at), what, None, Remedy::None);
            return Ok(None);
        }
        let synced = self.facts.clean || self.facts.recovery_point.is_some_and(|point| self.end < point);
        let next_base = self.next_of(segment);
        let follows = |header: &BatchHeader| self.follows(segment, header);
        let found = breakage::examine(&*file, at, size, &follows, synced).map_err(read)?;
        let point = self.facts.recovery_point.filter(|point| *point > self.end);
        let next = match &found.next {
            Some(header) if synced || next_base.is_some() || !found.unwritten => Some(header.base_offset),
            _ => next_base.or(point),
        };
        let Some(next) = next else {
            let what = format!("the last {} bytes are no whole batch: the rest of a write", size - at);
            self.tell(path.clone(), Some(at), what, Remedy::CutTail { segment: path, at });
            return Ok(None);
        };
        let range = Damaged { position: at, upto: found.upto, first: self.end.min(next), next };
        let what = format!("bytes {at} to {} are not whole batches of this segment", range.upto);
        let remedy = Remedy::Quarantine(SegmentRange { segment: path.clone(), range });
        self.tell_lost(path, Some(at), what, Some(range.first..next), remedy);
        Ok(Some(range))
    }

    /// A batch that is whole and where it belongs.
    fn take(&mut self, segment: &Segment, position: u64, batch: &Batch) {
        let header = batch.header();
        self.compare_snapshots(header.base_offset);
        self.surveyed.batches += 1;
        (self.question.read)(batch.bytes().len() as u64);
        let records = batch.records(self.question.batch_bytes_max);
        match records
            .and_then(|records| records.iter().try_fold(0, |count, record| record.map(|_| count + 1)))
        {
            Ok(count) => self.surveyed.records += count,
            Err(error) => {
                // Its CRC is right: it was written so.
                let path = segment.path(Part::Log);
                self.tell(path, Some(position), format!("records cannot be read: {error}"), Remedy::None);
            }
        }
        if self.said_epochs.as_ref().is_some_and(|said| {
            header.leader_epoch.0 >= 0 && said.at(header.base_offset) != Some(header.leader_epoch)
        }) {
            self.epochs_differ = true;
        }
        self.epochs.note(header.leader_epoch, header.base_offset);
        if let Ok(Some(ended)) = self.producers.replay(batch)
            && ended.aborted
        {
            self.aborted.push(aborted::entry(&ended, &self.producers));
        }
        self.end = header.next_offset();
    }

    fn tell_indexes(&mut self, segment: &Segment, wrong: super::indexes::Wrong) {
        let log = segment.path(Part::Log);
        for (path, what) in wrong.index {
            self.tell(path, None, what, Remedy::RebuildIndex { segment: log.clone() });
        }
        if let Some((path, what)) = wrong.transactions {
            // What was compacted away is in the file only: it cannot be made from the log.
            let content =
                AbortedIndex::new(self.aborted.clone()).encode(segment.base(), self.next_of(segment));
            let remedy = if self.facts.compacted {
                Remedy::None
            } else {
                Remedy::Write { path: path.clone(), content }
            };
            self.tell(path, None, what, remedy);
        }
    }

    fn finish(mut self) -> Result<(), FileError> {
        let end = self.end;
        self.compare_snapshots(end);
        if !self.facts.in_use {
            for offset in std::mem::take(&mut self.snapshots) {
                let path = snapshot_path(&self.dir, offset);
                let what = format!("it is of offset {offset}, behind the end of the log, {end}");
                self.tell(path.clone(), None, what, Remedy::SetAside(vec![path]));
            }
            self.check_end();
        }
        self.check_epochs();
        self.tell_open_transactions();
        Ok(())
    }

    fn check_end(&mut self) {
        let Some(point) = self.facts.recovery_point else { return };
        let log = self.segments.last().map_or_else(|| self.dir.to_path_buf(), |last| last.path(Part::Log));
        if self.end < point {
            let what = format!("the log ends at {}; records up to {} were durable", self.end, point.plus(-1));
            self.tell_lost(log, None, what, Some(self.end..point), Remedy::None);
        } else if self.facts.clean && self.end > point {
            let what = format!(
                "the log ends at {}, at the last clean stop it ended at {point}: was a file put here since?",
                self.end
            );
            self.tell(log, None, what, Remedy::None);
        }
    }
}

/// The offset behind the last batch that is whole.
fn end_of(segment: &Segment) -> Result<Offset, FileError> {
    let file = segment.file()?;
    let mut scan = segment.scan(&*file, 0);
    let mut end = segment.base();
    while let Ok(Some((_, batch))) = scan.next_batch() {
        if batch.verify_crc().is_ok() {
            end = end.max(batch.header().next_offset());
        }
    }
    Ok(end)
}
