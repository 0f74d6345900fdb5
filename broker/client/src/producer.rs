//! Writing many records: batched per partition, in order, each once.
//!
//! Each partition that records go to has a lane: a task that collects a batch until it is full, old or
//! flushed, sends it, and tries again until it is written or its time is up. While a batch is under way
//! the next one fills.
//!
//! Invariants: what is queued is bounded by `buffer_bytes_max`; `send` waits for room. One batch of a
//! partition is under way at a time, so that the order holds without idempotence too. After a batch
//! whose fate is unknown its lane writes nothing more: what came later would be out of order, or twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use flumen_records::{BatchBuilder, Compression};
use flumen_types::TopicPartition;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::partitioner::{Sticky, for_key};
use crate::produce::{Acks, Parcel, Signature, pack};
use crate::retry::Retry;
use crate::{Client, Error, Record, Result};

/// How a producer writes.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    pub acks: Acks,
    /// Written once even when a try is repeated; needs [`Acks::All`].
    pub idempotent: bool,
    pub compression: Compression,
    /// A batch is sent when its records take this much.
    pub batch_bytes_max: usize,
    /// ... or when its first record has waited this long.
    pub linger: Duration,
    /// All that waits, of all partitions.
    pub buffer_bytes_max: usize,
    /// How long a batch may take with all its tries.
    pub delivery_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        ProducerOptions {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            batch_bytes_max: 512 * 1024,
            linger: Duration::from_millis(5),
            buffer_bytes_max: 32 * 1024 * 1024,
            delivery_timeout: Duration::from_secs(60),
        }
    }
}

/// What became of the records since the last flush.
#[derive(Debug, Default)]
pub struct Flushed {
    pub written: u64,
    pub failed: u64,
    /// Why the first of them failed.
    pub error: Option<Error>,
}

/// Queues a lane may hold beyond the one batch under way; bytes are bounded apart.
const LANE_RECORDS_MAX: usize = 8192;

/// A batching producer. Dropping it drops what has not been flushed.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    options: ProducerOptions,
    signature: Option<Signature>,
    room: Arc<Semaphore>,
    topics: HashMap<String, Target>,
    lanes: HashMap<TopicPartition, mpsc::Sender<Task>>,
    tasks: JoinSet<()>,
}

/// A topic that records go to.
#[derive(Debug)]
struct Target {
    partitions: i32,
    sticky: Sticky,
}

#[derive(Debug)]
enum Task {
    Write { record: Record, _room: OwnedSemaphorePermit },
    Flush(oneshot::Sender<Flushed>),
}

impl Producer {
    pub async fn new(client: &Client, options: ProducerOptions) -> Result<Producer> {
        let idempotent = options.idempotent && options.acks == Acks::All;
        let signature = if idempotent { Some(client.init_producer(None).await?) } else { None };
        let room = Arc::new(Semaphore::new(options.buffer_bytes_max.min(Semaphore::MAX_PERMITS)));
        let client = client.clone();
        let (topics, lanes, tasks) = (HashMap::new(), HashMap::new(), JoinSet::new());
        Ok(Producer { client, options, signature, room, topics, lanes, tasks })
    }

    /// Queues a record; waits while too much is queued already. Without a partition its key decides, as
    /// in Java's producer.
    pub async fn send(&mut self, topic: &str, partition: Option<i32>, record: Record) -> Result<()> {
        let bytes = record.len_bytes();
        if bytes > self.options.buffer_bytes_max {
            return Err(Error::RecordTooLarge { bytes, max: self.options.buffer_bytes_max });
        }
        let partition = self.partition(topic, partition, &record, bytes).await?;
        // Fits: it has been compared with buffer_bytes_max, which a u32 of permits bounds too.
        let permits =
            u32::try_from(bytes).map_err(|_| Error::RecordTooLarge { bytes, max: u32::MAX as usize })?;
        let room = self.room.clone().acquire_many_owned(permits).await;
        let Ok(room) = room else { return Err(Error::AfterFailure { partition: partition.to_string() }) };
        let lane = self.lane(&partition);
        lane.send(Task::Write { record, _room: room })
            .await
            .map_err(|_| Error::AfterFailure { partition: partition.to_string() })
    }

    /// Sends what is queued and waits until all of it is written or has failed.
    pub async fn flush(&mut self) -> Flushed {
        let mut total = Flushed::default();
        let mut waiting = Vec::new();
        for lane in self.lanes.values() {
            let (done, flushed) = oneshot::channel();
            if lane.send(Task::Flush(done)).await.is_ok() {
                waiting.push(flushed);
            }
        }
        for flushed in waiting {
            if let Ok(part) = flushed.await {
                total.written += part.written;
                total.failed += part.failed;
                total.error = total.error.or(part.error);
            }
        }
        total
    }

    async fn partition(
        &mut self,
        topic: &str,
        wanted: Option<i32>,
        record: &Record,
        bytes: usize,
    ) -> Result<TopicPartition> {
        if !self.topics.contains_key(topic) {
            let found = self.client.topic_to_write(topic).await?;
            let sticky = Sticky::new(rand::random(), self.options.batch_bytes_max);
            let target = Target { partitions: found.partitions.len() as i32, sticky };
            self.topics.insert(topic.to_string(), target);
        }
        let Some(target) = self.topics.get_mut(topic) else {
            return Err(Error::NoLeader { partition: topic.to_string() });
        };
        let partition = match (wanted, &record.key) {
            (Some(partition), _) if (0..target.partitions).contains(&partition) => partition,
            (Some(partition), _) => {
                let partitions = target.partitions;
                return Err(Error::NoPartition { topic: topic.to_string(), partition, partitions });
            }
            (None, Some(key)) => for_key(key, target.partitions),
            (None, None) => target.sticky.next(bytes, target.partitions),
        };
        Ok(TopicPartition::new(topic, partition))
    }

    fn lane(&mut self, partition: &TopicPartition) -> &mpsc::Sender<Task> {
        self.lanes.entry(partition.clone()).or_insert_with(|| {
            let (lane, inbox) = mpsc::channel(LANE_RECORDS_MAX);
            let work = Lane {
                client: self.client.clone(),
                options: self.options.clone(),
                partition: partition.clone(),
                signature: self.signature,
                since_flush: Flushed::default(),
                broken: false,
            };
            self.tasks.spawn(work.run(inbox));
            lane
        })
    }
}

/// The records of one partition, in order.
struct Lane {
    client: Client,
    options: ProducerOptions,
    partition: TopicPartition,
    signature: Option<Signature>,
    since_flush: Flushed,
    /// The fate of a batch is unknown: no other may follow.
    broken: bool,
}

/// Records that go out together, with the room they take.
#[derive(Default)]
struct Collected {
    records: Vec<Record>,
    room: Vec<OwnedSemaphorePermit>,
    bytes: usize,
    flush: Option<oneshot::Sender<Flushed>>,
}

impl Collected {
    fn add(&mut self, record: Record, room: OwnedSemaphorePermit) {
        self.bytes += room.num_permits();
        self.records.push(record);
        self.room.push(room);
    }
}

impl Lane {
    async fn run(mut self, mut inbox: mpsc::Receiver<Task>) {
        let mut carried = None;
        while let Some(mut batch) = self.collect(&mut inbox, &mut carried).await {
            let flush = batch.flush.take();
            if !batch.records.is_empty() {
                self.write(batch).await;
            }
            if let Some(flush) = flush {
                // Who does not wait any more does not need to know.
                let _ = flush.send(std::mem::take(&mut self.since_flush));
            }
        }
    }

    /// The next batch: until it is full, old enough, or flushed. `None` when there will be no more.
    async fn collect(
        &self,
        inbox: &mut mpsc::Receiver<Task>,
        carried: &mut Option<(Record, OwnedSemaphorePermit)>,
    ) -> Option<Collected> {
        let mut batch = Collected::default();
        if let Some((record, room)) = carried.take() {
            batch.add(record, room);
        }
        let mut deadline = (!batch.records.is_empty()).then(|| Instant::now() + self.options.linger);
        while batch.bytes < self.options.batch_bytes_max {
            let task = match deadline {
                None => inbox.recv().await,
                Some(deadline) => match timeout_at(deadline, inbox.recv()).await {
                    Ok(task) => task,
                    Err(_) => break,
                },
            };
            match task {
                Some(Task::Write { record, _room: room }) => {
                    if !batch.records.is_empty()
                        && batch.bytes + room.num_permits() > self.options.batch_bytes_max
                    {
                        *carried = Some((record, room));
                        break;
                    }
                    batch.add(record, room);
                    deadline.get_or_insert_with(|| Instant::now() + self.options.linger);
                }
                Some(Task::Flush(done)) => {
                    batch.flush = Some(done);
                    break;
                }
                None if batch.records.is_empty() => return None,
                None => break,
            }
        }
        Some(batch)
    }

    async fn write(&mut self, batch: Collected) {
        let count = batch.records.len();
        match self.deliver(&batch.records).await {
            Ok(()) => {
                self.signature = self.signature.map(|signature| signature.after(count));
                self.since_flush.written += count as u64;
            }
            Err(error) => {
                // A broker that said no has written nothing; in every other case it may have.
                self.broken |=
                    !matches!(error, Error::Refused { .. } | Error::Records { .. }) || error.is_retriable();
                self.since_flush.failed += count as u64;
                self.since_flush.error.get_or_insert(error);
            }
        }
    }

    async fn deliver(&self, records: &[Record]) -> Result<()> {
        if self.broken {
            return Err(Error::AfterFailure { partition: self.partition.to_string() });
        }
        let sign = |builder: BatchBuilder| match self.signature {
            Some(signature) => signature.sign(builder),
            None => builder,
        };
        let batch = pack(&self.partition, records, self.options.compression, sign)?;
        let parcel =
            Parcel { partition: &self.partition, batch, acks: self.options.acks, transactional_id: None };
        self.client.produce(&parcel, Retry::within(self.options.delivery_timeout)).await
    }
}
