//! Carries the store's news of partitions to those who wait for them.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use flumen_store::Events;
use flumen_types::TopicPartition;
use tokio::sync::watch;

use crate::partition_log::Marks;

/// One watch for each open partition, told by the store's threads.
#[derive(Default)]
pub(crate) struct Watches {
    senders: RwLock<HashMap<TopicPartition, watch::Sender<Marks>>>,
}

impl Watches {
    /// The watch of a partition, brought up to what the partition says now.
    pub(crate) fn open(&self, tp: &TopicPartition, now: impl Fn() -> Marks) -> watch::Receiver<Marks> {
        let mut senders = self.senders.write().unwrap_or_else(PoisonError::into_inner);
        let sender = senders.entry(tp.clone()).or_insert_with(|| watch::channel(now()).0);
        let receiver = sender.subscribe();
        drop(senders);
        // What happened between the two looks was told to nobody.
        self.marks(tp, now());
        receiver
    }

    /// Ends the wait of everybody on a partition that is gone.
    pub(crate) fn close(&self, tp: &TopicPartition) {
        self.senders.write().unwrap_or_else(PoisonError::into_inner).remove(tp);
    }
}

impl Events for Watches {
    fn marks(&self, tp: &TopicPartition, marks: Marks) {
        let senders = self.senders.read().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = senders.get(tp) else { return };
        sender.send_if_modified(|now| {
            let newer = moved_on(now, &marks);
            if newer {
                *now = marks;
            }
            newer
        });
    }

    fn recovery(&self, done: usize, of: usize) {
        if done == of || done.is_multiple_of(100) {
            tracing::info!(done, of, "partitions loaded");
        }
    }
}

/// Marks only move on: of two tellings the one that is ahead is the newer.
fn moved_on(old: &Marks, new: &Marks) -> bool {
    let ahead = new.start >= old.start
        && new.high_watermark >= old.high_watermark
        && new.last_stable >= old.last_stable
        && new.end >= old.end
        && new.failed >= old.failed;
    ahead && new != old
}

#[cfg(test)]
mod tests {
    use flumen_types::{LeaderEpoch, Offset};

    use super::*;

    fn marks(high_watermark: i64, end: i64) -> Marks {
        Marks {
            start: Offset(0),
            high_watermark: Offset(high_watermark),
            last_stable: Offset(high_watermark),
            end: Offset(end),
            epoch: LeaderEpoch(0),
            failed: false,
        }
    }

    #[test]
    fn news_that_come_late_do_not_take_marks_back() {
        let (watches, tp) = (Watches::default(), TopicPartition::new("t", 0));
        let receiver = watches.open(&tp, || marks(0, 0));
        watches.marks(&tp, marks(2, 3));
        watches.marks(&tp, marks(1, 3));
        assert_eq!(receiver.borrow().high_watermark, Offset(2));
    }

    #[test]
    fn a_closed_partition_has_no_watch() {
        let (watches, tp) = (Watches::default(), TopicPartition::new("t", 0));
        let receiver = watches.open(&tp, || marks(0, 0));
        watches.close(&tp);
        assert!(receiver.has_changed().is_err());
        watches.marks(&tp, marks(1, 1));
    }
}
