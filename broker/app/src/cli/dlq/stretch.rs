//! Reading from here to there: the stretches of partitions that a dead-letter command looks at.

use std::collections::BTreeMap;

use flumen_client::{Client, Consumer, ConsumerOptions, Fetched, OutOfRange};
use flumen_types::{Offset, TopicPartition};

/// Reads given stretches of partitions, a poll at a time.
pub(super) struct Stretch {
    consumer: Consumer,
    ends: BTreeMap<TopicPartition, Offset>,
}

impl Stretch {
    pub(super) fn new(
        client: &Client,
        from: impl IntoIterator<Item = (TopicPartition, Offset, Offset)>,
    ) -> Stretch {
        let options = ConsumerOptions { out_of_range: OutOfRange::Start, ..ConsumerOptions::default() };
        let mut stretch = Stretch { consumer: Consumer::new(client, options), ends: BTreeMap::new() };
        for (partition, from, end) in from {
            if from < end {
                stretch.consumer.assign(partition.clone(), from);
                stretch.ends.insert(partition, end);
            }
        }
        stretch
    }

    /// The next records; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Fetched>>, flumen_client::Error> {
        let read = |end: &TopicPartition, at: &Offset| {
            self.consumer.positions().get(end).is_none_or(|now| now >= at)
        };
        let done: Vec<TopicPartition> = self
            .ends
            .iter()
            .filter(|(partition, end)| read(partition, end))
            .map(|(p, _)| p.clone())
            .collect();
        for partition in done {
            self.consumer.unassign(&partition);
            self.ends.remove(&partition);
        }
        if self.ends.is_empty() {
            return Ok(None);
        }
        let mut records = Vec::new();
        for mut fetched in self.consumer.poll().await? {
            let end = self.ends.get(&fetched.partition).copied().unwrap_or_default();
            fetched.records.retain(|received| received.offset < end);
            fetched.next = fetched.next.min(end);
            records.push(fetched);
        }
        Ok(Some(records))
    }
}
