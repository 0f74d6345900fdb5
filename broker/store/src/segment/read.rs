//! The fetch path: whole batches out of one segment, by offset.
//!
//! Invariants: a batch is never cut and never decoded; of each, only the header is looked at, but for
//! the first read of what this process did not write: that checks the CRCs (`verified.rs`). One
//! pread brings the bytes that are handed out, no more than a buffer that is used again holds: where the wanted batch begins is found before, from
//! the sparse index and a few headers, or remembered from the read that ended there.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use flumen_records::{BatchHeader, Check, HEADER_LEN, batches};
use flumen_types::Offset;

use crate::error::{FileError, ReadError};
use crate::files::buffers::{Buffers, POOLED_MAX};
use crate::files::file_system::File;
use crate::segment::damage::Damaged;
use crate::segment::scan::is_possible;
use crate::segment::{Part, Segment};

/// What of a segment to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// The first batch is the one that holds this offset, or the next behind it.
    pub(crate) from: Offset,
    /// No batch that begins here or later.
    pub(crate) limit: Offset,
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

impl Segment {
    /// `None` if the segment has nothing at or behind `from` and before `limit`; an empty run if the
    /// first batch is too large.
    pub(crate) fn read(&self, wanted: Wanted, buffers: &Arc<Buffers>) -> Result<Option<Run>, ReadError> {
        let file = self.file()?;
        let size = self.size();
        let Some(position) = self.locate(&*file, size, wanted.from)? else { return Ok(None) };
        let whole = self.damage().next_after(position, size);
        let left = usize::try_from(whole - position).unwrap_or(usize::MAX);
        let mut length = wanted.bytes_max.clamp(HEADER_LEN, POOLED_MAX).min(left);
        loop {
            let bytes = buffers.read(length, |buffer| self.read_exact(&*file, position, buffer))?;
            let first = self.header(&bytes, position)?;
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
            let (end, next) = self.last_whole(&bytes, position, &first, wanted.limit)?;
            let (end, next) = self.verify(&bytes.slice(..end), position, next)?;
            let place = position..position + end as u64;
            self.remember(next, place.end);
            self.read_ahead(&*file, place.end, end as u64);
            return Ok(Some(Run { bytes: bytes.slice(..end), next, place }));
        }
    }

    /// The end of the batches whose CRCs are right, and the offset behind it; an error if the first's
    /// is not. Looks only at what nobody has looked at.
    fn verify(&self, bytes: &Bytes, position: u64, next: Offset) -> Result<(usize, Offset), ReadError> {
        let upto = position + bytes.len() as u64;
        if !self.is_unverified(position, upto) {
            return Ok((bytes.len(), next));
        }
        let (mut end, mut good) = (0, None);
        for batch in batches(bytes.clone()) {
            let Some(batch) = batch.ok().filter(|batch| Check::ReadBatch.verify(batch).is_ok()) else {
                break;
            };
            end += batch.bytes().len();
            good = Some(batch.header().next_offset());
        }
        let Some(good) = good else { return Err(self.corrupt(position)) };
        self.note_verified(position, position + end as u64);
        Ok((end, good))
    }

    /// The end of the last batch that is whole and before the limit, and the offset behind it.
    fn last_whole(
        &self,
        bytes: &Bytes,
        position: u64,
        first: &BatchHeader,
        limit: Offset,
    ) -> Result<(usize, Offset), ReadError> {
        let (mut end, mut next) = (first.total_len(), first.next_offset());
        // What lies behind the limit is not looked at: it may not be there yet, or not any more.
        while next < limit && bytes.len() - end >= HEADER_LEN {
            let header = self.header(&bytes[end..], position + end as u64)?;
            if header.base_offset >= limit || header.total_len() > bytes.len() - end {
                break;
            }
            end += header.total_len();
            next = header.next_offset();
        }
        Ok((end, next))
    }

    /// Where the first batch that ends at or behind the offset begins.
    pub(crate) fn locate(&self, file: &dyn File, size: u64, from: Offset) -> Result<Option<u64>, ReadError> {
        let damage = self.damage();
        if let Some(position) = self.recall(from).filter(|position| damage.at(*position).is_none()) {
            return Ok((position < size).then_some(position));
        }
        let mut position = self.begin_at(file, from)?;
        while position < size {
            if let Some(range) = damage.at(position) {
                if from < range.next {
                    return Err(self.refuse(range));
                }
                position = range.upto;
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
                if header.last_offset() >= from {
                    return Ok(Some(position + at as u64));
                }
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
