//! Brings a partition back from its folder: at once after a clean stop, by recovery after a crash.
//!
//! Here is what both have in common, and the way after a clean stop; `recover.rs` has the other.
//!
//! Invariants: what is in a loaded partition is durable before anybody sees it; where there are many,
//! the store syncs them all at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flumen_log::epochs::LeaderEpochs;
use flumen_log::producers::ProducerStates;
use flumen_records::{Batch, Check};
use flumen_types::{LeaderEpoch, Offset, Timestamp};

use crate::error::FileError;
use crate::files::durable_file;
use crate::files::file_system::FileSystem;
use crate::locks::{lock, read};
use crate::partition::aborted::{self, AbortedIndex};
use crate::partition::folder::{EPOCHS, snapshot_path};
use crate::partition::known::Known;
use crate::partition::published::Published;
use crate::partition::{Partition, Phase, Sealed, Shared, Writer};
use crate::recovery::folder::Folder;
use crate::segment::scan::ScanError;
use crate::segment::{Part, Segment};

/// Opens the folder of a partition, which is there.
pub(crate) fn load(shared: &Arc<Shared>, known: Known) -> Result<Arc<Partition>, FileError> {
    let dir: Arc<Path> = shared.options.dir.join(known.tp.to_string()).into();
    let folder = Folder::open(shared.files(), &dir)?;
    shared.reaper.doom(folder.doomed.iter().cloned(), Duration::ZERO);
    let mut loader = Loader::new(shared, &dir, folder, &known)?;
    if !(known.clean && loader.load_clean(&known)?) {
        loader.recover(&known)?;
    }
    loader.finish(known)
}

pub(crate) struct Loader<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) dir: &'a Arc<Path>,
    /// Never empty.
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) folder: Folder,
    pub(crate) aborted: AbortedIndex,
    pub(crate) producers: ProducerStates,
    pub(crate) end: Offset,
    /// Below: the producers know of it.
    pub(crate) taken: Offset,
    pub(crate) unsaved: Vec<Sealed>,
    /// How far a recovery after this one need not look.
    pub(crate) point: Option<Offset>,
    /// What a recovery knew of the producers at the base of each segment that it has read.
    pub(crate) snapshots: BTreeMap<Offset, Vec<u8>>,
    /// What was durable and is not there.
    pub(crate) missing: Option<Range<Offset>>,
    pub(crate) index_interval_bytes: u64,
}

impl<'a> Loader<'a> {
    fn new(
        shared: &'a Arc<Shared>,
        dir: &'a Arc<Path>,
        folder: Folder,
        known: &Known,
    ) -> Result<Self, FileError> {
        let start = known.start.unwrap_or(Offset::ZERO);
        let existing =
            |(base, size): &(Offset, u64)| Segment::existing(dir, *base, *size, &shared.open_files);
        let mut segments: Vec<Arc<Segment>> = folder.segments.iter().map(existing).collect();
        for segment in segments.iter().filter(|segment| folder.quarantined.contains(&segment.base())) {
            segment.load_damage()?;
        }
        if segments.is_empty() {
            segments.push(Segment::create(dir, start, &shared.open_files)?);
        }
        Ok(Loader {
            shared,
            dir,
            segments,
            folder,
            aborted: AbortedIndex::default(),
            producers: ProducerStates::default(),
            end: start,
            taken: Offset::ZERO,
            unsaved: Vec::new(),
            point: None,
            snapshots: BTreeMap::new(),
            missing: None,
            index_interval_bytes: known.config.index_interval_bytes,
        })
    }

    pub(crate) fn last(&self) -> &Arc<Segment> {
        // `new` made one if there was none, and recovery keeps the first it looks at.
        &self.segments[self.segments.len() - 1]
    }

    /// Everything was written at the stop: only the end is looked at. False if it is not as it
    /// should be, and a recovery has to tell what is.
    fn load_clean(&mut self, known: &Known) -> Result<bool, FileError> {
        let last = self.last().clone();
        let mut index = read(&*last.index()?).clone();
        let file = last.file()?;
        let mut scan = last.scan(&*file, index.last_position());
        self.end = last.base();
        loop {
            match scan.next_batch() {
                Ok(Some((_, batch)))
                    if Check::LastBatch.verify(&batch).is_ok() && batch.header().base_offset >= self.end =>
                {
                    self.end = batch.header().next_offset()
                }
                Ok(None) => break,
                // A header that has rotted would have the log end where it does not.
                Ok(Some(_)) | Err(ScanError::Broken { .. }) => return Ok(false),
                Err(ScanError::Io { source, .. }) => return Err(last.unreadable(source)),
            }
        }
        self.end = last.damage().next_offset_at(last.size()).unwrap_or(self.end).max(self.end);
        match known.recovery_point {
            Some(point) if point > self.end => return Ok(false),
            Some(point) if point < self.end => {
                tracing::error!(
                    partition = %known.tp, at_the_stop = %point, now = %self.end,
                    "the log is longer than at its clean stop: was a file put there since? all behind it is read again"
                );
                return Ok(false);
            }
            _ => {}
        }
        index.reopen(last.size());
        last.go_live(index);
        for base in self.folder.aborted.clone() {
            if !self.load_aborted(base)? {
                return Ok(false);
            }
        }
        let from = self.load_snapshot(self.end)?;
        self.replay(from, self.end)?;
        self.point = Some(self.end);
        Ok(true)
    }

    /// Brings what is known of the producers up to a batch.
    pub(crate) fn take(&mut self, batch: &Batch, note_aborted: bool) {
        let header = batch.header();
        if !header.is_control() {
            self.producers.apply(header);
            return;
        }
        let control = match batch.control() {
            Ok(control) => control,
            Err(error) => {
                // Its CRC is right: somebody wrote it so, and nobody will make more of it.
                tracing::warn!(dir = %self.dir.display(), offset = %header.base_offset, %error, "passing over a marker that cannot be understood");
                return;
            }
        };
        if let Some(ended) = self.producers.apply_marker(header, control)
            && ended.aborted
            && note_aborted
        {
            self.aborted.push(aborted::entry(&ended, &self.producers));
        }
    }

    /// The newest snapshot at or before an offset that can be read; from where to replay.
    pub(crate) fn load_snapshot(&mut self, upto: Offset) -> Result<Offset, FileError> {
        // One from before the first segment knows nothing of the records between, which are gone.
        let first = self.segments[0].base();
        let (usable, later): (Vec<Offset>, Vec<Offset>) = self
            .folder
            .snapshots
            .iter()
            .filter(|offset| **offset >= first)
            .partition(|offset| **offset <= upto);
        for offset in usable.into_iter().rev() {
            if let Some(producers) = self.read_snapshot(offset)? {
                self.producers = producers;
                return Ok(offset);
            }
        }
        // Compaction has taken that of the first segment. Whose records retention has dropped is not in the
        // log any more, but in what was known later.
        let mut known = ProducerStates::default();
        for offset in later.into_iter().rev().filter(|_| first > Offset::ZERO) {
            if let Some(earlier) = self.read_snapshot(offset)? {
                known.recall(earlier, Offset(i64::MAX));
            }
        }
        self.producers = ProducerStates::default();
        self.producers.recall(known, first);
        Ok(first)
    }

    /// `None` if it cannot be right.
    fn read_snapshot(&self, offset: Offset) -> Result<Option<ProducerStates>, FileError> {
        let path = snapshot_path(self.dir, offset);
        let content = durable_file::read(self.shared.files(), &path)?.unwrap_or_default();
        let read = ProducerStates::from_snapshot(&content);
        let skip = |error| tracing::warn!(path = %path.display(), %error, "skipping a producer snapshot");
        Ok(read.map_err(skip).ok())
    }

    /// Brings the producers from one offset to another.
    pub(crate) fn replay(&mut self, from: Offset, to: Offset) -> Result<(), FileError> {
        for segment in self.segments.clone() {
            if segment.base() >= to || self.next_base(&segment).is_some_and(|next| next <= from) {
                continue;
            }
            let file = segment.file()?;
            let position = segment.begin_at(&*file, from)?;
            let mut scan = segment.scan(&*file, position);
            loop {
                match scan.next_batch() {
                    Ok(Some((_, batch))) if batch.header().base_offset >= to => break,
                    Ok(Some((_, batch))) if batch.header().last_offset() < from => {}
                    Ok(Some((_, batch))) => self.take(&batch, false),
                    Ok(None) => break,
                    Err(ScanError::Io { source, .. }) => return Err(segment.unreadable(source)),
                    Err(error @ ScanError::Broken { .. }) => {
                        let path = segment.path(Part::Log);
                        tracing::error!(path = %path.display(), %error, "a segment that was synced is damaged");
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    pub(crate) fn next_base(&self, segment: &Segment) -> Option<Offset> {
        self.segments.iter().map(|other| other.base()).find(|base| *base > segment.base())
    }

    /// Takes in the `.txnindex` of a segment; false if it cannot be right.
    pub(crate) fn load_aborted(&mut self, base: Offset) -> Result<bool, FileError> {
        let content = durable_file::read(self.shared.files(), &Part::TxnIndex.path(self.dir, base, ""))?;
        Ok(self.aborted.load(&content.unwrap_or_default()))
    }

    fn finish(self, mut known: Known) -> Result<Arc<Partition>, FileError> {
        known.recovery_point = self.point;
        // Of a log that was longer it is no truth about this one.
        known.cleaned_upto = known.cleaned_upto.filter(|upto| *upto <= self.end);
        let active = self.last().clone();
        self.drop_stray_snapshots()?;
        let mut epochs = load_epochs(self.shared.files(), self.dir)?;
        if epochs.starts().last().is_some_and(|(_, start)| *start > self.end) {
            epochs.truncate(self.end);
        }
        let epoch = epochs.latest().unwrap_or(LeaderEpoch(0));
        let start = known.start.unwrap_or(Offset::ZERO).max(self.segments[0].base()).min(self.end);
        let published = Published::new(start, self.end, epoch, self.producers.first_unstable());
        let writer = Writer {
            phase: Phase::Open,
            first_timestamp: first_timestamp(&active)?,
            active,
            end: self.end,
            producers: self.producers,
            epochs,
            sealed: self.unsaved,
            // Its first segment was made just now.
            names: self.folder.segments.is_empty(),
        };
        let segments = self.segments.iter().map(|segment| (segment.base(), segment.clone())).collect();
        let dir = self.dir.clone();
        let partition = Partition::new(self.shared, known, dir, writer, segments, self.aborted, published);
        lock(&partition.gaps).extend(self.missing);
        Ok(partition)
    }

    /// A snapshot is kept at a segment's base, and the newest; none behind the end.
    fn drop_stray_snapshots(&self) -> Result<(), FileError> {
        let newest = self.folder.snapshots.iter().filter(|offset| **offset <= self.end).max();
        for offset in &self.folder.snapshots {
            let at_base = self.segments.binary_search_by_key(offset, |segment| segment.base()).is_ok();
            let path = snapshot_path(self.dir, *offset);
            if *offset > self.end {
                durable_file::remove(self.shared.files(), &path)?;
            } else if !at_base && Some(offset) != newest {
                // No other of its name will come: it need not be waited for.
                self.shared.reaper.doom([path], Duration::ZERO);
            }
        }
        Ok(())
    }
}

/// The timestamp of the segment's first batch.
fn first_timestamp(segment: &Segment) -> Result<Option<Timestamp>, FileError> {
    Ok(segment.first_header()?.map(|header| header.max_timestamp))
}

fn load_epochs(files: &dyn FileSystem, dir: &Path) -> Result<LeaderEpochs, FileError> {
    let path = dir.join(EPOCHS);
    let content = durable_file::read(files, &path)?;
    let text = content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match text.map(|text| LeaderEpochs::from_text(&text)).transpose() {
        Ok(epochs) => Ok(epochs.unwrap_or_default()),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "starting over with the leader epochs");
            Ok(LeaderEpochs::default())
        }
    }
}
