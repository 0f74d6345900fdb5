//! How many partitions the topics of a pump have: looked at now and then, for they can grow.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::io::{IoError, Log};

const EVERY: Duration = Duration::from_secs(5);

pub(super) struct Counted {
    counts: BTreeMap<Arc<str>, u32>,
    next_look: Instant,
}

impl Counted {
    pub(super) async fn new(log: &dyn Log, topics: &[String]) -> Result<Counted, IoError> {
        let mut counts = BTreeMap::new();
        for topic in topics {
            counts.insert(Arc::from(topic.as_str()), log.partitions(topic).await?);
        }
        Ok(Counted { counts, next_look: Instant::now() + EVERY })
    }

    /// One more topic, which had so many when it was met.
    pub(super) fn add(&mut self, topic: Arc<str>, partitions: u32) {
        self.counts.insert(topic, partitions);
    }

    pub(super) fn next_look(&self) -> Instant {
        self.next_look
    }

    /// Whether one of them has another number than at the last look. Costs nothing until it is time.
    pub(super) async fn have_changed(&mut self, log: &dyn Log) -> Result<bool, IoError> {
        if Instant::now() < self.next_look {
            return Ok(false);
        }
        self.next_look = Instant::now() + EVERY;
        let mut changed = false;
        for (topic, count) in &mut self.counts {
            let now = log.partitions(topic).await?;
            changed |= std::mem::replace(count, now) != now;
        }
        Ok(changed)
    }
}
