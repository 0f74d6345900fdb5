//! Brings a partition back from its folder: at once after a clean stop, by recovery after a crash.
//!
//! Recovery reads every batch from the segment that holds the recovery point on, checks its CRC and
//! its place in the order of offsets, and cuts the log at the first that fails: what lies behind was
//! never acknowledged. On the way it rebuilds the indexes, the aborted transactions and, from the
//! newest snapshot on, the state of the producers.
//!
//! Invariants: what is in a loaded partition is durable before anybody sees it; where there are many,
//! the store syncs them all at once.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flumen_log::config::TopicConfig;
use flumen_log::epochs::LeaderEpochs;
use flumen_log::producers::ProducerStates;
use flumen_records::{Batch, BatchHeader, HEADER_LEN};
use flumen_types::{LeaderEpoch, Offset, Timestamp, TopicId, TopicPartition};

use crate::aborted::{self, AbortedIndex};
use crate::durable_file;
use crate::error::FileError;
use crate::folder::Folder;
use crate::locks::read;
use crate::partition::{Partition, Phase, Sealed, Shared, Writer};
use crate::partition_folder::EPOCHS;
use crate::published::Published;
use crate::scan::{Scan, ScanError, read_at};
use crate::segment::{Part, Segment};
use crate::segment_index::SegmentIndex;

/// What is known of a partition before its folder is opened.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) tp: TopicPartition,
    pub(crate) topic_id: TopicId,
    pub(crate) config: TopicConfig,
    /// The last stop wrote everything.
    pub(crate) clean: bool,
    /// Everything below was synced; `None`: nothing is known to be.
    pub(crate) recovery_point: Option<Offset>,
    /// Trimmed up to here.
    pub(crate) start: Option<Offset>,
    pub(crate) cleaned_upto: Option<Offset>,
    /// Sync what a recovery finds; else the caller syncs the whole file system.
    pub(crate) sync: bool,
}

impl Known {
    /// A new one.
    pub(crate) fn new(tp: TopicPartition, topic_id: TopicId, config: TopicConfig) -> Known {
        Known {
            tp,
            topic_id,
            config,
            clean: false,
            recovery_point: None,
            start: None,
            cleaned_upto: None,
            sync: false,
        }
    }
}

/// Opens the folder of a partition, which is there.
pub(crate) fn load(shared: &Arc<Shared>, known: Known) -> Result<Arc<Partition>, FileError> {
    let dir: Arc<Path> = shared.options.dir.join(known.tp.to_string()).into();
    let folder = Folder::open(&dir)?;
    shared.reaper.doom(folder.doomed.iter().cloned(), Duration::ZERO);
    let mut loader = Loader::new(shared, &dir, folder, &known)?;
    if !(known.clean && loader.load_clean()?) {
        loader.recover(&known)?;
    }
    loader.finish(known)
}

struct Loader<'a> {
    shared: &'a Arc<Shared>,
    dir: &'a Arc<Path>,
    /// Never empty.
    segments: Vec<Arc<Segment>>,
    folder: Folder,
    aborted: AbortedIndex,
    producers: ProducerStates,
    end: Offset,
    unsaved: Vec<Sealed>,
    index_interval_bytes: u64,
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
            unsaved: Vec::new(),
            index_interval_bytes: known.config.index_interval_bytes,
        })
    }

    fn last(&self) -> &Arc<Segment> {
        // `new` made one if there was none, and recovery keeps the first it looks at.
        &self.segments[self.segments.len() - 1]
    }

    /// Everything was written at the stop: only the end is looked at. False if it is not as it
    /// should be, and a recovery has to tell what is.
    fn load_clean(&mut self) -> Result<bool, FileError> {
        let last = self.last().clone();
        let mut index = read(&*last.index()?).clone();
        let file = last.file()?;
        let mut scan = Scan::new(&file, index.last_position(), last.size());
        self.end = last.base();
        loop {
            match scan.next_batch() {
                Ok(Some((_, batch))) => self.end = batch.header().next_offset(),
                Ok(None) => break,
                Err(ScanError::Broken { .. }) => return Ok(false),
                Err(ScanError::Io { source, .. }) => return Err(unreadable(&last, source)),
            }
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
        Ok(true)
    }

    /// Reads again what no sync is known to have covered, and cuts off what is broken.
    fn recover(&mut self, known: &Known) -> Result<(), FileError> {
        let point = known.recovery_point.unwrap_or(Offset::ZERO);
        // Strictly: a point right at a base may be older than the indexes of the segment before it.
        let trusted = self.segments.iter().skip(1).take_while(|next| next.base() < point).count();
        let from = self.segments[trusted].base();
        self.aborted = AbortedIndex::default();
        for base in self.folder.aborted.clone().into_iter().filter(|base| *base < from) {
            if !self.load_aborted(base)? {
                // One of the trusted is not: so none is.
                return self.recover(&Known { recovery_point: None, ..known.clone() });
            }
        }
        let replay_from = self.load_snapshot(from)?;
        self.replay(replay_from, from)?;
        self.end = from;
        let mut whole = trusted;
        let suspects = self.segments[trusted..].to_vec();
        for segment in &suspects {
            if segment.base() < self.end {
                break;
            }
            whole += 1;
            if !self.recover_segment(segment)? {
                break;
            }
        }
        for segment in self.segments.drain(whole..) {
            tracing::warn!(partition = %known.tp, base = %segment.base(), "dropping a segment behind a broken one");
            self.shared.reaper.doom(segment.doom()?, Duration::ZERO);
        }
        for segment in &self.segments.clone()[trusted..] {
            if !Arc::ptr_eq(segment, self.last()) {
                segment.seal()?;
                match self.save_aborted(segment).and_then(|()| segment.save_index()) {
                    // A full disk can be read: the next sync tries again.
                    Err(error) if error.is_full() => {
                        let end = self.next_base(segment).unwrap_or(self.end);
                        self.unsaved.push(Sealed { segment: segment.clone(), end, snapshot: None });
                    }
                    other => other?,
                }
            }
            if known.sync {
                let synced = self.shared.options.disk.sync(&*segment.file()?);
                synced.map_err(FileError::at("sync", &segment.path(Part::Log)))?;
            }
        }
        if known.sync { durable_file::sync_dir(self.dir) } else { Ok(()) }
    }

    fn save_aborted(&self, segment: &Segment) -> Result<(), FileError> {
        let content = self.aborted.encode(segment.base(), self.next_base(segment));
        let path = segment.path(Part::TxnIndex);
        if content.is_empty() {
            return durable_file::remove(&path).map(|_| ());
        }
        durable_file::write_synced(&path, &content)
    }

    /// Checks every batch, rebuilds the index; false if the segment had to be cut.
    fn recover_segment(&mut self, segment: &Arc<Segment>) -> Result<bool, FileError> {
        let file = segment.file()?;
        let mut index = SegmentIndex::new(segment.base());
        let mut scan = Scan::new(&file, 0, segment.size());
        self.end = self.end.max(segment.base());
        let broken_at = loop {
            let at = scan.position();
            match scan.next_batch() {
                Ok(Some((position, batch))) => {
                    if !self.follows(segment, &batch)
                        || batch.verify_crc().is_err()
                        || !self.take(&batch, true)
                    {
                        break Some(at);
                    }
                    index.note(position, batch.header(), self.index_interval_bytes);
                    self.end = batch.header().next_offset();
                }
                Ok(None) => break None,
                Err(ScanError::Broken { position, .. }) => break Some(position),
                Err(ScanError::Io { source, .. }) => return Err(unreadable(segment, source)),
            }
        };
        segment.go_live(index);
        if let Some(at) = broken_at {
            let lost = segment.size() - at;
            tracing::warn!(segment = %segment.path(Part::Log).display(), at, lost, "cutting off a torn tail");
            segment.cut(at)?;
        }
        Ok(broken_at.is_none())
    }

    /// Offsets ascend, and fit the segment's index.
    fn follows(&self, segment: &Segment, batch: &Batch) -> bool {
        let header = batch.header();
        header.base_offset >= self.end && header.last_offset().since(segment.base()) <= i64::from(i32::MAX)
    }

    /// Brings what is known of the producers up to a batch; false if it cannot be understood.
    fn take(&mut self, batch: &Batch, note_aborted: bool) -> bool {
        let header = batch.header();
        if !header.is_control() {
            self.producers.apply(header);
            return true;
        }
        let Ok(control) = batch.control() else { return false };
        if let Some(ended) = self.producers.apply_marker(header, control)
            && ended.aborted
            && note_aborted
        {
            self.aborted.push(aborted::entry(&ended, &self.producers));
        }
        true
    }

    /// The newest snapshot at or before an offset that can be read; from where to replay.
    fn load_snapshot(&mut self, upto: Offset) -> Result<Offset, FileError> {
        for offset in self.folder.snapshots.iter().rev().filter(|offset| **offset <= upto) {
            let path = snapshot_path(self.dir, *offset);
            let content = durable_file::read(&path)?.unwrap_or_default();
            match ProducerStates::from_snapshot(&content) {
                Ok(producers) => {
                    self.producers = producers;
                    return Ok(*offset);
                }
                Err(error) => tracing::warn!(path = %path.display(), %error, "skipping a producer snapshot"),
            }
        }
        self.producers = ProducerStates::default();
        Ok(self.segments[0].base())
    }

    /// Brings the producers from one offset to another.
    fn replay(&mut self, from: Offset, to: Offset) -> Result<(), FileError> {
        for segment in self.segments.clone() {
            if segment.base() >= to || self.next_base(&segment).is_some_and(|next| next <= from) {
                continue;
            }
            let file = segment.file()?;
            let position = read(&*segment.index()?).position_of(from);
            let mut scan = Scan::new(&file, position, segment.size());
            loop {
                match scan.next_batch() {
                    Ok(Some((_, batch))) if batch.header().base_offset >= to => break,
                    Ok(Some((_, batch))) if batch.header().last_offset() < from => {}
                    Ok(Some((_, batch))) => {
                        self.take(&batch, false);
                    }
                    Ok(None) => break,
                    Err(ScanError::Io { source, .. }) => return Err(unreadable(&segment, source)),
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

    fn next_base(&self, segment: &Segment) -> Option<Offset> {
        self.segments.iter().map(|other| other.base()).find(|base| *base > segment.base())
    }

    /// Takes in the `.txnindex` of a segment; false if it cannot be right.
    fn load_aborted(&mut self, base: Offset) -> Result<bool, FileError> {
        let content = durable_file::read(&Part::TxnIndex.path(self.dir, base, ""))?;
        Ok(self.aborted.load(&content.unwrap_or_default()))
    }

    fn finish(self, mut known: Known) -> Result<Arc<Partition>, FileError> {
        // Of a log that was longer it is no truth about this one.
        known.cleaned_upto = known.cleaned_upto.filter(|upto| *upto <= self.end);
        let active = self.last().clone();
        self.drop_stray_snapshots()?;
        let mut epochs = load_epochs(self.dir)?;
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
            names: false,
        };
        let segments = self.segments.iter().map(|segment| (segment.base(), segment.clone())).collect();
        Ok(Partition::new(self.shared, known, self.dir.clone(), writer, segments, self.aborted, published))
    }

    /// A snapshot is kept at a segment's base, and the newest; none behind the end.
    fn drop_stray_snapshots(&self) -> Result<(), FileError> {
        let newest = self.folder.snapshots.iter().filter(|offset| **offset <= self.end).max();
        for offset in &self.folder.snapshots {
            let at_base = self.segments.iter().any(|segment| segment.base() == *offset);
            if *offset > self.end || !(at_base || Some(offset) == newest) {
                durable_file::remove(&snapshot_path(self.dir, *offset))?;
            }
        }
        Ok(())
    }
}

fn unreadable(segment: &Segment, source: std::io::Error) -> FileError {
    FileError::at("read", &segment.path(Part::Log))(source)
}

/// The timestamp of the segment's first batch.
fn first_timestamp(segment: &Segment) -> Result<Option<Timestamp>, FileError> {
    let mut head = Vec::new();
    let read = read_at(&*segment.file()?, &mut head, HEADER_LEN, 0);
    read.map_err(|source| unreadable(segment, source))?;
    Ok(BatchHeader::parse(&head).ok().map(|header| header.max_timestamp))
}

fn load_epochs(dir: &Path) -> Result<LeaderEpochs, FileError> {
    let path = dir.join(EPOCHS);
    let content = durable_file::read(&path)?;
    let text = content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match text.map(|text| LeaderEpochs::from_text(&text)).transpose() {
        Ok(epochs) => Ok(epochs.unwrap_or_default()),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "starting over with the leader epochs");
            Ok(LeaderEpochs::default())
        }
    }
}

pub(crate) fn snapshot_path(dir: &Path, offset: Offset) -> std::path::PathBuf {
    dir.join(format!("{:020}.snapshot", offset.0))
}
