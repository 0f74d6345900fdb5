//! Which segments at the front of a log are to go.
//!
//! Oldest first, and only from the front. By time: its largest timestamp lies further back than
//! `retention.ms`. By size: the log without it is still as large as `retention.bytes`. By start: all of
//! it lies below the log start offset. The active segment can expire; then it is to be rolled first.

use flumen_types::{Offset, Timestamp};

use crate::config::TopicConfig;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentFacts {
    pub base: Offset,
    /// The offset behind its last record.
    pub next: Offset,
    pub size: u64,
    /// `None`: no record in it has one; then the file's own age stands in for it.
    pub largest_timestamp: Option<Timestamp>,
    pub modified: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// So many segments, from the oldest on.
    pub drop: usize,
    /// The active segment is among them: open a new one first.
    pub roll: bool,
}

/// `segments`: oldest first, the active one last. Nothing at or past `high_watermark` goes.
pub fn plan(
    segments: &[SegmentFacts],
    config: &TopicConfig,
    start: Offset,
    high_watermark: Offset,
    now: Timestamp,
) -> Plan {
    let total: u64 = segments.iter().map(|segment| segment.size).sum();
    let mut excess = match u64::try_from(config.retention_bytes) {
        Ok(limit) if config.cleanup_policy.delete => total.saturating_sub(limit),
        _ => 0,
    };
    let mut plan = Plan::default();
    for (i, segment) in segments.iter().enumerate() {
        let active = i + 1 == segments.len();
        if segment.next > high_watermark || (active && segment.size == 0) {
            break;
        }
        let below_start = segment.next <= start && !active;
        // What compaction has emptied is as young as its file, and nothing in it waits for its time.
        let emptied = segment.size == 0 && !active;
        let old = config.cleanup_policy.delete && (emptied || expired(segment, config, now));
        let too_much = excess > 0 && excess >= segment.size;
        if !(below_start || old || too_much) {
            break;
        }
        excess = excess.saturating_sub(segment.size);
        plan.drop = i + 1;
        plan.roll = active;
    }
    plan
}

fn expired(segment: &SegmentFacts, config: &TopicConfig, now: Timestamp) -> bool {
    let newest = segment.largest_timestamp.unwrap_or(segment.modified);
    config.retention.0 >= 0 && now.since(newest) > config.retention.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Texts;

    const NOW: Timestamp = Timestamp(1_000_000);

    /// Three sealed segments and the active one, 100 bytes and ten records each, a second apart.
    fn log() -> Vec<SegmentFacts> {
        (0..4)
            .map(|i| SegmentFacts {
                base: Offset(i * 10),
                next: Offset(i * 10 + 10),
                size: 100,
                largest_timestamp: Some(Timestamp(NOW.0 - 4000 + i * 1000)),
                modified: NOW,
            })
            .collect()
    }

    fn planned(pairs: &[(&str, &str)], start: i64, high_watermark: i64) -> (usize, bool) {
        let texts: Texts = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        let config = TopicConfig::resolve(&texts, &Texts::new()).unwrap();
        let plan = plan(&log(), &config, Offset(start), Offset(high_watermark), NOW);
        (plan.drop, plan.roll)
    }

    #[test]
    fn the_old_go_by_their_largest_timestamp() {
        assert_eq!(planned(&[("retention.ms", "2500")], 0, 40), (2, false));
        assert_eq!(planned(&[("retention.ms", "10s")], 0, 40), (0, false));
        assert_eq!(planned(&[("retention.ms", "-1")], 0, 40), (0, false));
    }

    #[test]
    fn the_active_segment_can_expire_and_is_rolled_first() {
        assert_eq!(planned(&[("retention.ms", "10")], 0, 40), (4, true));
    }

    #[test]
    fn size_drops_whole_segments_while_the_excess_covers_them() {
        assert_eq!(planned(&[("retention.bytes", "200")], 0, 40), (2, false));
        assert_eq!(planned(&[("retention.bytes", "250")], 0, 40), (1, false));
        assert_eq!(planned(&[("retention.bytes", "350")], 0, 40), (0, false));
        assert_eq!(planned(&[("retention.bytes", "0")], 0, 40), (4, true));
    }

    #[test]
    fn what_lies_below_the_start_goes_even_from_a_compacted_log() {
        let compact = [("cleanup.policy", "compact"), ("retention.ms", "10"), ("retention.bytes", "0")];
        assert_eq!(planned(&compact, 25, 40), (2, false));
        assert_eq!(planned(&compact, 0, 40), (0, false));
    }

    #[test]
    fn what_compaction_has_emptied_does_not_hold_up_what_lies_behind_it() {
        let mut log = log();
        log[0] = SegmentFacts { size: 0, largest_timestamp: None, modified: NOW, ..log[0] };
        let texts: Texts = [("retention.ms".into(), "2500".into())].into();
        let config = TopicConfig::resolve(&texts, &Texts::new()).unwrap();
        assert_eq!(plan(&log, &config, Offset(0), Offset(40), NOW).drop, 2);
    }

    #[test]
    fn nothing_past_the_high_watermark_goes() {
        assert_eq!(planned(&[("retention.ms", "10")], 0, 25), (2, false));
    }
}
