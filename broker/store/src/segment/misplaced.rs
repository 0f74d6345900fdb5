//! Whether a batch that is whole has the offset that it was given: no CRC covers it.
//!
//! Offsets ascend, so what is around a batch bounds them, and how many it takes is covered by its CRC. A batch that
//! follows the one before it without a gap is right, one that begins before that one's end is not. Behind a gap:
//!
//! - What is behind it begins behind its last offset: nothing speaks against it. Where the log was never compacted
//!   there are no gaps, and any other offset than the right one is found out; where there are, one that rotted into
//!   a gap is not.
//! - What is behind it begins before that: one of the two has rotted. It is the one that the other leaves no room
//!   for: this one if it does not fit between the batch before it and the next, the next if it fits between this one
//!   and the one behind. Where both would, it is the one that would leave no gap; or else the one that a single bit
//!   brings back to a place of its own. Where that does not tell, it cannot be told: the earlier one is taken for
//!   the rotten one.

use std::io;
use std::ops::Range;

use flumen_records::{BatchHeader, HEADER_LEN};
use flumen_types::Offset;

use crate::files::file_system::File;
use crate::segment::scan::is_possible;
use crate::segment::{Segment, breakage};

/// A batch, where it is, and what has been read of what is behind it.
pub(crate) struct Found<'a> {
    pub(crate) file: &'a dyn File,
    pub(crate) position: u64,
    pub(crate) header: &'a BatchHeader,
    pub(crate) behind: &'a [u8],
}

impl Found<'_> {
    fn end(&self) -> u64 {
        self.position + self.header.total_len() as u64
    }
}

impl Segment {
    /// `end`: the offset behind the batch before; `bound`: that of the first record behind the segment.
    pub(crate) fn is_misplaced(
        &self,
        found: &Found<'_>,
        end: Offset,
        bound: Option<Offset>,
    ) -> io::Result<bool> {
        let header = found.header;
        if header.base_offset == end || (header.base_offset < end && found.position > 0) {
            return Ok(header.base_offset < end);
        }
        // If what comes next is broken, the bound alone counts: so whether it is does not matter.
        let within = header.base_offset > end && bound.is_none_or(|bound| header.last_offset() < bound);
        if within && self.header_behind(found)?.is_some_and(|next| next.base_offset > header.last_offset()) {
            return Ok(false);
        }
        let next = self.taken_at(found.file, found.end())?;
        let third = match &next {
            Some(next) if next.upto < self.size() => {
                self.taken_at(found.file, next.upto)?.map(|third| third.first)
            }
            _ => bound,
        };
        Ok(judge(header, end, next.as_ref(), third, bound))
    }

    /// What the next batch says of itself.
    fn header_behind(&self, found: &Found<'_>) -> io::Result<Option<BatchHeader>> {
        let at = found.end();
        if at + HEADER_LEN as u64 > self.size() || self.damage().at(at).is_some() {
            return Ok(None);
        }
        let parsed = if found.behind.len() >= HEADER_LEN {
            BatchHeader::parse(found.behind)
        } else {
            let mut bytes = [0; HEADER_LEN];
            found.file.read_exact_at(&mut bytes, at)?;
            BatchHeader::parse(&bytes)
        };
        Ok(parsed.ok().filter(is_possible))
    }

    /// What a position says of offsets: a batch that is whole, or a range that is quarantined.
    fn taken_at(&self, file: &dyn File, position: u64) -> io::Result<Option<Taken>> {
        if let Some(range) = self.damage().at(position) {
            return Ok(Some(Taken { first: range.first, next: range.next, upto: range.upto, sure: true }));
        }
        let whole = breakage::whole_at(file, position, self.size())?;
        Ok(whole.map(|header| Taken {
            first: header.base_offset,
            next: header.next_offset(),
            upto: position + header.total_len() as u64,
            sure: false,
        }))
    }
}

/// Offsets that are taken by what lies before a position.
struct Taken {
    first: Offset,
    next: Offset,
    upto: u64,
    /// It is not what has rotted.
    sure: bool,
}

/// A batch behind a gap, or the first of a segment and before it; `next`: what follows in it, `third`: the offset of
/// what follows that, be it in the segment or behind.
fn judge(
    header: &BatchHeader,
    end: Offset,
    next: Option<&Taken>,
    third: Option<Offset>,
    bound: Option<Offset>,
) -> bool {
    let third = third.filter(|third| *third >= end);
    match next {
        // If neither fits, it is another segment's file that has this one's name.
        _ if header.base_offset < end => next.is_some_and(|next| next.first >= end),
        None => bound.is_some_and(|bound| header.last_offset() >= bound),
        Some(next) if next.first > header.last_offset() => false,
        Some(next) if next.first < end => third.is_some_and(|third| header.last_offset() >= third),
        Some(next) if next.sure => true,
        Some(next) => is_earlier_rotten(header, end, next, third),
    }
}

/// Of two that contradict each other, and of which each could follow `end`.
fn is_earlier_rotten(header: &BatchHeader, end: Offset, next: &Taken, third: Option<Offset>) -> bool {
    // Where each would have to begin if the other is right.
    let earlier = end..next.first.plus(1 - header.next_offset().since(header.base_offset));
    let upto = third.map_or(Offset(i64::MAX), |third| third.plus(1 - next.next.since(next.first)));
    let later = header.next_offset()..upto;
    match (places(&earlier), places(&later)) {
        (_, ..=0) => true,
        (..=0, _) => false,
        (1, _) => true,
        (_, 1) => false,
        _ => is_a_bit_from(header.base_offset, &earlier) || !is_a_bit_from(next.first, &later),
    }
}

fn places(within: &Range<Offset>) -> i64 {
    within.end.since(within.start)
}

fn is_a_bit_from(offset: Offset, places: &Range<Offset>) -> bool {
    (0..63).any(|bit| places.contains(&Offset(offset.0 ^ (1 << bit))))
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, Compression, NewRecord, assign};
    use flumen_types::LeaderEpoch;

    use super::*;

    fn header(offset: i64) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord { value: Some(b"v"), ..NewRecord::default() });
        let mut bytes = builder.build().unwrap().to_vec();
        assign(&mut bytes, Offset(offset), LeaderEpoch(0));
        BatchHeader::parse(&bytes).unwrap()
    }

    fn taken(first: i64, sure: bool) -> Taken {
        Taken { first: Offset(first), next: Offset(first + 1), upto: 0, sure }
    }

    /// Of one record, behind offset 9; with the batch behind it, the last of its segment.
    fn judged(offset: i64, next: Option<i64>, bound: Option<i64>) -> bool {
        let (next, bound) = (next.map(|next| taken(next, false)), bound.map(Offset));
        judge(&header(offset), Offset(10), next.as_ref(), bound, bound)
    }

    #[test]
    fn the_batches_around_one_tell_whether_it_is_where_it_belongs() {
        assert!(judged(5000, Some(11), None) && judged(11, Some(11), Some(12)));
        assert!(judged(3, Some(11), Some(20)));
        assert!(judged(5000, None, Some(20)));
        assert!(!judged(12, Some(15), Some(20)), "compaction leaves gaps");
        assert!(!judged(3, Some(4), Some(20)), "a file under another's name");
        assert!(!judged(30, Some(31), Some(20)), "the same");
        assert!(!judged(12, Some(4), None), "what follows is not where it belongs");
        assert!(judged(30, Some(4), Some(20)), "nor is what is behind what follows there");
        assert!(!judged(12, None, None));
    }

    #[test]
    fn of_two_that_contradict_each_other_the_one_that_has_no_room_has_rotted() {
        assert!(!judged(12, Some(10), Some(20)), "nothing was between 9 and 10");
        assert!(!judged(12, Some(10), None));
        assert!(judged(18, Some(16), Some(19)), "nothing is between 18 and 19");
        assert!(judged(16, Some(10), Some(17)), "neither has");
        assert!(judged(5000, Some(11), Some(9000)), "it was 10, and there was no gap");
        assert!(!judged(30, Some(20), Some(32)), "it was 31, the same");
    }

    #[test]
    fn where_both_have_room_a_bit_tells_or_nothing_does() {
        // 20 was 8212; no bit brings 8190 to what is left before 20.
        assert!(!judged(8190, Some(20), Some(9000)));
        // 5000 was 904; no bit brings 1004 behind it and before 5050.
        assert!(judged(5000, Some(1004), Some(5050)));
        // 48 was 16, or 44 was 60 or 108.
        assert!(judged(48, Some(44), Some(200)), "taken for it");
    }

    #[test]
    fn what_is_quarantined_was_where_it_is_said_to_be() {
        assert!(judge(&header(12), Offset(10), Some(&taken(10, true)), None, None));
        assert!(!judge(&header(12), Offset(10), Some(&taken(13, true)), None, None));
    }
}
