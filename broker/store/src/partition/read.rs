//! Reads of a partition: whole batches from an offset on, up to a bound.

use bytes::Bytes;
use flumen_types::Offset;

use crate::error::ReadError;
use crate::events::Marks;
use crate::locks::read;
use crate::partition::aborted::AbortedTxn;
use crate::partition::{Bound, Partition};
use crate::segment::read::{Run, Wanted};

/// How often a read begins anew before it takes what it found for what there is.
const TRIES_MAX: u32 = 16;

/// What a read found.
#[derive(Clone, Debug)]
pub struct Read {
    /// Whole batches, the first of which may begin before the offset asked for.
    pub bytes: Bytes,
    /// Where to read on.
    pub next: Offset,
    /// For [`Bound::LastStable`]: the aborted transactions with records in `bytes`, by first offset.
    pub aborted: Vec<AbortedTxn>,
    /// As they stood when the read began.
    pub marks: Marks,
}

impl Partition {
    /// Batches from the one that holds `from` on, at most `bytes_max` of them in bytes, before the
    /// bound; with `min_one` the first even if it is larger than that. Empty at the bound.
    pub fn read(
        &self,
        from: Offset,
        bytes_max: usize,
        bound: Bound,
        min_one: bool,
    ) -> Result<Read, ReadError> {
        let mut tries = 0;
        loop {
            tries += 1;
            let marks = self.marks();
            if from < marks.start || from > marks.end {
                return Err(ReadError::OutOfRange { offset: from, start: marks.start, end: marks.end });
            }
            let limit = match bound {
                Bound::LogEnd => marks.end,
                Bound::HighWatermark => marks.high_watermark,
                Bound::LastStable => marks.last_stable,
            };
            let wanted = Wanted { from, limit, end: marks.end, bytes_max, min_one };
            let Some(run) = self.run(wanted, tries < TRIES_MAX)? else { continue };
            let aborted = match bound {
                Bound::LastStable => self.aborted_within(from, run.next),
                Bound::LogEnd | Bound::HighWatermark => Vec::new(),
            };
            // Retention forgets a segment's aborted transactions after it has moved the start: if the
            // start has not reached these batches by now, none of theirs was missing.
            if bound == Bound::LastStable && self.marks().start > from {
                continue;
            }
            return Ok(Read { bytes: run.bytes, next: run.next, aborted, marks });
        }
    }

    /// Whether what is there can be expected in the page cache.
    pub fn is_hot(&self, from: Offset) -> bool {
        self.segment_of(from).is_none_or(|(segment, _)| segment.is_hot(from))
    }

    /// `None` if the segments changed under the read and it should begin anew. `forgiving`: also if there are
    /// appends behind what is broken, which may have been written in that moment.
    fn run(&self, wanted: Wanted, forgiving: bool) -> Result<Option<Run>, ReadError> {
        let mut from = wanted.from;
        while from < wanted.limit {
            let Some((segment, next)) = self.segment_of(from) else { return Ok(None) };
            // A segment that reaches into the next does not answer for it.
            let limit = next.map_or(wanted.limit, |next| wanted.limit.min(next));
            let known = segment.damage();
            match segment
                .read(Wanted { from, limit, end: next.unwrap_or(wanted.end), ..wanted }, &self.shared.buffers)
            {
                Ok(Some(run)) => {
                    if self.shared.options.cache_hot_window.is_some() {
                        segment.let_go_behind(&run.place);
                    }
                    return Ok(Some(run));
                }
                // Nothing there at or behind `from`: compaction has left a gap up to the next segment, or what
                // was at the end of the log is gone.
                Ok(None) => from = next.unwrap_or(wanted.limit),
                Err(ReadError::Corrupt { position, offsets: None, .. })
                    if self.condemn(&segment, &known, position, from, next)?
                        || (forgiving && self.marks().end > wanted.end) =>
                {
                    return Ok(None);
                }
                // Deleted or replaced meanwhile: its successor answers.
                Err(_) if !self.holds(&segment) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        // A gap that reaches up to the bound is passed over; before the bound nothing is.
        Ok(Some(Run::empty(from.min(wanted.limit).max(wanted.from))))
    }

    fn aborted_within(&self, from: Offset, next: Offset) -> Vec<AbortedTxn> {
        read(&self.aborted).within(from, next)
    }
}
