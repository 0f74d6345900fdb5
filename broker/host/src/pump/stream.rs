//! The pump of a filter, a transform or a sink: read, call, write, commit.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use flumen_types::Offset;

use super::bisect::{self, Case, Next};
use super::quarantine::{self, Quarantine, first_follower};
use super::reader::{Incoming, Readers};
use super::transaction::{Owner, Transaction};
use super::{At, End, Task};
use crate::backoff::Backoff;
use crate::chunk::{Chunk, Piece};
use crate::dead_letter::{Body, Letter, Place, Sender};
use crate::guest::{Broken, CallError, Guest, Processed, Rejects, Step};
use crate::io::IoError;
use crate::route::{Rejected, Routed};
use crate::section::Heads;
use crate::status::{Counts, now_ms};
use crate::{Kind, Policy, sql};

/// How often partitions are counted anew.
const RECOUNT: Duration = Duration::from_secs(10);

/// So many commits apart the guest's memory is looked at.
const WORN_EVERY: u32 = 16;

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
    let assigned = assign(task).await?;
    let producer = task.log.producer(&task.spec.transactional_id(task.task)).await?;
    task.route_outputs(guest).await?;
    let mut pump = Pump {
        group: task.spec.group(),
        transaction: Transaction::new(producer),
        positions: BTreeMap::new(),
        published: BTreeMap::new(),
        ends: BTreeMap::new(),
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
    let readers = Readers::start(&pump.task.log, from.collect());
    pump.run(readers, &assigned).await
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
    /// The topic that it should go to will never take it.
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
            other => Trouble::End(other.into()),
        }
    }
}

/// A piece of a chunk that has yet to be done.
struct Work {
    chunk: Chunk,
    attempts: u32,
    /// In quarantine: to be parked, not done.
    held: bool,
}

struct Pump<'a> {
    task: &'a mut Task,
    guest: &'a mut Guest,
    backoff: &'a mut Backoff,
    memory: &'a mut Memory,
    group: String,
    transaction: Transaction,
    /// Up to where each partition has been dealt with, committed or not.
    positions: BTreeMap<At, Offset>,
    /// The group's offsets as they are committed.
    published: BTreeMap<At, Option<Offset>>,
    ends: BTreeMap<At, Offset>,
    /// Made when the first letter is there, and with it the topic.
    sender: Option<Sender>,
    /// The guest may be dead.
    shaken: bool,
    /// Under that policy.
    quarantine: Option<Quarantine>,
    commits: u32,
}

impl Pump<'_> {
    /// Finds where its predecessor was, in the group or in the database.
    async fn resume(&mut self, assigned: &[At]) -> Result<(), End> {
        for (topic, partition) in assigned {
            let committed = self.task.log.committed(&self.group, topic, *partition).await?;
            let at = (topic.clone(), *partition);
            self.positions.insert(at.clone(), committed.unwrap_or(Offset::ZERO));
            self.published.insert(at, committed);
        }
        self.start_guest().await?;
        if self.task.info.sql {
            self.resume_sql(assigned).await?;
        }
        self.shaken = false;
        let errors = &self.task.spec.errors;
        if errors.policy == Policy::Quarantine {
            let (log, plugin) = (self.task.log.clone(), &self.task.spec.name);
            self.quarantine = Some(Quarantine::load(log, plugin, &errors.topic).await?);
        }
        for ((topic, partition), at) in &self.positions {
            self.task.progress.set(topic, *partition, *at);
        }
        Ok(())
    }

    async fn resume_sql(&mut self, assigned: &[At]) -> Result<(), End> {
        let taken = self.take(assigned).await?;
        for (at, taken) in assigned.iter().zip(taken) {
            let group = self.published.get(at).copied().flatten();
            let (next, letters) = taken.resume(group);
            let next = next.unwrap_or(Offset::ZERO);
            if taken.next.is_some_and(|known| next < known) {
                tracing::warn!(plugin = self.task.spec.name, topic = %at.0, partition = at.1, from = next.0, "the group was reset: going on from there");
            }
            self.positions.insert(at.clone(), next);
            for letter in letters {
                self.publish(at, letter).await?;
            }
            if !letters.is_empty() {
                self.transaction.advance(&at.0, at.1, next);
            }
        }
        self.commit().await
    }

    /// A letter that a predecessor wrote into the database, and did not come to send.
    async fn publish(&mut self, at: &At, letter: &sql::Letter) -> Result<(), End> {
        let offset = Offset(letter.offset);
        let read = self.task.log.read(&at.0, at.1, offset, 1, Duration::ZERO).await;
        let pieces = read.map(|read| crate::chunk::pieces(&at.0, at.1, offset, &read)).unwrap_or_default();
        let chunk = pieces.iter().find_map(|piece| match piece {
            Piece::Records(chunk) => Some(chunk),
            Piece::Unreadable { .. } => None,
        });
        let head = chunk.and_then(|chunk| {
            let head = Heads::new(&chunk.records, chunk.count).next()?.ok()?;
            let here = chunk.base_offset + i64::from(head.offset_delta) == letter.offset;
            here.then(|| (head.raw, chunk.timestamp(head.timestamp_delta)))
        });
        let unreadable = pieces.iter().find_map(|piece| match piece {
            Piece::Unreadable { batch, .. } => Some(batch.bytes()),
            Piece::Records(_) => None,
        });
        let (body, timestamp) = match (head, unreadable) {
            (Some((raw, timestamp)), _) => (Body::Record(raw), timestamp),
            (None, Some(bytes)) => (Body::Bytes(bytes), -1),
            (None, None) => (Body::Bytes(b""), -1),
        };
        let place = Place::Log { topic: &at.0, partition: at.1, offset: letter.offset };
        let letter = Letter { body, place, reason: &letter.reason, attempts: letter.attempts, timestamp };
        let routed = self.sender().await?.pack(&letter, now_ms());
        self.transaction.send(routed).await?;
        Ok(())
    }

    /// In the database, every partition that is ours.
    async fn take(&mut self, assigned: &[At]) -> Result<Vec<sql::Taken>, CallError> {
        let partitions: Vec<(String, u32)> = assigned.iter().map(|(t, p)| (t.to_string(), *p)).collect();
        self.guest.run(move |instance| Box::pin(async move { instance.take(&partitions).await })).await
    }

    async fn start_guest(&mut self) -> Result<(), CallError> {
        if self.guest.run(|instance| Box::pin(async { Ok(instance.is_alive()) })).await? {
            return Ok(());
        }
        let started = self.guest.start().await;
        if let Err(CallError::Broken(_)) = &started {
            self.task.board.restarted();
        }
        started
    }

    /// A guest that can be called. One that cannot be set up is no record's fault.
    async fn ready_guest(&mut self) -> Result<(), Trouble> {
        if !self.shaken {
            return Ok(());
        }
        match self.revive().await {
            Ok(()) => {
                self.shaken = false;
                Ok(())
            }
            Err(CallError::Broken(broken)) => {
                Err(Trouble::Retry { reason: format!("setting it up failed: {broken}"), after: None })
            }
            Err(other) => Err(other.into()),
        }
    }

    async fn revive(&mut self) -> Result<(), CallError> {
        if self.guest.run(|instance| Box::pin(async { Ok(instance.is_alive()) })).await? {
            return Ok(());
        }
        self.start_guest().await?;
        if !self.task.info.sql {
            return Ok(());
        }
        let assigned: Vec<At> = self.positions.keys().cloned().collect();
        let taken = self.take(&assigned).await?;
        let known = taken.iter().zip(self.positions.values());
        let moved = known.into_iter().any(|(taken, at)| taken.next.is_some_and(|next| next != *at));
        // A commit whose answer was lost may have happened. Then a session must begin.
        if moved { Err(CallError::Fenced) } else { Ok(()) }
    }

    async fn run(mut self, mut readers: Readers, assigned: &[At]) -> Result<Infallible, End> {
        let mut recount = tokio::time::interval_at(tokio::time::Instant::now() + RECOUNT, RECOUNT);
        let halt = self.task.halt.clone();
        loop {
            if halt.is_cancelled() {
                self.commit().await?;
                return Err(End::Halted);
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
                        _ = recount.tick() => {
                            if assign(self.task).await? != assigned {
                                return Err(End::Renew);
                            }
                            continue;
                        }
                    }
                }
            };
            self.take_in(incoming).await?;
        }
    }

    async fn take_in(&mut self, incoming: Incoming) -> Result<(), End> {
        let at = (incoming.topic.clone(), incoming.partition);
        self.ends.insert(at.clone(), incoming.end);
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
        self.measure(&at);
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
                Ok(()) => return Ok(()),
                Err(trouble) => self.outlive(trouble).await?,
            }
        }
    }

    /// One chunk, until all of it is done, parked or skipped.
    async fn work(&mut self, chunk: Chunk) -> Result<(), End> {
        let mut stack = vec![Work { chunk, attempts: 1, held: false }];
        while let Some(work) = stack.pop() {
            let Some(work) = self.set_apart(&mut stack, work).await? else { continue };
            let done = match self.ready_guest().await {
                Ok(()) => self.attempt(&work).await,
                Err(trouble) => Err(trouble),
            };
            match done {
                Ok(()) => {
                    self.memory.proven = true;
                    self.task.running();
                    self.step_done(&work.chunk).await?;
                }
                Err(Trouble::Broken(broken)) => {
                    self.task.board.restarted();
                    self.shaken = true;
                    tracing::debug!(plugin = self.task.spec.name, topic = %work.chunk.topic, partition = work.chunk.partition,
                        offset = work.chunk.base_offset, records = work.chunk.count, %broken, "a call broke the guest");
                    match bisect::next(&self.case(&work, &broken)) {
                        Next::Wait => {
                            let reason = broken.to_string();
                            self.outlive(Trouble::Retry { reason, after: None }).await?;
                            stack.push(work);
                        }
                        next => self.narrow(&mut stack, work, next, broken.to_string()).await?,
                    }
                }
                Err(Trouble::Follows(at)) => {
                    self.narrow(&mut stack, work, Next::Split(at), String::new()).await?;
                }
                Err(Trouble::Refused(reason)) => {
                    let next = match work.chunk.count {
                        0 | 1 => Next::Poison,
                        count => Next::Split(count / 2),
                    };
                    self.narrow(&mut stack, work, next, reason).await?;
                }
                Err(trouble) => {
                    self.outlive(trouble).await?;
                    stack.push(work);
                }
            }
        }
        Ok(())
    }

    /// Parks what is held in quarantine; gives the work back if all of it is free.
    async fn set_apart(&mut self, stack: &mut Vec<Work>, work: Work) -> Result<Option<Work>, End> {
        if work.held {
            let reject = |index| Rejected { index, reason: quarantine::REASON.to_owned() };
            let rejected: Vec<Rejected> = (0..work.chunk.count).map(reject).collect();
            self.reject_whole(&work.chunk, &rejected, None).await?;
            return Ok(None);
        }
        if !self.quarantine.as_ref().is_some_and(|quarantine| quarantine.meets(&work.chunk)) {
            return Ok(Some(work));
        }
        // Letters that are on their way must be where the quarantine looks.
        self.commit().await?;
        let Some(quarantine) = &mut self.quarantine else { return Ok(Some(work)) };
        let stretches = quarantine.divide(work.chunk).await?;
        stack.extend(stretches.into_iter().rev().map(|(chunk, held)| Work { chunk, attempts: 1, held }));
        Ok(None)
    }

    fn case(&self, work: &Work, broken: &Broken) -> Case {
        let spec = &self.task.spec;
        let granted = !spec.grants.files.is_empty() || !spec.grants.http.is_empty();
        Case {
            cause: broken.cause,
            count: work.chunk.count,
            attempts: work.attempts,
            waits: granted || !spec.grants.databases.is_empty(),
            proven: self.memory.proven,
            blamed: self.memory.blamed,
        }
    }

    async fn narrow(
        &mut self,
        stack: &mut Vec<Work>,
        work: Work,
        next: Next,
        reason: String,
    ) -> Result<(), End> {
        let attempts = work.attempts + 1;
        let halves = match next {
            Next::Split(at) => work.chunk.split(at),
            _ => None,
        };
        match (next, halves) {
            (_, Some((left, right))) => {
                stack.push(Work { chunk: right, attempts, held: false });
                stack.push(Work { chunk: left, attempts, held: false });
                Ok(())
            }
            (Next::Poison, _) => {
                if !self.memory.proven {
                    self.memory.blamed += 1;
                }
                let rejected = [Rejected { index: 0, reason }];
                self.reject_whole(&work.chunk, &rejected, None).await
            }
            _ => {
                stack.push(Work { attempts, ..work });
                Ok(())
            }
        }
    }

    /// Commits what came before, waits if that may help, or ends the session.
    async fn outlive(&mut self, trouble: Trouble) -> Result<(), End> {
        match trouble {
            Trouble::Retry { reason, after } => {
                self.shaken = true;
                self.commit().await?;
                match self.task.wait(self.backoff, reason, after).await {
                    true => Ok(()),
                    false => Err(End::Halted),
                }
            }
            Trouble::Broken(broken) => Err(End::Again { reason: broken.to_string(), after: None }),
            Trouble::Refused(reason) => Err(End::Again { reason, after: None }),
            Trouble::Follows(_) => Err(End::Renew),
            Trouble::End(end) => Err(end),
        }
    }

    async fn step_done(&mut self, chunk: &Chunk) -> Result<(), End> {
        let at = (chunk.topic.clone(), chunk.partition);
        match self.memory.careful.get(&at) {
            Some(until) if chunk.next >= *until => {
                self.memory.careful.remove(&at);
                self.commit().await
            }
            Some(_) => self.commit().await,
            None if self.transaction.is_due() => self.commit().await,
            None => Ok(()),
        }
    }

    async fn attempt(&mut self, work: &Work) -> Result<(), Trouble> {
        if self.task.spec.kind == Kind::Transform {
            return self.transform(work).await;
        }
        let chunk = work.chunk.clone();
        let written = if self.task.info.sql {
            let step = self.step(&work.chunk, work.attempts);
            self.guest
                .run(move |instance| Box::pin(async move { instance.write_sql(&chunk, &step).await }))
                .await?
        } else {
            self.guest.run(move |instance| Box::pin(async move { instance.write(&chunk).await })).await?
        };
        if !written.committed {
            self.judge(&work.chunk, &written.rejected)?;
            if self.task.info.sql {
                self.in_order(&work.chunk, &written.rejected)?;
            }
        }
        self.settle(&work.chunk, &written.rejected, work.attempts, None).await
    }

    async fn transform(&mut self, work: &Work) -> Result<(), Trouble> {
        let chunk = work.chunk.clone();
        let Processed { routed, rejected } =
            self.guest.run(move |instance| Box::pin(async move { instance.process(&chunk).await })).await?;
        self.judge(&work.chunk, &rejected)?;
        self.in_order(&work.chunk, &rejected)?;
        let alone = !self.transaction.is_open();
        let records_out = routed.iter().map(|r| u64::from(r.packed.count)).sum();
        for routed in routed {
            match self.transaction.send(routed).await {
                Err(IoError::Refused(reason)) => return Err(self.refused(&work.chunk, alone, reason).await),
                sent => sent?,
            }
        }
        self.transaction.count(Counts { records_out, ..Counts::default() }, 0);
        self.settle(&work.chunk, &rejected, work.attempts, None).await?;
        if !self.memory.careful.contains_key(&(work.chunk.topic.clone(), work.chunk.partition)) {
            return Ok(());
        }
        // A topic may refuse as late as this.
        match self.try_commit().await {
            Ok(()) => Ok(()),
            Err(IoError::Refused(reason)) => {
                let id = self.task.spec.transactional_id(self.task.task);
                self.transaction = Transaction::new(self.task.log.producer(&id).await?);
                Err(Trouble::Refused(reason))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// An output will not be taken. Whose it was is found in steps that are committed alone.
    async fn refused(&mut self, chunk: &Chunk, alone: bool, reason: String) -> Trouble {
        if !alone {
            self.memory.careful.insert((chunk.topic.clone(), chunk.partition), chunk.next);
            return Trouble::End(End::Renew);
        }
        match self.transaction.abort().await {
            Ok(()) => Trouble::Refused(reason),
            Err(error) => error.into(),
        }
    }

    /// What the configuration says of rejected records, before anything of their chunk counts.
    fn judge(&self, chunk: &Chunk, rejected: &[Rejected]) -> Result<(), Trouble> {
        let Some(first) = rejected.first() else { return Ok(()) };
        let offset = match Heads::new(&chunk.records, chunk.count).nth(first.index as usize) {
            Some(Ok(head)) => chunk.base_offset + i64::from(head.offset_delta),
            _ => chunk.base_offset,
        };
        let said = format!("{}-{}@{offset}: {}", chunk.topic, chunk.partition, first.reason);
        match self.task.spec.errors.policy {
            Policy::Stop => Err(End::Fatal(format!("{said} (errors.policy is stop)")).into()),
            Policy::Retry => {
                Err(Trouble::Retry { reason: format!("{said} (errors.policy is retry)"), after: None })
            }
            Policy::Skip | Policy::DeadLetter | Policy::Quarantine => Ok(()),
        }
    }

    /// In quarantine a record waits for an earlier one of its key: then the answer cannot stand.
    fn in_order(&self, chunk: &Chunk, rejected: &[Rejected]) -> Result<(), Trouble> {
        match first_follower(chunk, rejected) {
            Some(at) if self.quarantine.is_some() => Err(Trouble::Follows(at)),
            _ => Ok(()),
        }
    }

    fn step(&self, chunk: &Chunk, attempts: u32) -> Step {
        let at = (chunk.topic.clone(), chunk.partition);
        let rejects = match self.task.spec.errors.policy {
            Policy::Retry | Policy::Stop => Rejects::Undo,
            Policy::Skip => Rejects::Forget,
            Policy::DeadLetter => Rejects::Keep,
            Policy::Quarantine => Rejects::KeepInOrder,
        };
        Step { published: self.published.get(&at).copied().flatten(), attempts, rejects }
    }

    async fn pass_sql(&mut self, chunk: &Chunk, rejected: &[Rejected], attempts: u32) -> Result<(), Trouble> {
        let (step, rejected, past) = (self.step(chunk, attempts), rejected.to_vec(), chunk.clone());
        self.guest
            .run(move |instance| Box::pin(async move { instance.pass_sql(&past, &rejected, &step).await }))
            .await?;
        self.advance(chunk);
        Ok(())
    }

    /// A chunk that is all bad; `bytes` are those of a batch that could not be read.
    async fn reject_whole(
        &mut self,
        chunk: &Chunk,
        rejected: &[Rejected],
        bytes: Option<&[u8]>,
    ) -> Result<(), End> {
        loop {
            let done = match self.judge(chunk, rejected) {
                Ok(()) if self.task.info.sql => match self.ready_guest().await {
                    Ok(()) => self.pass_sql(chunk, rejected, 2).await,
                    Err(trouble) => Err(trouble),
                },
                judged => judged,
            };
            match done {
                Ok(()) => break,
                Err(trouble) => self.outlive(trouble).await?,
            }
        }
        match self.settle(chunk, rejected, 2, bytes).await {
            Ok(()) => self.step_done(chunk).await,
            Err(trouble) => self.outlive(trouble).await,
        }
    }

    /// Into the transaction: letters, counts and the offset behind the chunk.
    async fn settle(
        &mut self,
        chunk: &Chunk,
        rejected: &[Rejected],
        attempts: u32,
        bytes: Option<&[u8]>,
    ) -> Result<(), Trouble> {
        let keeps = matches!(self.task.spec.errors.policy, Policy::DeadLetter | Policy::Quarantine);
        if keeps && !rejected.is_empty() {
            let sender = self.sender().await?.clone();
            for routed in letters(&sender, chunk, rejected, attempts, bytes) {
                self.transaction.send(routed).await?;
            }
        }
        if let Some(quarantine) = &mut self.quarantine {
            quarantine.add(chunk, rejected);
        }
        let records_in = u64::from(chunk.count.max(rejected.len() as u32));
        let counts = Counts { records_in, rejected: rejected.len() as u64, ..Counts::default() };
        self.transaction.count(counts, chunk.records.len());
        self.advance(chunk);
        if self.task.info.sql && keeps && !rejected.is_empty() {
            // The row is written again only when its letters have gone.
            self.commit().await?;
        }
        Ok(())
    }

    fn advance(&mut self, chunk: &Chunk) {
        self.transaction.advance(&chunk.topic, chunk.partition, chunk.next);
        self.positions.insert((chunk.topic.clone(), chunk.partition), chunk.next);
    }

    async fn sender(&mut self) -> Result<&Sender, IoError> {
        let sender = match self.sender.take() {
            Some(sender) => sender,
            None => self.task.letters().await?,
        };
        Ok(self.sender.insert(sender))
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
            self.measure(&at);
            self.published.insert(at, Some(next));
        }
        self.commits = self.commits.wrapping_add(1);
        if self.commits.is_multiple_of(WORN_EVERY) {
            let retired = self.guest.run(|instance| Box::pin(async { Ok(instance.retire_if_worn()) })).await;
            self.shaken |= retired.unwrap_or(true);
        }
        Ok(())
    }

    fn measure(&self, at: &At) {
        let position = self.positions.get(at).copied().unwrap_or_default();
        let lag = self.ends.get(at).map_or(0, |end| end.since(position).max(0) as u64);
        self.task.board.lag(&at.0, at.1, lag);
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

fn letters(
    sender: &Sender,
    chunk: &Chunk,
    rejected: &[Rejected],
    attempts: u32,
    bytes: Option<&[u8]>,
) -> Vec<Routed> {
    let place = |offset| Place::Log { topic: &chunk.topic, partition: chunk.partition, offset };
    if let (Some(bytes), Some(first)) = (bytes, rejected.first()) {
        let letter = Letter {
            body: Body::Bytes(bytes),
            place: place(chunk.base_offset),
            reason: &first.reason,
            attempts,
            timestamp: -1,
        };
        return vec![sender.pack(&letter, now_ms())];
    }
    let mut rejected = rejected.iter().peekable();
    let mut routed = Vec::with_capacity(rejected.len());
    for (index, head) in Heads::new(&chunk.records, chunk.count).flatten().enumerate() {
        let Some(r) = rejected.next_if(|r| r.index as usize == index) else { continue };
        let letter = Letter {
            body: Body::Record(head.raw),
            place: place(chunk.base_offset + i64::from(head.offset_delta)),
            reason: &r.reason,
            attempts,
            timestamp: chunk.timestamp(head.timestamp_delta),
        };
        routed.push(sender.pack(&letter, now_ms()));
    }
    routed
}
