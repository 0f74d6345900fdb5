//! Offsets that are missing between the segments of a log that was never compacted.
//!
//! Appends leave no gaps and compaction does. So where a log was never compacted, a segment that ends
//! before the next begins has lost records: its file was cut between two batches, or a file in the
//! middle is gone. Readers pass over the gap, since there is nothing to give them; a person is told.
//!
//! What is found beside: a segment whose batches do not fit between its name and the next one's. Readers are
//! given what is in order, and of offsets that two segments have, the later one's.
//!
//! It takes a look into every segment, so it is not done at open but behind it, by the upkeep thread.

use std::ops::Range;
use std::sync::atomic::Ordering;

use flumen_types::Offset;

use crate::error::FileError;
use crate::locks::lock;
use crate::partition::Partition;
use crate::segment::scan::ScanError;
use crate::segment::{Part, Segment};

impl Partition {
    /// Offsets that were in the log and cannot be read any more: cut out of it, or in a damaged range.
    pub fn lost(&self) -> Vec<Range<Offset>> {
        let mut lost: Vec<Range<Offset>> = lock(&self.gaps).clone();
        for segment in self.segments_now() {
            lost.extend(segment.damage().ranges().iter().map(|range| range.first..range.next));
        }
        lost.sort_unstable_by_key(|range| range.start);
        lost
    }

    /// Looks for gaps between the segments that are there, once.
    pub(crate) fn look_for_gaps(&self) -> Result<(), FileError> {
        let compacted = self.config().cleanup_policy.compact || self.cleaned_upto().is_some();
        let segments = self.segments_now();
        for pair in segments.windows(2) {
            if self.shared.stopping.load(Ordering::Relaxed) || self.is_closed() {
                return Ok(());
            }
            let next = pair[1].base();
            // Whoever reads there is told.
            let Some(mut end) = end_of(&pair[0])? else { continue };
            if does_not_fit(&pair[0], end, next)? || (end < next && !compacted) {
                // Of a batch whose offset has rotted it is known which one it was.
                let (segment, size) = (&pair[0], pair[0].size());
                while self.condemn(segment, &segment.damage(), size, segment.base(), Some(next))? {}
                end = end_of(&pair[0])?.unwrap_or(next);
            }
            if does_not_fit(&pair[0], end, next)? {
                self.note_misfit(&pair[0]);
            }
            // Retention may have taken them meanwhile.
            if end < next && next > self.marks().start && !compacted {
                tracing::error!(
                    partition = %self.tp, from = %end, upto = %next,
                    "records are missing in the middle of the log: a segment's file is gone or was cut"
                );
                let mut gaps = lock(&self.gaps);
                if !gaps.contains(&(end..next)) {
                    gaps.push(end..next);
                }
            }
        }
        Ok(())
    }

    fn note_misfit(&self, segment: &Segment) {
        let mut misfits = lock(&self.misfits);
        if !misfits.contains(&segment.base()) {
            misfits.push(segment.base());
            tracing::error!(
                segment = %segment.path(Part::Log).display(),
                "a segment's batches do not fit between its name and the next one's: was a file moved or copied here? stop the broker and run `flumen log repair`"
            );
        }
    }
}

/// Whether its batches begin before its name or, at `end`, behind the next one's.
fn does_not_fit(segment: &Segment, end: Offset, next: Offset) -> Result<bool, FileError> {
    let first = segment.first_header()?.filter(|_| segment.damage().at(0).is_none());
    Ok(end > next || first.is_some_and(|first| first.base_offset < segment.base()))
}

/// The offset behind the last batch; `None` if a broken one is in the way.
fn end_of(segment: &Segment) -> Result<Option<Offset>, FileError> {
    let file = segment.file()?;
    let mut end = segment.base();
    let mut scan = segment.scan(&*file, segment.begin_at(&*file, Offset(i64::MAX >> 1))?);
    loop {
        match scan.next_batch() {
            Ok(Some((_, batch))) => end = batch.header().next_offset(),
            Ok(None) => break,
            Err(ScanError::Broken { .. }) => return Ok(None),
            Err(ScanError::Io { source, .. }) => return Err(segment.unreadable(source)),
        }
    }
    Ok(Some(segment.damage().next_offset_at(segment.size()).unwrap_or(end).max(end)))
}
