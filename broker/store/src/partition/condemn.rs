//! What becomes of a batch that a reader, or the cleaner, finds damaged.
//!
//! Everything in a log was whole when it was written, so it has rotted, or somebody wrote into the
//! file. Its range is quarantined (`segment::damage`): said once, refused from then on, and what lies behind
//! it can be read.

use flumen_records::{BatchHeader, Check};
use flumen_types::Offset;

use crate::error::FileError;
use crate::files::file_system::File;
use crate::partition::Partition;
use crate::segment::Segment;
use crate::segment::breakage;
use crate::segment::damage::Damaged;
use crate::segment::scan::ScanError;

impl Partition {
    /// Quarantines what is broken at a position, or on the way there from where the index says that `from` is;
    /// `next`: the base of the segment behind this one. False if nothing is wrong there after all.
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
        let (position, from) = first_broken(segment, &*file, position, from)?;
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

/// Where the first batch on the way to a position is broken, or that position; and the offset behind the last
/// batch before. Whoever went there went by headers, and one that has rotted points into another batch.
fn first_broken(
    segment: &Segment,
    file: &dyn File,
    position: u64,
    from: Offset,
) -> Result<(u64, Offset), FileError> {
    let begin = segment.begin_at(file, from)?;
    match walk(segment, file, begin, position)? {
        (at, Some(end)) => Ok((at, end)),
        // It is the first there: what was before only the way from the front tells.
        (_, None) => {
            let (at, end) = walk(segment, file, 0, position)?;
            Ok((at, end.unwrap_or(segment.base())))
        }
    }
}

fn walk(
    segment: &Segment,
    file: &dyn File,
    begin: u64,
    position: u64,
) -> Result<(u64, Option<Offset>), FileError> {
    let (mut end, mut scan) = (None, segment.scan(file, begin));
    loop {
        match scan.next_batch() {
            Ok(Some((at, _))) if at >= position => return Ok((position, end)),
            Ok(Some((_, batch))) if Check::BatchBehind.verify(&batch).is_ok() => {
                end = Some(batch.header().next_offset());
            }
            Ok(Some((at, _))) => return Ok((at, end)),
            Ok(None) => return Ok((position, end)),
            Err(ScanError::Broken { position: at, .. }) => return Ok((at.min(position), end)),
            Err(ScanError::Io { source, .. }) => return Err(segment.unreadable(source)),
        }
    }
}
