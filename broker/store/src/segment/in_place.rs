//! The batches of a segment, each where it belongs, for who goes by their offsets.
//!
//! It does not check their CRCs: whoever reads checks, before it asks for the next.

use flumen_records::Batch;
use flumen_types::Offset;

use crate::error::ReadError;
use crate::segment::scan::{Scan, ScanError};
use crate::segment::{Part, Segment};

pub(crate) struct InPlace<'a> {
    segment: &'a Segment,
    scan: Scan<'a>,
    /// The offset behind the batch before, if it is known.
    end: Option<Offset>,
    bound: Offset,
}

impl<'a> InPlace<'a> {
    /// From where a scan of the segment begins; `bound`: the offset of the first record behind the segment.
    pub(crate) fn new(segment: &'a Segment, scan: Scan<'a>, position: u64, bound: Offset) -> InPlace<'a> {
        InPlace { segment, scan, end: (position == 0).then_some(segment.base()), bound }
    }

    /// The next and where it begins; an error if it is not where it belongs.
    pub(crate) fn next_batch(&mut self) -> Result<Option<(u64, Batch)>, ReadError> {
        let segment = self.segment;
        let Some((position, batch)) = self.scan.next_batch().map_err(|error| broken(segment, error))? else {
            return Ok(None);
        };
        if let Some(end) = segment.damage().next_offset_behind(position).or(self.end) {
            let found = self.scan.found(position, batch.header());
            let misplaced = segment.is_misplaced(&found, end, Some(self.bound));
            if misplaced.map_err(|source| segment.unreadable(source))? {
                return Err(corrupt(segment, position));
            }
        }
        self.end = Some(batch.header().next_offset());
        Ok(Some((position, batch)))
    }
}

fn broken(segment: &Segment, error: ScanError) -> ReadError {
    match error {
        ScanError::Broken { position, .. } => corrupt(segment, position),
        ScanError::Io { source, .. } => segment.unreadable(source).into(),
    }
}

/// What is wrong at a position, before it is known which offsets it costs.
pub(crate) fn corrupt(segment: &Segment, position: u64) -> ReadError {
    ReadError::Corrupt { path: segment.path(Part::Log), position, offsets: None }
}
