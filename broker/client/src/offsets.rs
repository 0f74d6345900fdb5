//! Which offsets a partition has: its start, its end, the first record of a time.

use std::collections::BTreeMap;

use flumen_types::{Offset, Timestamp, TopicPartition};

use crate::connection::Connection;
use crate::topics::{text, verdict};
use crate::wire::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use crate::wire::{ListOffsetsRequest, message};
use crate::{Client, Result};

/// A place in a partition, to be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// The first record that is still there.
    Start,
    /// After the last record that a read_uncommitted consumer may see.
    End,
    /// After the last record that a read_committed consumer may see.
    StableEnd,
    /// The first record with this time or a later one.
    Time(Timestamp),
}

impl At {
    fn timestamp(self) -> i64 {
        match self {
            At::Start => -2,
            At::End | At::StableEnd => -1,
            At::Time(time) => time.0,
        }
    }
}

impl Client {
    /// Looks these places up; `None` where there is no record of that time or later.
    pub async fn list_offsets(
        &self,
        places: &BTreeMap<TopicPartition, At>,
    ) -> Result<BTreeMap<TopicPartition, Option<Offset>>> {
        let (mut found, mut retry) = (BTreeMap::new(), self.retry());
        loop {
            match self.list_missing(places, &mut found).await {
                Err(error) if retry.after(&error).await => {}
                done => return done.map(|()| found),
            }
        }
    }

    /// One try: after a refusal only what is still missing is asked again.
    async fn list_missing(
        &self,
        places: &BTreeMap<TopicPartition, At>,
        found: &mut BTreeMap<TopicPartition, Option<Offset>>,
    ) -> Result<()> {
        let missing = places.iter().filter(|(partition, _)| !found.contains_key(*partition));
        let missing: BTreeMap<_, _> = missing.map(|(partition, at)| (partition.clone(), *at)).collect();
        for (connection, places) in self.by_leader(missing).await? {
            self.list_offsets_at(&connection, &places, found).await?;
        }
        Ok(())
    }

    /// The same place of each of these partitions.
    pub async fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        at: At,
    ) -> Result<BTreeMap<TopicPartition, Option<Offset>>> {
        self.list_offsets(&partitions.iter().map(|partition| (partition.clone(), at)).collect()).await
    }

    /// Asks one leader; with one isolation level a request.
    async fn list_offsets_at(
        &self,
        connection: &Connection,
        places: &BTreeMap<TopicPartition, At>,
        found: &mut BTreeMap<TopicPartition, Option<Offset>>,
    ) -> Result<()> {
        for stable in [false, true] {
            let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
            for (partition, at) in places.iter().filter(|(_, at)| (**at == At::StableEnd) == stable) {
                topics.entry(&partition.topic).or_default().push(message!(ListOffsetsPartition {
                    partition_index: partition.partition.0,
                    current_leader_epoch: -1,
                    timestamp: at.timestamp(),
                }));
            }
            if topics.is_empty() {
                continue;
            }
            let topics = topics.into_iter().map(|(name, partitions)| {
                message!(ListOffsetsTopic { name: text(name), partitions: partitions })
            });
            let request = message!(ListOffsetsRequest {
                replica_id: -1,
                isolation_level: i8::from(stable),
                topics: topics.collect(),
            });
            for topic in connection.call(&request).await?.topics {
                for answer in topic.partitions {
                    let partition = TopicPartition::new(&*topic.name, answer.partition_index);
                    verdict::<ListOffsetsRequest>(connection, partition.to_string(), answer.error_code, None)
                        .inspect_err(|_| self.forget_topic(&topic.name))?;
                    found.insert(partition, (answer.offset >= 0).then_some(Offset(answer.offset)));
                }
            }
        }
        match places.keys().find(|partition| !found.contains_key(*partition)) {
            Some(left_out) => Err(connection.incomplete::<ListOffsetsRequest>(&left_out.to_string())),
            None => Ok(()),
        }
    }

    /// Groups partitions by the broker that leads them.
    pub(crate) async fn by_leader<T>(
        &self,
        partitions: BTreeMap<TopicPartition, T>,
    ) -> Result<Vec<(Connection, BTreeMap<TopicPartition, T>)>> {
        let mut leaders: Vec<(Connection, BTreeMap<TopicPartition, T>)> = Vec::new();
        for (partition, value) in partitions {
            let connection = self.leader(&partition).await?;
            match leaders.iter_mut().find(|(other, _)| other.address() == connection.address()) {
                Some((_, theirs)) => drop(theirs.insert(partition, value)),
                None => leaders.push((connection, BTreeMap::from([(partition, value)]))),
            }
        }
        Ok(leaders)
    }
}
