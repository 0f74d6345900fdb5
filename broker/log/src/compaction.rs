//! When a log is compacted, how far, and in which groups its segments are rewritten.
//!
//! ```text
//! start ......... first dirty ............ to ............ active base ... end
//!       clean                  cleanable       not yet
//! ```

use std::cmp::Ordering;
use std::ops::Range;
use std::time::Duration;

use flumen_types::{Offset, Timestamp};

use crate::config::TopicConfig;
use crate::retention::SegmentFacts;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dirt {
    /// Where keys are read from for the map.
    pub from: Offset,
    /// Nothing at or past this is touched.
    pub to: Offset,
    pub clean_bytes: u64,
    pub cleanable_bytes: u64,
    /// The oldest dirty record has waited for longer than `max.compaction.lag.ms`.
    pub overdue: bool,
}

impl Dirt {
    pub fn ratio(&self) -> f64 {
        match self.clean_bytes + self.cleanable_bytes {
            0 => 0.0,
            total => self.cleanable_bytes as f64 / total as f64,
        }
    }

    /// Whether it is time.
    pub fn due(&self, config: &TopicConfig) -> bool {
        let anything = self.from < self.to && self.cleanable_bytes > 0;
        anything && (self.overdue || self.ratio() > config.min_cleanable_dirty_ratio)
    }

    /// Whose turn is first: what is overdue, then what is dirtier.
    pub fn urgency(&self, other: &Dirt) -> Ordering {
        other.overdue.cmp(&self.overdue).then(other.ratio().total_cmp(&self.ratio()))
    }
}

/// `segments`: oldest first, the active one last. `start`: the log's; `cleaned`: up to where it was compacted;
/// `first_timestamp`: the earliest of the first batches of its dirty segments.
pub fn survey(
    segments: &[SegmentFacts],
    Reached { start, cleaned, last_stable }: Reached,
    first_timestamp: Option<Timestamp>,
    config: &TopicConfig,
    now: Timestamp,
) -> Dirt {
    let Some((active, sealed)) = segments.split_last() else {
        return Dirt { from: start, to: start, ..Dirt::default() };
    };
    let from = first_dirty(start, cleaned, active.next);
    let young = |segment: &SegmentFacts| {
        let newest = segment.largest_timestamp.unwrap_or(segment.modified);
        let waits = config.min_compaction_lag.0 > 0 && segment.size > 0;
        waits && now.since(newest) < config.min_compaction_lag.0
    };
    // Segments are rewritten whole: the first with something untouchable in it ends what is cleaned.
    let untouchable =
        |segment: &&SegmentFacts| segment.next > from && (segment.next > last_stable || young(segment));
    let to = sealed.iter().find(untouchable).unwrap_or(active).base;
    let bytes = |of: &dyn Fn(&SegmentFacts) -> bool| -> u64 {
        sealed.iter().filter(|segment| of(segment)).map(|segment| segment.size).sum()
    };
    Dirt {
        from,
        to,
        // A segment that is clean in part counts on both sides, as in Kafka.
        clean_bytes: bytes(&|segment| segment.base < from),
        cleanable_bytes: bytes(&|segment| segment.next > from && segment.base < to),
        overdue: first_timestamp.is_some_and(|first| now.since(first) > config.max_compaction_lag.0),
    }
}

/// When a partition whose compaction has failed so many times in a row is tried again: later each time, lest it
/// keep a cleaner from the others.
pub fn retry_after(failures: u32, backoff: Duration) -> Duration {
    let doubled = 2_u32.saturating_pow(failures.saturating_sub(1));
    backoff.saturating_mul(doubled).min(RETRY_MAX).max(backoff)
}

const RETRY_MAX: Duration = Duration::from_secs(3600);

/// What is known of a log beside its segments.
#[derive(Clone, Copy, Debug)]
pub struct Reached {
    pub start: Offset,
    pub cleaned: Option<Offset>,
    pub last_stable: Offset,
}

/// Where the dirty part begins. A checkpoint outside of the log tells nothing.
pub fn first_dirty(start: Offset, cleaned: Option<Offset>, end: Offset) -> Offset {
    cleaned.filter(|cleaned| (start..=end).contains(cleaned)).unwrap_or(start)
}

/// A segment as the grouping sees it.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    pub base: Offset,
    pub next: Offset,
    pub size: u64,
    pub index_bytes: u64,
    pub time_index_bytes: u64,
    /// Something in it cannot be read. Rewritten without what is lost it would look whole, so it stays as it
    /// is, and so do the older records whose keys may be in what is lost.
    pub damaged: bool,
}

/// What is done with neighbouring segments, by their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// They become one.
    Rewrite(Range<usize>),
    /// A damaged one.
    Leave(usize),
}

/// Runs of neighbouring segments that are rewritten into one each, so that compaction does not leave
/// ever smaller files. `pieces`: oldest first, all that begin before the end of the map; also the one
/// in which the map ended, or its old values before that end would never be looked at again.
pub fn groups(pieces: &[Piece], config: &TopicConfig) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut start = 0;
    while start < pieces.len() {
        if pieces[start].damaged {
            groups.push(Group::Leave(start));
            start += 1;
            continue;
        }
        let end = group_end(pieces, start, config);
        groups.push(Group::Rewrite(start..end));
        start = end;
    }
    groups
}

fn group_end(pieces: &[Piece], start: usize, config: &TopicConfig) -> usize {
    let mut sum = pieces[start];
    for (i, piece) in pieces.iter().enumerate().skip(start + 1) {
        sum.size += piece.size;
        sum.index_bytes += piece.index_bytes;
        sum.time_index_bytes += piece.time_index_bytes;
        let too_large = sum.size > config.segment_bytes
            || sum.index_bytes > config.segment_index_bytes
            || sum.time_index_bytes > config.segment_index_bytes;
        let last = piece.next.0 - 1;
        let too_far = piece.size > 0 && last - sum.base.0 > i64::from(i32::MAX);
        if piece.damaged || too_large || too_far {
            return i;
        }
    }
    pieces.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Texts;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn log() -> Vec<SegmentFacts> {
        (0..5)
            .map(|i| SegmentFacts {
                base: Offset(i * 10),
                next: Offset(i * 10 + 10),
                size: 100,
                largest_timestamp: Some(Timestamp(NOW.0 - 5000 + i * 1000)),
                modified: NOW,
            })
            .collect()
    }

    fn config(pairs: &[(&str, &str)]) -> TopicConfig {
        let texts: Texts = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        TopicConfig::resolve(&texts, &Texts::new()).unwrap()
    }

    /// The log, cleaned up to an offset; everything is stable before another.
    fn surveyed(cleaned: i64, last_stable: i64, config: &TopicConfig, first: Option<i64>) -> Dirt {
        let cleaned = Some(Offset(cleaned));
        let reached = Reached { start: Offset::ZERO, cleaned, last_stable: Offset(last_stable) };
        survey(&log(), reached, first.map(|ago| Timestamp(NOW.0 - ago)), config, NOW)
    }

    #[test]
    fn a_log_is_due_when_its_dirty_part_is_large_enough() {
        let dirt = |from| surveyed(from, 50, &config(&[]), None);
        assert_eq!((dirt(0).clean_bytes, dirt(0).cleanable_bytes, dirt(0).to), (0, 400, Offset(40)));
        assert!(dirt(0).due(&config(&[])) && dirt(10).due(&config(&[])));
        assert!(!dirt(20).due(&config(&[])), "half is not more than half");
        assert!(dirt(20).due(&config(&[("min.cleanable.dirty.ratio", "0.4")])));
        assert!(!dirt(40).due(&config(&[("min.cleanable.dirty.ratio", "0")])), "nothing is dirty");
    }

    #[test]
    fn what_has_waited_too_long_is_due_whatever_the_ratio() {
        let config = config(&[("max.compaction.lag.ms", "3000")]);
        let dirt = |first| surveyed(30, 50, &config, Some(first));
        assert!(dirt(3001).due(&config));
        assert!(!dirt(3000).due(&config));
    }

    #[test]
    fn the_overdue_come_first_and_then_the_dirtiest() {
        let dirt =
            |cleanable_bytes, overdue| Dirt { clean_bytes: 100, cleanable_bytes, overdue, ..Dirt::default() };
        let mut all = [dirt(50, false), dirt(10, true), dirt(200, false), dirt(20, true)];
        all.sort_by(Dirt::urgency);
        assert_eq!(all.map(|dirt| dirt.cleanable_bytes), [20, 10, 200, 50]);
    }

    #[test]
    fn who_fails_again_waits_longer_and_not_for_ever() {
        let after = |failures| retry_after(failures, Duration::from_secs(15)).as_secs();
        assert_eq!([1, 2, 3, 9, 40, u32::MAX].map(after), [15, 30, 60, 3600, 3600, 3600]);
        assert_eq!(retry_after(3, Duration::from_secs(7200)), Duration::from_secs(7200));
    }

    #[test]
    fn open_transactions_and_the_young_are_left_alone() {
        let open = surveyed(0, 25, &config(&[]), None);
        assert_eq!((open.to, open.cleanable_bytes), (Offset(20), 200), "whole segments only");
        let lag = config(&[("min.compaction.lag.ms", "3500")]);
        assert_eq!(surveyed(0, 50, &lag, None).to, Offset(20));
    }

    #[test]
    fn a_segment_that_is_clean_in_part_counts_on_both_sides() {
        let dirt = surveyed(15, 50, &config(&[]), None);
        assert_eq!((dirt.clean_bytes, dirt.cleanable_bytes), (200, 300));
    }

    #[test]
    fn a_checkpoint_outside_of_the_log_is_not_believed() {
        let from = |cleaned| first_dirty(Offset(10), Some(Offset(cleaned)), Offset(50)).0;
        assert_eq!([3, 51, 20, 50].map(from), [10, 10, 20, 50]);
        assert_eq!(first_dirty(Offset(10), None, Offset(50)), Offset(10));
    }

    fn pieces(count: i64) -> Vec<Piece> {
        let piece = |i| Piece {
            base: Offset(i * 10),
            next: Offset(i * 10 + 10),
            size: 100,
            index_bytes: 8,
            time_index_bytes: 12,
            damaged: false,
        };
        (0..count).map(piece).collect()
    }

    fn rewrites(pieces: &[Piece], pairs: &[(&str, &str)]) -> Vec<(usize, usize)> {
        let ranges = groups(pieces, &config(pairs)).into_iter().map(|group| match group {
            Group::Rewrite(range) => (range.start, range.end),
            Group::Leave(at) => (at, at),
        });
        ranges.collect()
    }

    #[test]
    fn small_neighbours_are_joined() {
        let four = pieces(4);
        assert_eq!(rewrites(&four, &[("internal.segment.bytes", "250")]), [(0, 2), (2, 4)]);
        assert_eq!(rewrites(&four, &[("internal.segment.bytes", "50")]), [(0, 1), (1, 2), (2, 3), (3, 4)]);
        assert_eq!(rewrites(&four, &[("segment.index.bytes", "36")]), [(0, 3), (3, 4)]);
        assert_eq!(rewrites(&four, &[]), [(0, 4)]);
        assert!(groups(&[], &config(&[])).is_empty());
    }

    #[test]
    fn what_is_joined_fits_into_relative_offsets() {
        let mut far = pieces(2);
        far[1].next = Offset(i64::from(i32::MAX) + 1);
        assert_eq!(rewrites(&far, &[]), [(0, 2)]);
        far[1].next = far[1].next.next();
        assert_eq!(rewrites(&far, &[]), [(0, 1), (1, 2)]);
        far[1].size = 0;
        assert_eq!(rewrites(&far, &[]), [(0, 2)]);
    }

    #[test]
    fn a_damaged_segment_is_left_alone_and_what_lies_behind_it_is_not() {
        let mut some = pieces(4);
        some[1].damaged = true;
        assert_eq!(rewrites(&some, &[]), [(0, 1), (1, 1), (2, 4)]);
    }
}
