//! Goes through a segment's file batch by batch, in large sequential reads.
//!
//! Used where a batch's content matters or its place is not known: recovery, replay of producer
//! state, search by time, compaction. Readers on the fetch path do not come here (`read`).
//!
//! Invariants: a batch is yielded only if all of it lies before `end`; nothing on the disk is
//! trusted, so a length that cannot be is the end of what is whole, not a panic.

use std::io;

use bytes::Bytes;
use flumen_records::{Batch, BatchError, BatchHeader, HEADER_LEN};
use thiserror::Error;

use crate::files::file_system::{Advice, File};
use crate::segment::damage::Damage;
use crate::segment::misplaced::Found;

const CHUNK: usize = 1 << 20;
/// A call to the page cache is worth so many bytes.
const DROP_STEP: u64 = 8 << 20;

#[derive(Debug, Error)]
pub(crate) enum ScanError {
    /// No whole batch at this position: torn by a crash, or garbled.
    #[error("no whole batch at byte {position}")]
    Broken { position: u64, source: Option<BatchError> },
    #[error("cannot read at byte {position}")]
    Io { position: u64, source: io::Error },
}

/// A cursor over the batches of `file` in `position..end`.
pub(crate) struct Scan<'a> {
    file: &'a dyn File,
    position: u64,
    end: u64,
    ahead: Bytes,
    damage: Damage,
    chunk: usize,
    /// Bytes before are dropped from the page cache behind the scan; and those that are.
    cold: u64,
    dropped: u64,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(file: &'a dyn File, position: u64, end: u64) -> Scan<'a> {
        Scan {
            file,
            position,
            end,
            ahead: Bytes::new(),
            damage: Damage::default(),
            chunk: CHUNK,
            cold: 0,
            dropped: position,
        }
    }

    /// Passes over these ranges.
    #[must_use]
    pub(crate) fn around(mut self, damage: Damage) -> Scan<'a> {
        self.damage = damage;
        self
    }

    /// Reads so many bytes at once, or a batch that is larger.
    #[must_use]
    pub(crate) fn in_chunks(mut self, bytes: usize) -> Scan<'a> {
        self.chunk = bytes;
        self
    }

    /// Leaves nothing in the page cache of what lies before a position.
    #[must_use]
    pub(crate) fn without_trace(mut self, cold: u64) -> Scan<'a> {
        self.cold = cold;
        self
    }

    /// Goes on at a later position.
    pub(crate) fn skip_to(&mut self, position: u64) {
        self.position = position.min(self.end);
        self.ahead = Bytes::new();
    }

    /// The next batch and where it begins; its CRC is not checked.
    pub(crate) fn next_batch(&mut self) -> Result<Option<(u64, Batch)>, ScanError> {
        while self.position < self.end
            && let Some(upto) = self.damage.at(self.position).map(|range| range.upto)
        {
            self.skip_to(upto);
        }
        let left = self.end - self.position;
        if left == 0 {
            return Ok(None);
        }
        let position = self.position;
        let broken = |source| ScanError::Broken { position, source };
        if left < HEADER_LEN as u64 {
            return Err(broken(None));
        }
        if self.ahead.len() < HEADER_LEN {
            self.fill(HEADER_LEN)?;
        }
        let header = BatchHeader::parse(&self.ahead).map_err(|e| broken(Some(e)))?;
        let length = header.total_len();
        if !is_possible(&header) || length as u64 > left {
            return Err(broken(None));
        }
        if self.ahead.len() < length {
            self.fill(length)?;
        }
        let batch = Batch::split_first(&mut self.ahead).map_err(|e| broken(Some(e)))?;
        let batch = batch.ok_or_else(|| broken(None))?;
        self.position += batch.bytes().len() as u64;
        Ok(Some((position, batch)))
    }

    /// The batch that was yielded last, for who asks whether it is where it belongs.
    pub(crate) fn found<'b>(&'b self, position: u64, header: &'b BatchHeader) -> Found<'b> {
        Found { file: self.file, position, header, behind: &self.ahead }
    }

    fn drop_behind(&mut self, step: u64) {
        let upto = self.position.min(self.cold);
        if upto >= self.dropped + step {
            // What is left of a run of pages that the last call cut through goes too.
            let from = self.dropped.saturating_sub(DROP_STEP / 2);
            self.file.advise(from, Some(upto - from), Advice::DontNeed);
            self.dropped = upto;
        }
    }

    /// Reads on from `position` so that at least `wanted` bytes (which are there) are ahead.
    fn fill(&mut self, wanted: usize) -> Result<(), ScanError> {
        self.drop_behind(DROP_STEP);
        let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
        let position = self.position;
        let read = self.file.read_upto_at(wanted.max(self.chunk).min(left), position);
        let buffer = read.map_err(|source| ScanError::Io { position, source })?;
        if buffer.len() < wanted {
            return Err(ScanError::Broken { position, source: None });
        }
        self.ahead = buffer.into();
        Ok(())
    }
}

impl Drop for Scan<'_> {
    fn drop(&mut self) {
        self.drop_behind(DROP_STEP / 8);
    }
}

/// Whether the offsets can be computed with; a garbled header's often cannot.
pub(crate) fn is_possible(header: &BatchHeader) -> bool {
    (0..i64::MAX >> 1).contains(&header.base_offset.0) && header.last_offset_delta >= 0
}
