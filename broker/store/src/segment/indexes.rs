//! A segment's indexes: in memory while it is live, in their files when it is sealed.
//!
//! Invariants: what a file says is looked at before it is gone by; an index that is missing or cannot
//! be right is rebuilt from the log, whose truth it is. It lacks the formats, which are
//! `index`'s and `index_file`'s.

use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};

use flumen_records::{BatchHeader, HEADER_LEN};
use flumen_types::{Offset, Timestamp};

use crate::error::{FileError, chain};
use crate::files::durable_file::{self, sync_if_there};
use crate::files::file_system::{File, Open};
use crate::files::site::Site;
use crate::locks::{lock, read, write};
use crate::segment::index::{SegmentIndex, Tail};
use crate::segment::index_file::{self, Place};
use crate::segment::scan::{ScanError, is_possible};
use crate::segment::{Part, Segment, SharedIndex};

/// For indexes rebuilt on demand, whose topic's setting is not at hand: Kafka's default.
const REBUILT_INTERVAL_BYTES: u64 = 4096;

impl Segment {
    /// The index: that of the live segment, or loaded for the caller, or rebuilt from the log if it is
    /// missing or cannot be right.
    pub(crate) fn index(&self) -> Result<SharedIndex, FileError> {
        if let Some(index) = &self.lock().index {
            return Ok(index.clone());
        }
        match self.index_in_files()? {
            Some(index) => Ok(Arc::new(RwLock::new(index))),
            None => self.rebuild_index(),
        }
    }

    /// `None` if it is missing or cannot be right.
    fn index_in_files(&self) -> Result<Option<SegmentIndex>, FileError> {
        let offsets = durable_file::read(self.files(), &self.path(Part::Index))?;
        let times = durable_file::read(self.files(), &self.path(Part::TimeIndex))?;
        Ok(match (&offsets, &times) {
            // Where there are batches, there is a time.
            (Some(offsets), Some(times)) if !times.is_empty() || self.size() == 0 => {
                SegmentIndex::decode(self.base(), self.size(), offsets, times)
            }
            _ => None,
        })
    }

    /// The index up to a batch that ends below an offset and is there, where that begins, and its header;
    /// `None` if the files have no such.
    pub(crate) fn index_below(
        &self,
        offset: Offset,
    ) -> Result<Option<(SegmentIndex, u64, BatchHeader)>, FileError> {
        let Some(mut index) = self.index_in_files()? else { return Ok(None) };
        let Some((position, last)) = index.cut_below(offset) else { return Ok(None) };
        let header = self.header_at(&*self.file()?, position)?.filter(|header| header.last_offset() == last);
        Ok(header.map(|header| (index, position, header)))
    }

    /// The batch there ends at or before the offset, as its index has it; an index that is wrong is
    /// rebuilt.
    pub(crate) fn begin_at(&self, file: &dyn File, offset: Offset) -> Result<u64, FileError> {
        let place = self.place_of(offset)?;
        if self.damage().at(place.position).is_some() || self.is_there(file, place)? {
            return Ok(place.position);
        }
        if self.lock().index.is_some() {
            // It is right, so what is there is not.
            return Ok(0);
        }
        let index = self.rebuild_index()?;
        let position = read(&index).position_of(offset);
        Ok(position)
    }

    fn is_there(&self, file: &dyn File, place: Place) -> Result<bool, FileError> {
        let Some(last) = place.last else { return Ok(true) };
        Ok(self.header_at(file, place.position)?.is_some_and(|header| header.last_offset() == last))
    }

    fn header_at(&self, file: &dyn File, position: u64) -> Result<Option<BatchHeader>, FileError> {
        let mut bytes = [0; HEADER_LEN];
        match file.read_exact_at(&mut bytes, position) {
            Ok(()) => Ok(BatchHeader::parse(&bytes).ok().filter(is_possible)),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(FileError::at("read", &self.path(Part::Log))(error)),
        }
    }

    /// What the first bytes say, be it possible or not; `None` if they are no header.
    pub(crate) fn first_header(&self) -> Result<Option<BatchHeader>, FileError> {
        let head = self.file()?.read_upto_at(HEADER_LEN, 0).map_err(|source| self.unreadable(source))?;
        Ok(BatchHeader::parse(&head).ok())
    }

    fn place_of(&self, offset: Offset) -> Result<Place, FileError> {
        if let Some(index) = &self.lock().index {
            return Ok(read(index).place_of(offset));
        }
        let path = self.path(Part::Index);
        let place = index_file::place_of(self.files(), &path, self.base(), offset)
            .map_err(FileError::at("read", &path))?;
        match place.filter(|place| place.position < self.size().max(1)) {
            Some(place) => Ok(place),
            None => {
                let index = self.rebuild_index()?;
                let position = read(&index).position_of(offset);
                Ok(Place { position, last: None })
            }
        }
    }

    /// From the log; written, so that it need not be kept.
    pub(crate) fn rebuild_index(&self) -> Result<SharedIndex, FileError> {
        tracing::info!(segment = %self.path(Part::Log).display(), "rebuilding a segment's index");
        let file = self.file()?;
        let mut index = SegmentIndex::new(self.base());
        let (mut end, mut scan) = (self.base(), self.scan(&*file, 0));
        loop {
            match scan.next_batch() {
                Ok(Some((position, batch))) => {
                    let found = scan.found(position, batch.header());
                    let misplaced = self.is_misplaced(&found, end, None);
                    if !misplaced.map_err(|source| self.unreadable(source))? {
                        index.note(position, batch.header(), REBUILT_INTERVAL_BYTES);
                        end = batch.header().next_offset();
                    }
                }
                Ok(None) => break,
                // Damage in the middle is told to those who read there.
                Err(ScanError::Broken { .. }) => break,
                Err(ScanError::Io { source, .. }) => {
                    return Err(FileError::at("read", &self.path(Part::Log))(source));
                }
            }
        }
        index.seal();
        let replace =
            |part, content: Vec<u8>| durable_file::replace(self.files(), &self.path(part), &content);
        let written = replace(Part::Index, index.encode_offsets())
            .and_then(|()| replace(Part::TimeIndex, index.encode_times()));
        let index = Arc::new(RwLock::new(index));
        if let Err(error) = written {
            tracing::warn!(error = %chain(&error), "a segment's index cannot be written; it is kept in memory");
            self.lock().index = Some(index.clone());
        }
        Ok(index)
    }

    /// Ends appending: from here on the index can be written and dropped from memory.
    pub(crate) fn seal(&self) -> Result<(), FileError> {
        let index = self.index()?;
        write(&index).seal();
        Ok(())
    }

    /// Writes the indexes.
    pub(crate) fn write_index(&self) -> Result<(), FileError> {
        let index = self.index()?;
        let (offsets, times) = {
            let index = read(&index);
            (index.encode_offsets(), index.encode_times())
        };
        durable_file::put(self.files(), &self.path(Part::Index), 0, &offsets)?;
        durable_file::put(self.files(), &self.path(Part::TimeIndex), 0, &times)
    }

    /// Brings the files up to what the index of a live segment had; nothing of it is durable yet.
    pub(crate) fn write_tail(&self, tail: &Tail) -> Result<(), FileError> {
        let (offsets, times) = (&tail.offsets, &tail.times);
        durable_file::put(self.files(), &self.path(Part::Index), offsets.0, &offsets.1)?;
        durable_file::put(self.files(), &self.path(Part::TimeIndex), times.0, &times.1)
    }

    /// Writes the indexes of a sealed segment, durable but for their names; from here on memory can
    /// let go of them.
    pub(crate) fn save_index(&self, site: Site) -> Result<(), FileError> {
        self.write_index()?;
        self.sync_index(site)?;
        self.release_index();
        Ok(())
    }

    pub(crate) fn sync_index(&self, site: Site) -> Result<(), FileError> {
        sync_if_there(self.files(), &self.path(Part::Index), site)?;
        sync_if_there(self.files(), &self.path(Part::TimeIndex), site)
    }

    /// The indexes are durable: they need not be in memory.
    pub(crate) fn release_index(&self) {
        self.live.store(false, Ordering::Release);
        self.lock().index = None;
    }

    /// The largest timestamp of its records.
    pub(crate) fn largest_timestamp(&self) -> Result<Timestamp, FileError> {
        // Looked at first: what is read of a live segment may be outdated when it is sealed.
        let live = self.is_live();
        let known = *lock(&self.largest);
        if let Some(known) = known.filter(|_| !live) {
            return Ok(known);
        }
        let largest = match self.last_time_entry()? {
            Some(largest) => largest,
            None => read(&*self.index()?).largest_timestamp(),
        };
        if !live {
            *lock(&self.largest) = Some(largest);
        }
        Ok(largest)
    }

    /// The time of its first batch; `None` if it has none, or that is damaged.
    pub(crate) fn first_timestamp(&self) -> Result<Option<Timestamp>, FileError> {
        if let Some(known) = self.first.get() {
            return Ok(Some(*known));
        }
        if self.size() < HEADER_LEN as u64 || self.damage().at(0).is_some() {
            return Ok(None);
        }
        let header = self.first_header()?.filter(is_possible);
        Ok(header.map(|header| *self.first.get_or_init(|| header.max_timestamp)))
    }

    /// Bytes of a sealed segment's `.index` and `.timeindex`.
    pub(crate) fn index_lengths(&self) -> Result<(u64, u64), FileError> {
        let length = |part| {
            let path = self.path(part);
            match self.files().stat(&path) {
                Ok(stat) => Ok(stat.length),
                // It is rebuilt when somebody needs it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
                Err(error) => Err(FileError::at("look at", &path)(error)),
            }
        };
        Ok((length(Part::Index)?, length(Part::TimeIndex)?))
    }

    /// What the `.timeindex` of a sealed segment ends with, without loading the rest.
    fn last_time_entry(&self) -> Result<Option<Timestamp>, FileError> {
        const ENTRY_BYTES: u64 = 12;
        if self.lock().index.is_some() {
            return Ok(None);
        }
        let path = self.path(Part::TimeIndex);
        let last = || -> std::io::Result<[u8; 8]> {
            let file = self.files().open(&path, Open::Read)?;
            let length = file.stat()?.length;
            let mut timestamp = [0; 8];
            let at = length.checked_sub(ENTRY_BYTES).filter(|_| length.is_multiple_of(ENTRY_BYTES));
            file.read_exact_at(&mut timestamp, at.ok_or(std::io::ErrorKind::InvalidData)?)?;
            Ok(timestamp)
        };
        // Whatever is the matter with it, loading the index finds out and mends it.
        Ok(last().ok().map(|timestamp| Timestamp(i64::from_be_bytes(timestamp))))
    }
}
