//! When a log is compacted, how far, and in which groups its segments are rewritten.
//!
//! ```text
//! start ......... first dirty ............ to ............ active base ... end
//!       clean                  cleanable       not yet
//! ```

use std::ops::Range;

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
}

/// `segments`: oldest first, the active one last. `first_dirty`: as the cleaner left it;
/// `first_dirty_timestamp`: of the first batch behind it.
pub fn survey(
    segments: &[SegmentFacts],
    first_dirty: Offset,
    first_dirty_timestamp: Option<Timestamp>,
    last_stable: Offset,
    config: &TopicConfig,
    now: Timestamp,
) -> Dirt {
    let Some((active, sealed)) = segments.split_last() else {
        return Dirt { from: first_dirty, to: first_dirty, ..Dirt::default() };
    };
    // A checkpoint outside of the log tells nothing.
    let from = if first_dirty > active.next { segments[0].base } else { first_dirty.max(segments[0].base) };
    let young = |segment: &SegmentFacts| {
        let newest = segment.largest_timestamp.unwrap_or(segment.modified);
        config.min_compaction_lag.0 > 0 && now.since(newest) < config.min_compaction_lag.0
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
        clean_bytes: bytes(&|segment| segment.next <= from),
        cleanable_bytes: bytes(&|segment| segment.next > from && segment.base < to),
        overdue: first_dirty_timestamp.is_some_and(|first| now.since(first) > config.max_compaction_lag.0),
    }
}

/// Runs of neighbouring segments that are rewritten into one each, so that compaction does not leave
/// ever smaller files. `segments`: oldest first, all that begin before the end of the map; also the one
/// in which the map ended, or its old values before that end would never be looked at again.
pub fn groups(segments: &[SegmentFacts], config: &TopicConfig) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    let mut size = 0;
    for (i, segment) in segments.iter().enumerate() {
        let too_large = size + segment.size > config.segment_bytes;
        let too_far = segment.next.since(segments[start].base) > i64::from(i32::MAX);
        if i > start && (too_large || too_far) {
            groups.push(start..i);
            (start, size) = (i, 0);
        }
        size += segment.size;
    }
    if start < segments.len() {
        groups.push(start..segments.len());
    }
    groups
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

    #[test]
    fn a_log_is_due_when_its_dirty_part_is_large_enough() {
        let dirt = |from| survey(&log(), Offset(from), None, Offset(50), &config(&[]), NOW);
        assert_eq!((dirt(0).clean_bytes, dirt(0).cleanable_bytes, dirt(0).to), (0, 400, Offset(40)));
        assert!(dirt(0).due(&config(&[])) && dirt(10).due(&config(&[])));
        assert!(!dirt(20).due(&config(&[])), "half is not more than half");
        assert!(dirt(20).due(&config(&[("min.cleanable.dirty.ratio", "0.4")])));
        assert!(!dirt(40).due(&config(&[("min.cleanable.dirty.ratio", "0")])), "nothing is dirty");
    }

    #[test]
    fn what_has_waited_too_long_is_due_whatever_the_ratio() {
        let config = config(&[("max.compaction.lag.ms", "3000")]);
        let dirt =
            |first| survey(&log(), Offset(30), Some(Timestamp(NOW.0 - first)), Offset(50), &config, NOW);
        assert!(dirt(3001).due(&config));
        assert!(!dirt(3000).due(&config));
    }

    #[test]
    fn open_transactions_and_the_young_are_left_alone() {
        let open = survey(&log(), Offset(0), None, Offset(25), &config(&[]), NOW);
        assert_eq!((open.to, open.cleanable_bytes), (Offset(20), 200), "whole segments only");
        let lag = config(&[("min.compaction.lag.ms", "3500")]);
        assert_eq!(survey(&log(), Offset(0), None, Offset(50), &lag, NOW).to, Offset(20));
    }

    #[test]
    fn a_segment_that_is_clean_in_part_counts_as_dirty() {
        let dirt = survey(&log(), Offset(15), None, Offset(50), &config(&[]), NOW);
        assert_eq!((dirt.clean_bytes, dirt.cleanable_bytes), (100, 300));
    }

    #[test]
    fn a_checkpoint_outside_of_the_log_is_not_believed() {
        let dirt = |from| survey(&log()[1..], Offset(from), None, Offset(50), &config(&[]), NOW).from;
        assert_eq!((dirt(3), dirt(51), dirt(20)), (Offset(10), Offset(10), Offset(20)));
    }

    #[test]
    fn small_neighbours_are_joined() {
        let groups = |count, pairs: &[_]| -> Vec<(usize, usize)> {
            let groups = groups(&log()[..count], &config(pairs));
            groups.into_iter().map(|group| (group.start, group.end)).collect()
        };
        assert_eq!(groups(4, &[("internal.segment.bytes", "250")]), [(0, 2), (2, 4)]);
        assert_eq!(groups(4, &[("internal.segment.bytes", "50")]), [(0, 1), (1, 2), (2, 3), (3, 4)]);
        assert_eq!(groups(4, &[]), [(0, 4)]);
        assert!(groups(0, &[]).is_empty());
    }
}
