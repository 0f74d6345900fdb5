//! Reads a task's partitions ahead of its guest, one reader each, into one bounded queue.
//!
//! Invariants: per partition, pieces arrive in order and without gaps; what is read ahead is bounded by
//! one read a partition and two in the queue; a reader ends with the session that owns it.

use std::sync::Arc;
use std::time::Duration;

use flumen_records::Compression;
use flumen_types::Offset;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::chunk::{Piece, pieces};
use crate::io::{IoError, Log, Read};

const WAIT: Duration = Duration::from_secs(1);
/// All partitions of a task together read about so much at a time.
const READ_BYTES: usize = 4 << 20;
const READ_BYTES_MIN: usize = 64 << 10;
const QUEUED: usize = 2;

/// What a reader found.
pub(crate) struct Incoming {
    pub topic: Arc<str>,
    pub partition: u32,
    pub pieces: Vec<Piece>,
    /// Where it reads on.
    pub next: Offset,
    /// Where committed records ended then.
    pub end: Offset,
}

pub(crate) struct Readers {
    queue: mpsc::Receiver<Result<Incoming, IoError>>,
    /// Aborted when the session drops it.
    _tasks: JoinSet<()>,
}

impl Readers {
    pub(crate) fn start(log: &Arc<dyn Log>, from: Vec<(Arc<str>, u32, Offset)>) -> Readers {
        let (sender, queue) = mpsc::channel(QUEUED);
        let bytes_max = (READ_BYTES / from.len().max(1)).max(READ_BYTES_MIN);
        let mut tasks = JoinSet::new();
        for (topic, partition, at) in from {
            let reader = Reader { log: log.clone(), topic, partition, at, bytes_max };
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
    topic: Arc<str>,
    partition: u32,
    at: Offset,
    bytes_max: usize,
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
        let (next, end) = (read.next.max(self.at), read.end);
        let (topic, partition, from) = (self.topic.clone(), self.partition, self.at);
        // A codec takes its time; the reactor has none.
        let found = if compressed(&read) {
            let topic = topic.clone();
            let work = tokio::task::spawn_blocking(move || pieces(&topic, partition, from, &read));
            work.await.map_err(|panic| IoError::Unavailable(format!("reading a batch failed: {panic}")))?
        } else {
            pieces(&topic, partition, from, &read)
        };
        Ok(Incoming { topic, partition, pieces: found, next, end })
    }
}

fn compressed(read: &Read) -> bool {
    read.batches
        .iter()
        .any(|batch| batch.header().attributes.compression().is_ok_and(|codec| codec != Compression::None))
}
