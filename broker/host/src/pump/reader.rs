//! Reads a task's partitions ahead of its guest, one reader each, into one bounded queue.
//!
//! Invariants: per partition, pieces arrive in order and without gaps; what is read ahead is bounded by
//! one read a partition and two in the queue, and what of it was compressed by [`PLAIN_BYTES_MAX`] for all
//! of them; a reader ends with the session that owns it.

use std::sync::Arc;
use std::time::Duration;

use flumen_types::Offset;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::BatchSize;
use crate::chunk::{self, BYTES_GOOD, PIECES_BYTES_MAX, Piece, Pieces, pieces};
use crate::io::{IoError, Log, Read};

const WAIT: Duration = Duration::from_secs(1);
/// All partitions of a task together read about so much at a time.
const READ_BYTES: usize = 4 << 20;
const READ_BYTES_MIN: usize = 64 << 10;
const QUEUED: usize = 2;
/// What was compressed, and waits for a task's guest, holds so much memory at the most: one read that may
/// be of any size, beside some of the usual.
const PLAIN_BYTES_MAX: usize = PIECES_BYTES_MAX + (48 << 20);

/// What a reader found.
pub(crate) struct Incoming {
    pub topic: Arc<str>,
    pub partition: u32,
    pub pieces: Vec<Piece>,
    /// Where it reads on.
    pub next: Offset,
    /// The room that they take of what all readers of a task may hold.
    _room: Option<OwnedSemaphorePermit>,
}

pub(crate) struct Readers {
    queue: mpsc::Receiver<Result<Incoming, IoError>>,
    /// Aborted when the session drops it.
    _tasks: JoinSet<()>,
}

impl Readers {
    pub(crate) fn start(log: &Arc<dyn Log>, batch: BatchSize, from: Vec<(Arc<str>, u32, Offset)>) -> Readers {
        let (sender, queue) = mpsc::channel(QUEUED);
        let bytes_max = (READ_BYTES / from.len().max(1)).max(READ_BYTES_MIN);
        let room = Arc::new(Semaphore::new(PLAIN_BYTES_MAX));
        let mut tasks = JoinSet::new();
        for (topic, partition, at) in from {
            let (log, room) = (log.clone(), room.clone());
            let reader = Reader { log, batch, topic, partition, at, bytes_max, room };
            tasks.spawn(reader.run(sender.clone()));
        }
        Readers { queue, _tasks: tasks }
    }

    /// The next piece of input; waits for it. None where there are no partitions.
    pub(crate) async fn next(&mut self) -> Option<Result<Incoming, IoError>> {
        self.queue.recv().await
    }

    /// What is there already.
    pub(crate) fn ready(&mut self) -> Option<Result<Incoming, IoError>> {
        self.queue.try_recv().ok()
    }
}

struct Reader {
    log: Arc<dyn Log>,
    batch: BatchSize,
    topic: Arc<str>,
    partition: u32,
    at: Offset,
    bytes_max: usize,
    room: Arc<Semaphore>,
}

impl Reader {
    async fn run(mut self, sender: mpsc::Sender<Result<Incoming, IoError>>) {
        loop {
            let found = match self.read().await {
                Ok(found) => found,
                Err(error) => {
                    // The session ends by it; so does this reader.
                    drop(sender.send(Err(error)).await);
                    return;
                }
            };
            self.at = found.next;
            if sender.send(Ok(found)).await.is_err() {
                return;
            }
        }
    }

    async fn read(&mut self) -> Result<Incoming, IoError> {
        let read = match self.log.read(&self.topic, self.partition, self.at, self.bytes_max, WAIT).await {
            Err(IoError::OutOfRange { start, asked, .. }) if asked < start => {
                tracing::warn!(topic = %self.topic, partition = self.partition, from = asked.0, to = start.0, "retention has deleted records before a plugin has read them");
                self.at = start;
                self.log.read(&self.topic, self.partition, start, self.bytes_max, WAIT).await?
            }
            other => other?,
        };
        let read = self.linger(read).await;
        let (found, room) = self.cut(read).await?;
        let (topic, next) = (self.topic.clone(), found.next.max(self.at));
        Ok(Incoming { topic, partition: self.partition, pieces: found.pieces, next, _room: room })
    }

    /// Reads on while there are too few records and time is left. What goes wrong meanwhile, the next read
    /// tells; what is there goes its way.
    async fn linger(&self, mut read: Read) -> Read {
        let deadline = Instant::now() + self.batch.linger;
        while !read.batches.is_empty() && !self.is_enough(&read) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let more = self.log.read(&self.topic, self.partition, read.next, self.bytes_max, left).await;
            let Ok(more) = more else { break };
            read.batches.extend(more.batches);
            (read.next, read.end, read.start) = (more.next.max(read.next), more.end, more.start);
        }
        read
    }

    fn is_enough(&self, read: &Read) -> bool {
        let records: i64 = read.batches.iter().map(|b| i64::from(b.header().records_count)).sum();
        let bytes: usize = read.batches.iter().map(|b| b.bytes().len()).sum();
        records >= i64::from(self.batch.records) || bytes >= self.bytes_max.min(BYTES_GOOD)
    }

    async fn cut(&self, read: Read) -> Result<(Pieces, Option<OwnedSemaphorePermit>), IoError> {
        let (topic, partition, from) = (self.topic.clone(), self.partition, self.at);
        let good = self.batch.records;
        if !read.batches.iter().any(chunk::is_compressed) {
            return Ok((pieces(&topic, partition, from, &read, good), None));
        }
        // How much it is shows when it is there.
        let room = self.room.clone().acquire_many_owned(PIECES_BYTES_MAX as u32).await;
        let mut room = room.map_err(|closed| IoError::Unavailable(closed.to_string()))?;
        // A codec takes its time; the reactor has none.
        let work = tokio::task::spawn_blocking(move || pieces(&topic, partition, from, &read, good));
        let found =
            work.await.map_err(|panic| IoError::Unavailable(format!("reading a batch failed: {panic}")))?;
        drop(room.split(PIECES_BYTES_MAX - found.bytes));
        Ok((found, Some(room)))
    }
}
