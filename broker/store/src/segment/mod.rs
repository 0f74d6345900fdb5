//! One segment of a partition: a run of batches in one `.log` file and what finds them in it.
//!
//! Invariants: `size` bytes of the file hold whole batches and never change; what lies behind is an
//! append in progress or the rest of a failed one, and nobody reads it. The last segment of a
//! partition is live: its index is in memory, and in its files only what a recovery goes by (`partition::checkpoint`). Of a sealed one nothing is: it opens its file when
//! asked, and may be closed again at any time (`files::open_files`); its index is looked into where it lies
//! (`index_file`).
//!
//! It lacks all knowledge of offsets' meaning (marks, producers): that is `partition`.

pub(crate) mod breakage;
pub(crate) mod cached;
pub(crate) mod damage;
pub(crate) mod in_place;
pub(crate) mod index;
pub(crate) mod index_file;
pub(crate) mod indexes;
pub(crate) mod misplaced;
pub(crate) mod read;
pub(crate) mod recent_reads;
pub(crate) mod scan;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, Weak};

use flumen_types::{Offset, Timestamp};

use crate::error::FileError;
use crate::files::durable_file;
use crate::files::file_system::{File, FileSystem, Open as How};
use crate::files::open_files::{Closable, OpenFiles};
use crate::files::site::Site;
use crate::locks::{lock, read, write};
use crate::segment::damage::{Damage, Damaged};
use crate::segment::index::SegmentIndex;
use crate::segment::recent_reads::RecentReads;
use crate::segment::scan::Scan;

pub(crate) struct Segment {
    base: Offset,
    pub(crate) dir: Arc<Path>,
    size: AtomicU64,
    pub(crate) live: AtomicBool,
    /// Its names are about to go: it must not be opened anew.
    pinned: AtomicBool,
    used: AtomicBool,
    /// Bytes that were written, or are about to be, and those of them that a sync has covered. While
    /// they differ the file stays open: the kernel tells of a failed write to who has it open.
    claimed: AtomicU64,
    synced: AtomicU64,
    /// Bytes from the front that the page cache was told of, and of them those it was told to drop.
    cached: AtomicU64,
    dropped: AtomicU64,
    open: Mutex<Open>,
    /// Small and asked for by every retention check, so kept when the index is not.
    pub(crate) largest: Mutex<Option<Timestamp>>,
    pub(crate) first: OnceLock<Timestamp>,
    recent: Mutex<RecentReads>,
    damage: RwLock<Damage>,
    open_files: Arc<OpenFiles>,
    me: Weak<Segment>,
}

#[derive(Default)]
pub(crate) struct Open {
    file: Option<Arc<dyn File>>,
    pub(crate) index: Option<SharedIndex>,
}

pub(crate) type SharedIndex = Arc<RwLock<SegmentIndex>>;

/// The files of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Log,
    Index,
    TimeIndex,
    TxnIndex,
    /// Only where something is damaged.
    Quarantine,
}

impl Part {
    /// As they come into being: where there is a `.log`, the others are there too.
    pub(crate) const LOG_LAST: [Part; 5] =
        [Part::Index, Part::TimeIndex, Part::TxnIndex, Part::Quarantine, Part::Log];

    /// All but the `.log`.
    pub(crate) const BESIDE: [Part; 4] = [Part::Index, Part::TimeIndex, Part::TxnIndex, Part::Quarantine];

    pub(crate) fn extension(self) -> &'static str {
        match self {
            Part::Log => "log",
            Part::Index => "index",
            Part::TimeIndex => "timeindex",
            Part::TxnIndex => "txnindex",
            Part::Quarantine => "quarantine",
        }
    }

    /// `00000000000000000042.log`, and a suffix such as `.cleaned`.
    pub(crate) fn path(self, dir: &Path, base: Offset, suffix: &str) -> PathBuf {
        dir.join(format!("{:020}.{}{suffix}", base.0, self.extension()))
    }
}

impl Segment {
    /// A new empty one to append to. Its name is durable once the folder is synced.
    pub(crate) fn create(
        dir: &Arc<Path>,
        base: Offset,
        open_files: &Arc<OpenFiles>,
    ) -> Result<Arc<Segment>, FileError> {
        let path = Part::Log.path(dir, base, "");
        let file = open_files.files.open(&path, How::Emptied).map_err(FileError::at("create", &path))?;
        let segment = Segment::build(dir, base, 0, open_files);
        segment.go_live(SegmentIndex::new(base));
        segment.lock().file = Some(file);
        segment.tell_open();
        Ok(segment)
    }

    /// One that is on the disk, sealed.
    pub(crate) fn existing(
        dir: &Arc<Path>,
        base: Offset,
        size: u64,
        open_files: &Arc<OpenFiles>,
    ) -> Arc<Segment> {
        // What is in the page cache of it was not put there by this process.
        Segment::build(dir, base, size, open_files)
    }

    fn build(dir: &Arc<Path>, base: Offset, size: u64, open_files: &Arc<OpenFiles>) -> Arc<Segment> {
        Arc::new_cyclic(|me| Segment {
            base,
            dir: dir.clone(),
            size: AtomicU64::new(size),
            live: AtomicBool::new(false),
            pinned: AtomicBool::new(false),
            used: AtomicBool::new(true),
            claimed: AtomicU64::new(size),
            synced: AtomicU64::new(size),
            cached: AtomicU64::new(size),
            dropped: AtomicU64::new(size),
            open: Mutex::default(),
            largest: Mutex::default(),
            first: OnceLock::new(),
            recent: Mutex::default(),
            damage: RwLock::default(),
            open_files: open_files.clone(),
            me: me.clone(),
        })
    }

    pub(crate) fn base(&self) -> Offset {
        self.base
    }

    /// Bytes of whole batches.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(crate) fn files(&self) -> &dyn FileSystem {
        &*self.open_files.files
    }

    pub(crate) fn unreadable(&self, source: io::Error) -> FileError {
        FileError::at("read", &self.path(Part::Log))(source)
    }

    pub(crate) fn path(&self, part: Part) -> PathBuf {
        part.path(&self.dir, self.base, "")
    }

    /// From here on it is appended to: the index stays in memory.
    pub(crate) fn go_live(&self, index: SegmentIndex) {
        self.live.store(true, Ordering::Release);
        self.lock().index = Some(Arc::new(RwLock::new(index)));
    }

    /// Whether its index is not on the disk yet: the active segment, and a sealed one until its sync.
    pub(crate) fn is_live(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    /// Opens file and index and keeps them, so that it can be read on when its files have other names.
    pub(crate) fn pin(&self) -> Result<(), FileError> {
        self.pinned.store(true, Ordering::Release);
        self.file()?;
        let index = self.index()?;
        self.lock().index = Some(index);
        Ok(())
    }

    /// It keeps its names after all.
    pub(crate) fn unpin(&self) {
        self.pinned.store(false, Ordering::Release);
    }

    /// From here on it is written to, up to so many bytes.
    pub(crate) fn claim(&self, upto: u64) {
        self.claimed.store(upto, Ordering::Release);
    }

    /// A sync that began when it had so many bytes has ended well.
    pub(crate) fn note_synced(&self, upto: u64) {
        self.synced.fetch_max(upto, Ordering::AcqRel);
    }

    /// Takes in what was just written behind `size`.
    pub(crate) fn extend(&self, bytes: u64) {
        self.size.fetch_add(bytes, Ordering::Release);
    }

    /// Cuts off what a failed append or a crash left behind `size`, or batches from `size` on.
    pub(crate) fn cut(&self, size: u64) -> Result<(), FileError> {
        let path = self.path(Part::Log);
        self.file()?.set_len(size).map_err(FileError::at("cut", &path))?;
        self.size.store(size, Ordering::Release);
        self.claimed.store(size, Ordering::Release);
        self.synced.fetch_min(size, Ordering::AcqRel);
        Ok(())
    }

    /// The `.log`, opened if it is not.
    pub(crate) fn file(&self) -> Result<Arc<dyn File>, FileError> {
        self.used.store(true, Ordering::Relaxed);
        let mut open = self.lock();
        if let Some(file) = &open.file {
            return Ok(file.clone());
        }
        let path = self.path(Part::Log);
        let file = self.files().open(&path, How::Write).map_err(FileError::at("open", &path))?;
        open.file = Some(file.clone());
        drop(open);
        self.tell_open();
        Ok(file)
    }

    /// What of it must not be read.
    pub(crate) fn damage(&self) -> Damage {
        read(&self.damage).clone()
    }

    /// Takes in what its `.quarantine` says; a file that says nothing is told about.
    pub(crate) fn load_damage(&self) -> Result<(), FileError> {
        let path = self.path(Part::Quarantine);
        let Some(content) = durable_file::read(self.files(), &path)? else { return Ok(()) };
        match Damage::from_text(&String::from_utf8_lossy(&content)) {
            Some(damage) => {
                *write(&self.damage) = damage;
                return self.clip_damage(self.size());
            }
            None => {
                tracing::error!(path = %path.display(), "ignoring a list of damaged ranges that is damaged itself")
            }
        }
        Ok(())
    }

    /// The file ends here now, or did all along: a range that reaches further, whose end a power cut took,
    /// must not hide what is appended there from now on.
    pub(crate) fn clip_damage(&self, size: u64) -> Result<(), FileError> {
        let known = self.damage();
        let within = known.within(size);
        if within == known {
            return Ok(());
        }
        *write(&self.damage) = within.clone();
        let path = self.path(Part::Quarantine);
        match durable_file::replace(self.files(), &path, within.to_text().as_bytes()) {
            // Without the list each range is found anew; with a wrong one good records would be lost.
            Err(error) if error.is_full() => durable_file::remove(self.files(), &path).map(|_| ()),
            other => other,
        }
    }

    /// From here on nobody reads this range, also after a restart.
    pub(crate) fn quarantine(&self, range: Damaged) -> Result<(), FileError> {
        let path = self.path(Part::Log);
        let (from, upto, first, next) = (range.position, range.upto, range.first, range.next);
        tracing::error!(
            segment = %path.display(), from, upto, %first, %next,
            "a part of a segment is damaged: its records are lost to readers; the bytes are kept as they are"
        );
        let damage = {
            let mut damage = write(&self.damage);
            *damage = damage.with(range);
            damage.clone()
        };
        let path = self.path(Part::Quarantine);
        match durable_file::replace(self.files(), &path, damage.to_text().as_bytes()) {
            // For as long as this process runs it is known.
            Err(error) if error.is_full() => Ok(()),
            other => other,
        }
    }

    /// Goes through its batches from a position on, around what is damaged.
    pub(crate) fn scan<'a>(&self, file: &'a dyn File, position: u64) -> Scan<'a> {
        Scan::new(file, position, self.size()).around(self.damage()).without_trace(self.dropped())
    }

    /// Renames its files so that the next open does not take them for the log's.
    pub(crate) fn doom(&self) -> Result<Vec<PathBuf>, FileError> {
        let mut doomed = Vec::new();
        // The `.log` first: while it is there, so is the segment, with all that it needs.
        for part in Part::LOG_LAST.into_iter().rev() {
            let (from, to) = (self.path(part), part.path(&self.dir, self.base, DELETED));
            if durable_file::rename(self.files(), &from, &to)? {
                doomed.push(to);
            }
            if part == Part::Log {
                // And before a later segment's: what was in the midst of a log does not go before its front.
                durable_file::sync_dir(self.files(), &self.dir, Site::DroppedSegments)?;
            }
        }
        Ok(doomed)
    }

    /// That the first batch which ends at or behind `offset` begins at `position`.
    pub(crate) fn remember(&self, offset: Offset, position: u64) {
        lock(&self.recent).remember(offset, position);
    }

    pub(crate) fn recall(&self, offset: Offset) -> Option<u64> {
        lock(&self.recent).recall(offset)
    }

    #[cfg(test)]
    pub(crate) fn has_index_in_memory(&self) -> bool {
        self.lock().index.is_some()
    }

    fn tell_open(&self) {
        self.open_files.opened(self.me.clone() as Weak<dyn Closable>);
    }

    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, Open> {
        lock(&self.open)
    }
}

impl Closable for Segment {
    fn used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    fn close(&self) -> bool {
        // Under the lock: who pins it or writes to it says so first, and then takes the file.
        let mut open = self.lock();
        let unsynced = self.claimed.load(Ordering::Acquire) > self.synced.load(Ordering::Acquire);
        if self.pinned.load(Ordering::Acquire) || unsynced {
            return false;
        }
        open.file = None;
        true
    }
}

/// Suffix of a compacted segment while it is written, and when it is whole and waits to be installed.
pub(crate) const CLEANED: &str = ".cleaned";
pub(crate) const SWAP: &str = ".swap";
/// Suffix of what waits to be unlinked.
pub(crate) const DELETED: &str = ".deleted";
