//! Reading partitions from given places on.
//!
//! Invariants: a position moves only past records that have been returned, or that nobody may see
//! (markers, aborted ones). `poll` may be dropped at any point: positions change only when it returns.
//! One fetch to each leader at a time, each bounded by `Options::fetch_bytes_max`.
//!
//! Lacks: fetch sessions and read-ahead; one partition's answer waits for the slowest leader's.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use flumen_records::{BatchError, ControlRecord, batches};
use flumen_types::{Offset, ProducerId, TopicPartition};
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use crate::aborted::Aborted;
use crate::connection::Connection;
use crate::topics::{text, verdict};
use crate::wire::fetch_request::{FetchPartition, FetchTopic};
use crate::wire::fetch_response::PartitionData;
use crate::wire::{ErrorCode, FetchRequest, FetchResponse, message};
use crate::{At, Client, Error, Received, Result, record};

/// How a consumer reads.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// Leave out what was aborted, and stop before what is not decided.
    pub read_committed: bool,
    /// How long a broker holds a fetch that finds nothing.
    pub wait_max: Duration,
    pub fetch_bytes_max: usize,
    pub partition_bytes_max: usize,
    /// A batch that is larger when decompressed is refused.
    pub batch_bytes_max: usize,
    /// Where to go on when the position is not in the log any more.
    pub out_of_range: OutOfRange,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutOfRange {
    Fail,
    Start,
    End,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        ConsumerOptions {
            read_committed: true,
            wait_max: Duration::from_millis(500),
            fetch_bytes_max: 16 * 1024 * 1024,
            partition_bytes_max: 2 * 1024 * 1024,
            batch_bytes_max: 256 * 1024 * 1024,
            out_of_range: OutOfRange::Fail,
        }
    }
}

/// What one partition had to offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub partition: TopicPartition,
    pub records: Vec<Received>,
    /// Where the next poll goes on.
    pub next: Offset,
    /// Where this consumer's view of the partition ends.
    pub end: Offset,
}

/// Reads partitions that it is given.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    options: ConsumerOptions,
    positions: BTreeMap<TopicPartition, Offset>,
    /// Since when nothing but errors has come back.
    failing_since: Option<Instant>,
    /// Rotates which partition a leader is asked for first, so that none starves.
    turn: usize,
}

impl Consumer {
    pub fn new(client: &Client, options: ConsumerOptions) -> Consumer {
        Consumer { client: client.apart(), options, positions: BTreeMap::new(), failing_since: None, turn: 0 }
    }

    /// Reads this partition too, from here on.
    pub fn assign(&mut self, partition: TopicPartition, from: Offset) {
        self.positions.insert(partition, from);
    }

    pub fn unassign(&mut self, partition: &TopicPartition) {
        self.positions.remove(partition);
    }

    /// The next offset of each partition.
    pub fn positions(&self) -> &BTreeMap<TopicPartition, Offset> {
        &self.positions
    }

    /// Waits up to `wait_max` for something to read. Nothing is returned for partitions without news;
    /// an error that a moment may mend is only returned once it has lasted.
    pub async fn poll(&mut self) -> Result<Vec<Fetched>> {
        match self.round().await {
            Ok(fetched) => {
                self.failing_since = None;
                for answer in &fetched {
                    self.positions.insert(answer.partition.clone(), answer.next);
                }
                self.turn = self.turn.wrapping_add(1);
                Ok(fetched)
            }
            Err(error) if error.is_retriable() => {
                let since = *self.failing_since.get_or_insert_with(Instant::now);
                if since.elapsed() > self.client.options().operation_timeout {
                    return Err(error);
                }
                tracing::debug!(%error, "fetching again");
                sleep(Duration::from_millis(100)).await;
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    async fn round(&self) -> Result<Vec<Fetched>> {
        if self.positions.is_empty() {
            sleep(self.options.wait_max).await;
            return Ok(Vec::new());
        }
        let leaders = self.client.by_leader(self.positions.clone()).await?;
        let answers = join_all(
            leaders.iter().map(async |(connection, positions)| self.fetch(connection, positions).await),
        );
        let mut fetched = Vec::new();
        for answer in answers.await {
            fetched.extend(answer?);
        }
        Ok(fetched)
    }

    async fn fetch(
        &self,
        connection: &Connection,
        positions: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<Vec<Fetched>> {
        let patience = self.options.wait_max + self.client.options().request_timeout;
        let response = connection.call_within(&self.request(positions), patience).await;
        // A leader that does not answer may not be the leader any more.
        let forget_all = || positions.keys().for_each(|partition| self.client.forget_topic(&partition.topic));
        let response: FetchResponse = response.inspect_err(|_| forget_all())?;
        verdict::<FetchRequest>(connection, "a fetch", response.error_code, None)?;
        let mut fetched = Vec::new();
        for topic in response.responses {
            for answer in topic.partitions {
                let partition = TopicPartition::new(&*topic.topic, answer.partition_index);
                let Some(&from) = positions.get(&partition) else {
                    return Err(
                        connection.malformed::<FetchRequest>(format!("{partition} was not asked for"))
                    );
                };
                fetched.extend(self.accept(connection, partition, from, answer).await?);
            }
        }
        Ok(fetched)
    }

    fn request(&self, positions: &BTreeMap<TopicPartition, Offset>) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        let first = self.turn % positions.len().max(1);
        for (partition, from) in positions.iter().skip(first).chain(positions.iter().take(first)) {
            let asked = message!(FetchPartition {
                partition: partition.partition.0,
                current_leader_epoch: -1,
                fetch_offset: from.0,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: wire_size(self.options.partition_bytes_max),
            });
            match topics.last_mut() {
                Some(topic) if *topic.topic == *partition.topic => topic.partitions.push(asked),
                _ => topics
                    .push(message!(FetchTopic { topic: text(&partition.topic), partitions: vec![asked] })),
            }
        }
        message!(FetchRequest {
            max_wait_ms: wire_size(self.options.wait_max.as_millis() as usize),
            min_bytes: 1,
            max_bytes: wire_size(self.options.fetch_bytes_max),
            isolation_level: i8::from(self.options.read_committed),
            topics: topics,
        })
    }

    /// One partition's answer; `None` if it brings nothing.
    async fn accept(
        &self,
        connection: &Connection,
        partition: TopicPartition,
        from: Offset,
        answer: PartitionData,
    ) -> Result<Option<Fetched>> {
        let subject = || format!("{partition} at offset {from}");
        if ErrorCode::from(answer.error_code) == ErrorCode::OffsetOutOfRange
            && let Some(next) = self.restart(&partition).await?
        {
            return Ok(Some(Fetched {
                partition,
                records: Vec::new(),
                next,
                end: Offset(answer.high_watermark),
            }));
        }
        verdict::<FetchRequest>(connection, subject(), answer.error_code, None)
            .inspect_err(|_| self.client.forget_topic(&partition.topic))?;
        let end = Offset(if self.options.read_committed {
            answer.last_stable_offset
        } else {
            answer.high_watermark
        });
        let bytes = answer.records.unwrap_or_default();
        if bytes.is_empty() {
            return Ok(None);
        }
        let hidden = answer.aborted_transactions.unwrap_or_default();
        let hidden = hidden.iter().map(|gone| (ProducerId(gone.producer_id), Offset(gone.first_offset)));
        let aborted = if self.options.read_committed { Aborted::new(hidden) } else { Aborted::default() };
        let read = read(bytes, from, aborted, self.options.batch_bytes_max);
        let (records, next) = read.map_err(|source| Error::Records {
            partition: partition.to_string(),
            offset: from.0,
            source,
        })?;
        Ok(Some(Fetched { partition, records, next, end }))
    }

    /// Where to go on after an offset that is not there; `None` if that is an error.
    async fn restart(&self, partition: &TopicPartition) -> Result<Option<Offset>> {
        let at = match self.options.out_of_range {
            OutOfRange::Fail => return Ok(None),
            OutOfRange::Start => At::Start,
            OutOfRange::End if self.options.read_committed => At::StableEnd,
            OutOfRange::End => At::End,
        };
        let found = self.client.offsets_at(std::slice::from_ref(partition), at).await?;
        Ok(found.into_values().next().flatten())
    }
}

fn wire_size(size: usize) -> i32 {
    i32::try_from(size).unwrap_or(i32::MAX)
}

/// The records to show from `from` on, and where to go on.
fn read(
    bytes: Bytes,
    from: Offset,
    mut aborted: Aborted,
    batch_bytes_max: usize,
) -> Result<(Vec<Received>, Offset), BatchError> {
    let have = bytes.len();
    let (mut records, mut next) = (Vec::new(), None);
    for batch in batches(bytes) {
        let batch = batch?;
        let header = batch.header();
        let is_abort = header.is_control() && matches!(batch.control()?, ControlRecord::Abort { .. });
        if aborted.shows(header, is_abort) {
            records.extend(record::read_batch(&batch, from, batch_bytes_max)?);
        }
        next = Some(header.next_offset());
    }
    // A broker sends one whole batch at least: less than that would be asked for again for ever.
    let next = next.ok_or(BatchError::Short { have, need: have + 1 })?;
    Ok((records, next.max(from)))
}

#[cfg(test)]
mod tests {
    use flumen_records::{BatchBuilder, Compression, NewRecord, control_batch};
    use flumen_types::{ProducerEpoch, Sequence, Timestamp};

    use super::*;

    fn batch(base: i64, producer: i64, values: &[&str]) -> Vec<u8> {
        let builder = BatchBuilder::new(Compression::None).base_offset(Offset(base));
        let mut builder =
            builder.producer(ProducerId(producer), ProducerEpoch(0), Sequence(0)).transactional();
        for value in values {
            let value = Some(value.as_bytes());
            builder.push(&NewRecord { timestamp: Timestamp(0), key: None, value, headers: &[] });
        }
        builder.build().unwrap().to_vec()
    }

    fn marker(base: i64, producer: i64, marker: ControlRecord) -> Vec<u8> {
        let mut bytes = control_batch(ProducerId(producer), ProducerEpoch(0), marker, Timestamp(0)).to_vec();
        flumen_records::assign(&mut bytes, Offset(base), flumen_types::LeaderEpoch(0));
        bytes
    }

    fn values(read: &[Received]) -> Vec<&str> {
        read.iter()
            .map(|received| std::str::from_utf8(received.record.value.as_deref().unwrap()).unwrap())
            .collect()
    }

    #[test]
    fn aborted_records_are_left_out_and_the_position_passes_their_marker() {
        let mut bytes = batch(0, 1, &["a", "b"]);
        bytes.extend(batch(2, 2, &["gone"]));
        bytes.extend(marker(3, 2, ControlRecord::Abort { coordinator_epoch: 0 }));
        bytes.extend(marker(4, 1, ControlRecord::Commit { coordinator_epoch: 0 }));
        let aborted = Aborted::new([(ProducerId(2), Offset(2))]);
        let (records, next) = read(bytes.into(), Offset(1), aborted, 1 << 20).unwrap();
        assert_eq!((values(&records), next), (vec!["b"], Offset(5)));
    }

    #[test]
    fn a_batch_cut_short_at_the_end_is_left_for_the_next_fetch() {
        let mut bytes = batch(0, 1, &["a"]);
        bytes.extend(&batch(1, 1, &["b"])[..65]);
        let (records, next) = read(bytes.into(), Offset(0), Aborted::default(), 1 << 20).unwrap();
        assert_eq!((values(&records), next), (vec!["a"], Offset(1)));
    }

    #[test]
    fn an_answer_without_one_whole_batch_is_an_error() {
        let cut = batch(0, 1, &["a"])[..65].to_vec();
        assert!(matches!(
            read(cut.into(), Offset(0), Aborted::default(), 1 << 20),
            Err(BatchError::Short { .. })
        ));
    }
}
