//! What becomes of a batch that a reader, or the cleaner, finds damaged.
//!
//! Everything in a log was whole and in order when it was written, so it has rotted, or somebody wrote into the
//! file. Its range is quarantined (`segment::damage`): said once, refused from then on, and what lies behind
//! it can be read.

use std::sync::Arc;

use flumen_records::{BatchHeader, Check};
use flumen_types::Offset;

use crate::error::FileError;
use crate::files::file_system::File;
use crate::locks::{lock, read};
use crate::partition::Partition;
use crate::segment::Segment;
use crate::segment::breakage;
use crate::segment::damage::{Damage, Damaged};
use crate::segment::misplaced::Found;
use crate::segment::scan::ScanError;

impl Partition {
    /// Quarantines what is broken at a position, or on the way there from where the index says that `from` is;
    /// `next`: the base of the segment behind this one, `known`: what of it was known to be damaged. True if more
    /// is known now; false if nothing is wrong there after all, or the segment is not the log's any more.
    pub(crate) fn condemn(
        &self,
        segment: &Arc<Segment>,
        known: &Damage,
        position: u64,
        from: Offset,
        next: Option<Offset>,
    ) -> Result<bool, FileError> {
        let _one = lock(&self.condemning);
        if !self.holds(segment) {
            return Ok(false);
        }
        if segment.damage() != *known {
            return Ok(true);
        }
        // Together: what is appended meanwhile lies behind both.
        let (size, end) = {
            let writer = self.writer();
            (segment.size(), next.unwrap_or(writer.end))
        };
        let file = segment.file()?;
        let way = Way { segment, file: &*file, position, end };
        let Some((position, from)) = way.first_broken(from)? else { return Ok(false) };
        let reach = i64::from(i32::MAX);
        let follows = |header: &BatchHeader| {
            header.last_offset() >= from
                && header.next_offset() <= end
                && header.last_offset().since(segment.base()) <= reach
        };
        let found = breakage::examine(&*file, position, size, &follows, true)
            .map_err(|source| segment.unreadable(source))?;
        let next = found.next.map_or(end, |header| header.base_offset);
        segment.quarantine(Damaged { position, upto: found.upto, first: from.min(next), next })?;
        Ok(true)
    }

    /// Whether it is a segment of the log, neither dropped nor replaced.
    pub(crate) fn holds(&self, segment: &Arc<Segment>) -> bool {
        read(&self.segments).get(&segment.base()).is_some_and(|now| Arc::ptr_eq(now, segment))
    }
}

/// The way to a position, in a segment that ends before an offset. Whoever went there went by headers, and one that has
/// rotted points into another batch.
struct Way<'a> {
    segment: &'a Segment,
    file: &'a dyn File,
    position: u64,
    end: Offset,
}

impl Way<'_> {
    /// Where the first batch on the way is broken or not where it belongs, the position with it; and the offset
    /// behind the last batch before.
    fn first_broken(&self, from: Offset) -> Result<Option<(u64, Offset)>, FileError> {
        let begin = self.segment.begin_at(self.file, from)?;
        if begin > 0
            && let Some((at, Some(end))) = self.walk(begin, None)?
        {
            return Ok(Some((at, end)));
        }
        // It is the first there, or seems right: what was before only the way from the front tells.
        let base = self.segment.base();
        Ok(self.walk(0, Some(base))?.map(|(at, end)| (at, end.unwrap_or(base))))
    }

    fn walk(&self, begin: u64, end: Option<Offset>) -> Result<Option<(u64, Option<Offset>)>, FileError> {
        let (segment, damage) = (self.segment, self.segment.damage());
        let (mut end, mut scan) = (end, segment.scan(self.file, begin));
        loop {
            let (at, batch) = match scan.next_batch() {
                Ok(Some((at, _))) if at > self.position => return Ok(None),
                Ok(Some(found)) => found,
                Ok(None) => return Ok(None),
                Err(ScanError::Broken { position, .. }) => {
                    return Ok(Some((position.min(self.position), end)));
                }
                Err(ScanError::Io { source, .. }) => return Err(segment.unreadable(source)),
            };
            let header = batch.header();
            end = damage.next_offset_behind(at).or(end);
            if Check::BatchBehind.verify(&batch).is_err()
                || self.is_misplaced(&scan.found(at, header), end)?
            {
                return Ok(Some((at, end)));
            }
            end = Some(header.next_offset());
        }
    }

    fn is_misplaced(&self, found: &Found<'_>, end: Option<Offset>) -> Result<bool, FileError> {
        let Some(end) = end else { return Ok(false) };
        let misplaced = self.segment.is_misplaced(found, end, Some(self.end));
        misplaced.map_err(|source| self.segment.unreadable(source))
    }
}
