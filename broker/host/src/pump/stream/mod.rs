//! The pump of a filter, a transform or a sink: read, call, write, commit.

mod pace;
mod resume;
mod topics;
mod work;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use flumen_types::Offset;

pub(crate) use self::pace::Pace;
use self::topics::Topics;
use super::counted::Counted;
use super::quarantine::Quarantine;
use super::reader::{Incoming, Readers};
use super::transaction::{Owner, Transaction};
use super::{At, End, Task, WORN_EVERY};
use crate::backoff::Backoff;
use crate::chunk::{Chunk, Piece};
use crate::dead_letter::Sender;
use crate::guest::{Broken, CallError, Guest};
use crate::io::IoError;
use crate::route::Rejected;

/// What outlives a session.
#[derive(Default)]
pub(super) struct Memory {
    /// Up to here every step is committed by itself: an output was refused, and whose it was is not known.
    careful: BTreeMap<At, Offset>,
    proven: bool,
    blamed: u32,
}

pub(super) async fn session(
    task: &mut Task,
    guest: &mut Guest,
    backoff: &mut Backoff,
    memory: &mut Memory,
) -> Result<Infallible, End> {
    let topics = [&task.spec.inputs[..], &task.spec.outputs].concat();
    let counted = Counted::new(&*task.log, &topics).await?;
    let assigned = assign(task).await?;
    let producer = task.producer().await?;
    task.route_outputs(guest).await?;
    let mut pump = Pump {
        group: task.spec.group(),
        topics: Topics::identify(task.log.clone(), &task.spec.inputs).await?,
        transaction: Transaction::new(producer),
        positions: BTreeMap::new(),
        published: BTreeMap::new(),
        counted,
        sender: None,
        shaken: true,
        quarantine: None,
        commits: 0,
        task,
        guest,
        backoff,
        memory,
    };
    pump.resume(&assigned).await?;
    pump.task.began();
    let from = pump.positions.iter().map(|((topic, partition), at)| (topic.clone(), *partition, *at));
    let readers = Readers::start(&pump.task.log, pump.task.spec.batch, from.collect());
    pump.run(readers).await
}

/// The partitions of this task, spread over topics.
async fn assign(task: &Task) -> Result<Vec<At>, IoError> {
    let mut assigned = Vec::new();
    for (i, topic) in task.spec.inputs.iter().enumerate() {
        let topic: Arc<str> = Arc::from(topic.as_str());
        for partition in 0..task.log.partitions(&topic).await? {
            if (i as u32).wrapping_add(partition) % task.spec.tasks.max(1) == task.task {
                assigned.push((topic.clone(), partition));
            }
        }
    }
    Ok(assigned)
}

/// What hinders a chunk.
enum Trouble {
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    Broken(Broken),
    /// The topic, or the database, that it should go to will never take it.
    Refused(String),
    /// From this record on it must wait for one before it.
    Follows(u32),
    End(End),
}

impl From<End> for Trouble {
    fn from(end: End) -> Trouble {
        Trouble::End(end)
    }
}

impl From<IoError> for Trouble {
    fn from(error: IoError) -> Trouble {
        Trouble::End(error.into())
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Trouble {
        match error {
            CallError::Retry { reason, after } => Trouble::Retry { reason, after },
            CallError::Broken(broken) => Trouble::Broken(broken),
            CallError::Refused(reason) => Trouble::Refused(reason),
            other => Trouble::End(other.into()),
        }
    }
}

struct Pump<'a> {
    task: &'a mut Task,
    guest: &'a mut Guest,
    backoff: &'a mut Backoff,
    memory: &'a mut Memory,
    group: String,
    topics: Topics,
    transaction: Transaction,
    /// Up to where each partition has been dealt with, committed or not.
    positions: BTreeMap<At, Offset>,
    /// The group's offsets as they are committed.
    published: BTreeMap<At, Option<Offset>>,
    counted: Counted,
    /// Made when the first letter is there, and with it the topic.
    sender: Option<Sender>,
    /// The guest may be dead.
    shaken: bool,
    /// Under that policy.
    quarantine: Option<Quarantine>,
    commits: u32,
}

impl Pump<'_> {
    async fn run(mut self, mut readers: Readers) -> Result<Infallible, End> {
        let halt = self.task.halt.clone();
        loop {
            if halt.is_cancelled() {
                self.commit().await?;
                return Err(End::Halted);
            }
            if self.counted.have_changed(&*self.task.log).await? {
                self.commit().await?;
                return Err(End::Renew);
            }
            let incoming = match readers.ready() {
                Some(incoming) => incoming?,
                None => {
                    // Nothing to do for now: what is done is committed at once.
                    self.commit().await?;
                    tokio::select! {
                        biased;
                        () = halt.cancelled() => continue,
                        Some(incoming) = readers.next() => incoming?,
                        () = tokio::time::sleep_until(self.counted.next_look()) => continue,
                    }
                }
            };
            self.take_in(incoming).await?;
        }
    }

    async fn take_in(&mut self, incoming: Incoming) -> Result<(), End> {
        if !self.topics.is_same(&incoming.topic).await? {
            return Err(End::Renew);
        }
        let at = (incoming.topic.clone(), incoming.partition);
        for piece in incoming.pieces {
            if self.task.halt.is_cancelled() {
                self.commit().await?;
                return Err(End::Halted);
            }
            match piece {
                Piece::Records(chunk) => self.work(chunk).await?,
                Piece::Unreadable { batch, reason } => {
                    let header = batch.header();
                    let chunk = empty(&at, header.base_offset, header.next_offset());
                    let rejected =
                        [Rejected { index: 0, reason: format!("its batch cannot be read: {reason}") }];
                    self.reject_whole(&chunk, &rejected, Some(batch.bytes())).await?;
                }
            }
        }
        // Control batches, aborted ones, records that compaction has taken: passed, and committed when idle.
        let position = self.positions.get(&at).copied().unwrap_or(Offset::ZERO);
        if incoming.next > position {
            self.pass(&empty(&at, position, incoming.next)).await?;
        }
        self.show(&at);
        Ok(())
    }

    async fn pass(&mut self, chunk: &Chunk) -> Result<(), End> {
        if !self.task.info.sql {
            self.advance(chunk);
            return Ok(());
        }
        loop {
            let passed = match self.ready_guest().await {
                Ok(()) => self.pass_sql(chunk, &[], 1).await,
                Err(trouble) => Err(trouble),
            };
            match passed {
                Ok(()) => {
                    self.task.running();
                    return Ok(());
                }
                Err(trouble) => self.outlive(trouble).await?,
            }
        }
    }

    fn advance(&mut self, chunk: &Chunk) {
        self.transaction.advance(&chunk.topic, chunk.partition, chunk.next);
        self.positions.insert((chunk.topic.clone(), chunk.partition), chunk.next);
    }

    async fn commit(&mut self) -> Result<(), End> {
        let held = self.transaction.held();
        match self.try_commit().await {
            // The steps that went together, one by one; unless this was one.
            Err(IoError::Refused(_)) if held.keys().any(|at| !self.memory.careful.contains_key(at)) => {
                self.memory.careful.extend(held);
                Err(End::Renew)
            }
            other => Ok(other?),
        }
    }

    async fn try_commit(&mut self) -> Result<(), IoError> {
        if !self.transaction.is_open() {
            return Ok(());
        }
        let owner = Owner {
            name: &self.task.spec.name,
            group: &self.group,
            task: self.task.task,
            board: &self.task.board,
            progress: &self.task.progress,
        };
        let committed = self.transaction.commit(&owner).await?;
        self.backoff.progressed();
        for (at, next) in committed.offsets {
            self.show(&at);
            self.published.insert(at, Some(next));
        }
        self.commits = self.commits.wrapping_add(1);
        if self.commits.is_multiple_of(WORN_EVERY) {
            let retired = self.guest.run(|instance| Box::pin(async { Ok(instance.retire_if_worn()) })).await;
            self.shaken |= retired.unwrap_or(true);
        }
        Ok(())
    }

    fn show(&self, at: &At) {
        let position = self.positions.get(at).copied().unwrap_or_default();
        self.task.board.reached(&at.0, at.1, position);
    }
}

/// A stretch of offsets without records.
fn empty(at: &At, from: Offset, next: Offset) -> Chunk {
    Chunk {
        topic: at.0.clone(),
        partition: at.1,
        base_offset: from.0,
        base_timestamp: -1,
        append_timestamp: None,
        count: 0,
        records: bytes::Bytes::new(),
        next,
    }
}
