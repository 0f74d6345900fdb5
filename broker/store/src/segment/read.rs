//! The fetch path: whole batches out of one segment, by offset.
//!
//! Invariants: a batch is never cut and never decoded. Of each the CRC is checked before it is handed out, by
//! every read: bytes rot while a process runs too, and in what it wrote itself. Its offset, which no CRC covers,
//! has to fit between its neighbours' (`misplaced.rs`). One
//! pread brings the bytes that are handed out, no more than a buffer that is used again holds: where the wanted batch begins is found before, from
//! the sparse index and a few headers, or remembered from the read that ended there.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use flumen_records::{BatchHeader, Check, HEADER_LEN};
use flumen_types::Offset;

use crate::error::{FileError, ReadError};
use crate::files::buffers::{Buffers, POOLED_MAX};
use crate::files::file_system::File;
use crate::segment::damage::Damaged;
use crate::segment::misplaced::Found;
use crate::segment::scan::is_possible;
use crate::segment::{Part, Segment};

/// What of a segment to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The first batch is the one that holds this offset, or the next behind it.
    pub(crate) from: Offset,
    /// No batch that begins here or later.
    pub(crate) limit: Offset,
    /// What is in the segment ends before this.
    pub(crate) end: Offset,
    pub(crate) bytes_max: usize,
    /// The first batch even if it alone is over `bytes_max`.
    pub(crate) min_one: bool,
}

/// Whole batches, and the offset behind the last.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub(crate) bytes: Bytes,
    pub(crate) next: Offset,
    /// Where in the segment they are.
    pub(crate) place: Range<u64>,
}

impl Run {
    pub(crate) fn empty(next: Offset) -> Run {
        Run { bytes: Bytes::new(), next, place: 0..0 }
    }
}

/// Where a batch begins, and, if it is known, the offset behind the one before.
struct Located {
    position: u64,
    behind: Option<Offset>,
}

/// The first bytes of a buffer. A small part does not keep the whole from who reads next: answers are counted by what
/// they tell, and may wait long for their readers.
fn part(bytes: Bytes, end: usize) -> Bytes {
    if end < bytes.len() / 2 { Bytes::copy_from_slice(&bytes[..end]) } else { bytes.slice(..end) }
}

impl Segment {
    /// `None` if the segment has nothing at or behind `from` and before `limit`; an empty run if the
    /// first batch is too large.
    pub(crate) fn read(&self, wanted: Wanted, buffers: &Arc<Buffers>) -> Result<Option<Run>, ReadError> {
        let file = self.file()?;
        let size = self.size();
        let Some(Located { position, behind }) = self.locate(&*file, size, wanted.from)? else {
            return Ok(None);
        };
        let whole = self.damage().next_after(position, size);
        let left = usize::try_from(whole - position).unwrap_or(usize::MAX);
        let mut length = wanted.bytes_max.clamp(HEADER_LEN, POOLED_MAX).min(left);
        loop {
            let bytes = buffers.read(length, |buffer| self.read_exact(&*file, position, buffer))?;
            let first = self.header(&bytes, position)?;
            let rest = bytes.get(first.total_len()..).unwrap_or_default();
            let found = Found { file: &*file, position, header: &first, behind: rest };
            self.check_first(&found, behind, &wanted)?;
            if first.base_offset >= wanted.limit {
                return Ok(None);
            }
            let first_len = first.total_len();
            if first_len > wanted.bytes_max && !wanted.min_one {
                return Ok(Some(Run::empty(first.base_offset)));
            }
            if first_len > left {
                return Err(self.corrupt(position));
            }
            if first_len > bytes.len() {
                length = first_len;
                continue;
            }
            let (end, next) = self.verify(&bytes, position, first, wanted.limit)?;
            let place = position..position + end as u64;
            self.remember(next, place.end);
            self.read_ahead(&*file, place.end, end as u64);
            return Ok(Some(Run { bytes: part(bytes, end), next, place }));
        }
    }

    /// That the batch found first can be the one that holds the offset, or the next behind it.
    fn check_first(
        &self,
        found: &Found<'_>,
        behind: Option<Offset>,
        wanted: &Wanted,
    ) -> Result<(), ReadError> {
        let first = found.header;
        let early = first.last_offset() < wanted.from || behind.is_some_and(|end| first.base_offset < end);
        let end = behind.unwrap_or(self.base());
        let late = first.base_offset > wanted.from
            && self.is_misplaced(found, end, Some(wanted.end)).map_err(|source| self.unreadable(source))?;
        if early || late { Err(self.corrupt(found.position)) } else { Ok(()) }
    }

    /// The end of the batches that are whole and where they belong, and the offset behind them; an error if the first
    /// is not whole; where that belongs was looked at before.
    fn verify(
        &self,
        bytes: &[u8],
        position: u64,
        first: BatchHeader,
        limit: Offset,
    ) -> Result<(usize, Offset), ReadError> {
        let (mut header, mut good) = (first, None);
        loop {
            let (at, before) = good.unwrap_or((0, header.base_offset));
            if Check::ReadBatch.verify_bytes(&header, &bytes[at..]).is_err() {
                break;
            }
            let (end, next) = (at + header.total_len(), header.next_offset());
            // What lies behind the limit is not looked at: it may not be there yet, or not any more.
            let behind = bytes.get(end..).filter(|rest| next < limit && rest.len() >= HEADER_LEN);
            let behind = behind.map(|rest| self.header(rest, position + end as u64)).transpose()?;
            let follows = behind.as_ref().is_some_and(|behind| behind.base_offset >= next);
            // Whether there is a gap before it, or it is not where it belongs, what follows tells.
            if header.base_offset > before && !follows {
                break;
            }
            if behind.is_some() && !follows {
                return Err(self.corrupt(position + end as u64));
            }
            good = Some((end, next));
            match behind {
                Some(behind) if behind.base_offset < limit => header = behind,
                _ => break,
            }
        }
        good.ok_or_else(|| self.corrupt(position))
    }

    /// Where the first batch that ends at or behind the offset begins.
    fn locate(&self, file: &dyn File, size: u64, from: Offset) -> Result<Option<Located>, ReadError> {
        if let Some(position) = self.recall(from).filter(|position| self.damage().at(*position).is_none()) {
            return Ok((position < size).then_some(Located { position, behind: Some(from) }));
        }
        let mut position = self.begin_at(file, from)?;
        // Asked after: to what was found out meanwhile the index points too.
        let damage = self.damage();
        let mut behind = (position == 0).then_some(self.base());
        while position < size {
            if let Some(range) = damage.at(position) {
                if from < range.next {
                    return Err(self.refuse(range));
                }
                (position, behind) = (range.upto, Some(range.next));
                continue;
            }
            let end = damage.next_after(position, size);
            let length = HOP.min(usize::try_from(end - position).unwrap_or(usize::MAX));
            let mut hop = [0; HOP];
            let bytes = &mut hop[..length];
            self.read_exact(file, position, bytes)?;
            let mut at = 0;
            while at < bytes.len() {
                if bytes.len() - at < HEADER_LEN {
                    if end - position < (at + HEADER_LEN) as u64 {
                        return Err(self.corrupt(position + at as u64));
                    }
                    break;
                }
                let header = self.header(&bytes[at..], position + at as u64)?;
                let place = position + at as u64;
                if behind.is_some_and(|end| header.base_offset < end) {
                    let found = Found { file, position: place, header: &header, behind: &[] };
                    behind = self.behind_stranger(&found, behind)?;
                }
                if header.last_offset() >= from {
                    return Ok(Some(Located { position: place, behind }));
                }
                behind = Some(header.next_offset());
                at += header.total_len();
                // By a length that has rotted, batches would be passed over that nobody has told of.
                if position + at as u64 > end {
                    return Err(self.corrupt(position + (at - header.total_len()) as u64));
                }
            }
            position += at as u64;
        }
        Ok(None)
    }

    /// A batch that is before where it has to be has rotted, but for the first of a file that is another
    /// segment's: nothing bounds that one.
    fn behind_stranger(
        &self,
        found: &Found<'_>,
        behind: Option<Offset>,
    ) -> Result<Option<Offset>, ReadError> {
        let end = behind.unwrap_or(self.base());
        match self.is_misplaced(found, end, None) {
            Ok(false) => Ok(None),
            Ok(true) => Err(self.corrupt(found.position)),
            Err(source) => Err(self.unreadable(source).into()),
        }
    }

    fn header(&self, bytes: &[u8], position: u64) -> Result<BatchHeader, ReadError> {
        match BatchHeader::parse(bytes) {
            Ok(header) if is_possible(&header) => Ok(header),
            _ => Err(self.corrupt(position)),
        }
    }

    fn read_exact(&self, file: &dyn File, position: u64, buffer: &mut [u8]) -> Result<usize, ReadError> {
        match file.read_exact_at(buffer, position) {
            Ok(()) => Ok(buffer.len()),
            // Shorter than it was: somebody cut the file under us.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(self.corrupt(position)),
            Err(error) => Err(FileError::at("read", &self.path(Part::Log))(error).into()),
        }
    }

    fn corrupt(&self, position: u64) -> ReadError {
        ReadError::Corrupt { path: self.path(Part::Log), position, offsets: None }
    }

    fn refuse(&self, range: &Damaged) -> ReadError {
        let offsets = Some(range.first..range.next);
        ReadError::Corrupt { path: self.path(Part::Log), position: range.position, offsets }
    }
}

/// Enough for the batches between two entries of the index.
const HOP: usize = 8 << 10;
