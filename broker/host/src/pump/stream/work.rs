//! One chunk, until all of it is done, parked or skipped.
//!
//! Nothing of a call counts before the configuration has been asked about what it rejected; an offset
//! moves only with, or behind, everything that belongs to the records before it.

use std::time::Instant;

use super::{End, Pump, Trouble};
use crate::chunk::Chunk;
use crate::dead_letter::{Body, Letter, Place, Sender};
use crate::guest::{Broken, Cause, Processed, Rejects, Step};
use crate::io::IoError;
use crate::pump::bisect::{self, Case, Next};
use crate::pump::quarantine::{self, first_follower};
use crate::pump::transaction::Transaction;
use crate::route::Rejected;
use crate::section::Heads;
use crate::status::Counts;
use crate::{Kind, Policy, lock};

/// A piece of a chunk that has yet to be done.
struct Work {
    chunk: Chunk,
    attempts: u32,
    /// In quarantine: to be parked, not done.
    held: bool,
}

impl Pump<'_> {
    /// One chunk, until all of it is done, parked or skipped.
    pub(super) async fn work(&mut self, chunk: Chunk) -> Result<(), End> {
        let mut stack = vec![Work { chunk, attempts: 1, held: false }];
        while let Some(work) = stack.pop() {
            let Some(work) = self.set_apart(&mut stack, work).await? else { continue };
            let work = self.paced(&mut stack, work);
            let begun = Instant::now();
            let done = match self.ready_guest().await {
                Ok(()) => self.attempt(&work).await,
                Err(trouble) => Err(trouble),
            };
            match done {
                Ok(()) => {
                    self.memory.proven = true;
                    let limit = self.task.spec.limits.call;
                    lock(&self.task.pace).kept(work.chunk.count, begun.elapsed(), limit);
                    self.task.running();
                    self.step_done(&work.chunk).await?;
                }
                Err(Trouble::Broken(broken)) => {
                    self.task.board.restarted();
                    self.shaken = true;
                    if matches!(broken.cause, Cause::Deadline | Cause::Waited) {
                        lock(&self.task.pace).missed(work.chunk.count);
                    }
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

    /// As much of it as a call gets done in time.
    fn paced(&self, stack: &mut Vec<Work>, work: Work) -> Work {
        let split = lock(&self.task.pace).records_max().and_then(|most| work.chunk.split(most));
        let Some((now, later)) = split else { return work };
        stack.push(Work { chunk: later, ..work });
        Work { chunk: now, ..work }
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
            (Next::Poison, _) if self.task.spec.errors.policy == Policy::Retry => {
                // Something else may change, so that it can be done: the guest, the world, the topic.
                if let Err(trouble) = self.judge(&work.chunk, &[Rejected { index: 0, reason }]) {
                    self.outlive(trouble).await?;
                }
                stack.push(Work { attempts: 2, ..work });
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
    pub(super) async fn outlive(&mut self, trouble: Trouble) -> Result<(), End> {
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
        // What is likely to be refused goes alone: others' finished work is not dropped with it.
        if self.memory.careful.contains_key(&(work.chunk.topic.clone(), work.chunk.partition)) {
            self.commit().await?;
        }
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
                self.transaction = Transaction::new(self.task.producer().await?);
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

    pub(super) async fn pass_sql(
        &mut self,
        chunk: &Chunk,
        rejected: &[Rejected],
        attempts: u32,
    ) -> Result<(), Trouble> {
        let (step, rejected, past) = (self.step(chunk, attempts), rejected.to_vec(), chunk.clone());
        self.guest
            .run(move |instance| Box::pin(async move { instance.pass_sql(&past, &rejected, &step).await }))
            .await?;
        self.advance(chunk);
        Ok(())
    }

    /// A chunk that is all bad; `bytes` are those of a batch that could not be read.
    pub(super) async fn reject_whole(
        &mut self,
        chunk: &Chunk,
        rejected: &[Rejected],
        bytes: Option<&[u8]>,
    ) -> Result<(), End> {
        loop {
            let done = match self.judge(chunk, rejected) {
                // It is read again, for it is not the guest that decides.
                Err(Trouble::Retry { reason, after }) => {
                    self.commit().await?;
                    return Err(End::Again { reason, after });
                }
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
            Ok(()) => {
                self.task.running();
                self.step_done(chunk).await
            }
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
        let keeps = self.task.spec.errors.parks();
        if keeps && !rejected.is_empty() {
            let sender = self.sender().await?.clone();
            for letter in letters(chunk, rejected, attempts, bytes) {
                self.transaction.park(&sender, &letter).await?;
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

    pub(super) async fn sender(&mut self) -> Result<&Sender, IoError> {
        let sender = match self.sender.take() {
            Some(sender) => sender,
            None => {
                let sender = self.task.letters().await?;
                self.counted.add(sender.topic.clone(), sender.partitions);
                sender
            }
        };
        Ok(self.sender.insert(sender))
    }
}

fn letters<'a>(
    chunk: &'a Chunk,
    rejected: &'a [Rejected],
    attempts: u32,
    bytes: Option<&'a [u8]>,
) -> Vec<Letter<'a>> {
    let place = |offset| Place::Log { topic: &chunk.topic, partition: chunk.partition, offset };
    if let (Some(bytes), Some(first)) = (bytes, rejected.first()) {
        let letter = Letter {
            body: Body::Bytes(bytes),
            place: place(chunk.base_offset),
            reason: &first.reason,
            attempts,
            timestamp: -1,
        };
        return vec![letter];
    }
    let mut rejected = rejected.iter().peekable();
    let mut letters = Vec::with_capacity(rejected.len());
    for (index, head) in Heads::new(&chunk.records, chunk.count).flatten().enumerate() {
        let Some(r) = rejected.next_if(|r| r.index as usize == index) else { continue };
        letters.push(Letter {
            body: Body::Record(head.raw),
            place: place(chunk.base_offset + i64::from(head.offset_delta)),
            reason: &r.reason,
            attempts,
            timestamp: chunk.timestamp(head.timestamp_delta),
        });
    }
    letters
}
