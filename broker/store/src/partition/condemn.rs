//! What becomes of a batch that a reader, or the cleaner, finds damaged.
//!
//! Everything in a log was whole when it was written, so it has rotted, or somebody wrote into the
//! file. Its range is quarantined (`segment::damage`): said once, refused from then on, and what lies behind
//! it can be read.

use flumen_records::BatchHeader;
use flumen_types::Offset;

use crate::error::FileError;
use crate::partition::Partition;
use crate::segment::Segment;
use crate::segment::breakage;
use crate::segment::damage::Damaged;

impl Partition {
    /// Quarantines what is broken at a position. `from`: no offset before it is in there; `next`: the
    /// base of the segment behind this one. False if nothing is wrong there after all.
    pub(crate) fn condemn(
        &self,
        segment: &Segment,
        position: u64,
        from: Offset,
        next: Option<Offset>,
    ) -> Result<bool, FileError> {
        let read = |source| segment.unreadable(source);
        // Together: what is appended meanwhile lies behind both.
        let (size, end) = {
            let writer = self.writer();
            (segment.size(), next.unwrap_or(writer.end))
        };
        let file = segment.file()?;
        if breakage::whole_at(&*file, position, size).map_err(read)?.is_some() {
            return Ok(false);
        }
        let reach = i64::from(i32::MAX);
        let follows = |header: &BatchHeader| {
            header.last_offset() >= from
                && header.next_offset() <= end
                && header.last_offset().since(segment.base()) <= reach
        };
        let found = breakage::examine(&*file, position, size, &follows, true).map_err(read)?;
        let next = found.next.map_or(end, |header| header.base_offset);
        segment.quarantine(Damaged { position, upto: found.upto, first: from.min(next), next })?;
        Ok(true)
    }
}
