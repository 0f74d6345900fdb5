//! Whether a batch that is whole has the offset that it was given: no CRC covers it.
//!
//! Offsets ascend, so what is around a batch bounds them. Where the log was never compacted there are no gaps, and
//! any other offset than the right one is found out. Where there are, one that rotted into a gap is not.

use std::io;

use flumen_records::BatchHeader;
use flumen_types::Offset;

use crate::files::file_system::File;
use crate::segment::{Segment, breakage};

impl Segment {
    /// `end`: the offset behind the batch before; `bound`: that of the first record behind the segment.
    pub(crate) fn is_misplaced(
        &self,
        file: &dyn File,
        position: u64,
        header: &BatchHeader,
        end: Offset,
        bound: Option<Offset>,
    ) -> io::Result<bool> {
        if header.base_offset == end || (header.base_offset < end && position > 0) {
            return Ok(header.base_offset < end);
        }
        let behind = position + header.total_len() as u64;
        let next = match self.damage().at(behind) {
            Some(range) => Some(range.first),
            None => breakage::whole_at(file, behind, self.size())?.map(|header| header.base_offset),
        };
        Ok(judge(header, end, next, bound))
    }
}

/// A batch behind a gap, or the first of a segment and before it; `next`: the offset of what follows in it.
fn judge(header: &BatchHeader, end: Offset, next: Option<Offset>, bound: Option<Offset>) -> bool {
    match next {
        // If neither fits, it is another segment's file that has this one's name.
        _ if header.base_offset < end => next.is_some_and(|next| next >= end),
        Some(next) => next >= end && header.last_offset() >= next,
        None => bound.is_some_and(|bound| header.last_offset() >= bound),
    }
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, Compression, NewRecord, assign};
    use flumen_types::LeaderEpoch;

    use super::*;

    fn judged(offset: i64, next: Option<i64>, bound: Option<i64>) -> bool {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord { value: Some(b"v"), ..NewRecord::default() });
        let mut bytes = builder.build().unwrap().to_vec();
        assign(&mut bytes, Offset(offset), LeaderEpoch(0));
        judge(&BatchHeader::parse(&bytes).unwrap(), Offset(10), next.map(Offset), bound.map(Offset))
    }

    #[test]
    fn the_batches_around_one_tell_whether_it_is_where_it_belongs() {
        assert!(judged(5000, Some(11), None) && judged(11, Some(11), Some(20)));
        assert!(judged(3, Some(11), Some(20)));
        assert!(judged(5000, None, Some(20)));
        assert!(!judged(12, Some(15), Some(20)), "compaction leaves gaps");
        assert!(!judged(3, Some(4), Some(20)), "a file under another's name");
        assert!(!judged(30, Some(31), Some(20)), "the same");
        assert!(!judged(12, Some(4), None), "what follows is not where it belongs");
        assert!(!judged(12, None, None));
    }
}
