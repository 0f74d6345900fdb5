//! The pump of a source: poll, send, commit with the cursor, tell the source.

use std::convert::Infallible;
use std::time::Duration;

use super::counted::Counted;
use super::transaction::{Owner, Transaction};
use super::{End, Task, WORN_EVERY};
use crate::Policy;
use crate::backoff::Backoff;
use crate::dead_letter::{Body, Letter, Place};
use crate::guest::{BadInput, CallError, Guest, Polled};
use crate::io::IoError;
use crate::route::Routed;
use crate::section::{Heads, Packer};
use crate::status::Counts;

/// A poll is asked for about so much; less after it has broken the guest.
const POLL_BYTES: u32 = 1 << 20;
const POLL_BYTES_MIN: u32 = 4 << 10;
/// Of a record that is too large for its topic, this much is parked.
const REFUSED_KEPT: usize = 64 << 10;
/// An idle source is asked again after this at the latest.
const IDLE_MAX: Duration = Duration::from_secs(60);

pub(super) async fn session(
    task: &mut Task,
    guest: &mut Guest,
    backoff: &mut Backoff,
) -> Result<Infallible, End> {
    // A source is opened once: one that was open in a session before is started anew.
    if !guest.run(|instance| Box::pin(async { Ok(instance.is_fresh()) })).await? {
        start(task, guest).await?;
    }
    let counted = Counted::new(&*task.log, &task.spec.outputs).await?;
    let producer = task.producer().await?;
    task.route_outputs(guest).await?;
    let cursor = task.log.cursor(&task.spec.name, task.task).await?;
    open(guest, cursor).await?;
    task.began();
    let transaction = Transaction::new(producer);
    let mut pump = Pump { transaction, bytes: POLL_BYTES, commits: 0, counted, task, guest, backoff };
    loop {
        pump.step().await?;
    }
}

async fn start(task: &Task, guest: &mut Guest) -> Result<(), CallError> {
    let started = guest.start().await;
    if let Err(CallError::Broken(_)) = &started {
        task.board.restarted();
    }
    started
}

async fn open(guest: &mut Guest, cursor: Option<Vec<u8>>) -> Result<(), CallError> {
    guest.run(move |instance| Box::pin(async move { instance.open(cursor.as_deref()).await })).await
}

struct Pump<'a> {
    task: &'a Task,
    guest: &'a mut Guest,
    backoff: &'a mut Backoff,
    transaction: Transaction,
    bytes: u32,
    /// Since the guest's memory was looked at.
    commits: u32,
    counted: Counted,
}

impl Pump<'_> {
    async fn step(&mut self) -> Result<(), End> {
        if self.task.halt.is_cancelled() {
            self.commit().await?;
            return Err(End::Halted);
        }
        self.look_around().await?;
        let bytes = self.bytes;
        match self.guest.run(move |instance| Box::pin(instance.poll(bytes))).await {
            Ok(polled) => self.take(polled).await,
            // What came before it counts all the same.
            Err(CallError::Retry { reason, after }) => {
                self.commit().await?;
                match self.task.wait(self.backoff, reason, after).await {
                    true => Ok(()),
                    false => Err(End::Halted),
                }
            }
            Err(error) => {
                if let CallError::Broken(_) = &error {
                    self.task.board.restarted();
                    self.bytes = (self.bytes / 4).max(POLL_BYTES_MIN);
                }
                self.commit().await?;
                Err(error.into())
            }
        }
    }

    /// Topics that have grown, and a guest that has.
    async fn look_around(&mut self) -> Result<(), End> {
        if self.counted.have_changed(&*self.task.log).await? {
            self.commit().await?;
            self.task.route_outputs(self.guest).await?;
        }
        if self.commits >= WORN_EVERY && !self.transaction.is_open() {
            self.commits = 0;
            if self.guest.run(|instance| Box::pin(async { Ok(instance.retire_if_worn()) })).await? {
                return Err(End::Renew);
            }
        }
        Ok(())
    }

    async fn take(&mut self, polled: Polled) -> Result<(), End> {
        let mut bad = polled.bad;
        let mut records = 0;
        for routed in polled.routed {
            records += self.send(routed, &mut bad).await?;
        }
        self.bad(&bad).await?;
        let rejected = bad.len() as u64;
        if records + rejected > 0 {
            let counts = Counts { records_in: records + rejected, records_out: records, rejected };
            self.transaction.count(counts, 0);
        }
        if let Some(cursor) = polled.cursor {
            self.transaction.set_cursor(cursor);
        }
        self.task.running();
        if polled.finished {
            self.commit().await?;
            return Err(End::Finished);
        }
        let idle = polled.idle.map(|idle| idle.min(IDLE_MAX));
        if idle.is_some() || self.transaction.is_due() {
            self.commit().await?;
        }
        if let Some(idle) = idle {
            self.backoff.progressed();
            tokio::select! {
                () = self.task.halt.cancelled() => {}
                () = tokio::time::sleep(idle) => {}
            }
        }
        Ok(())
    }

    /// Sends them; what the topic will never take becomes bad input, one by one.
    async fn send(&mut self, routed: Routed, bad: &mut Vec<BadInput>) -> Result<u64, End> {
        let count = u64::from(routed.packed.count);
        let (topic, partition) = (routed.topic.clone(), routed.partition);
        let records = routed.packed.clone();
        match self.transaction.send(routed).await {
            Ok(()) => return Ok(count),
            Err(IoError::Refused(_)) => {}
            Err(other) => return Err(other.into()),
        }
        let mut sent = 0;
        for head in Heads::new(&records.records, records.count).flatten() {
            let mut packer = Packer::default();
            packer.push(records.base_timestamp.0.saturating_add(head.timestamp_delta), head.rest);
            let Some(packed) = packer.finish() else { continue };
            match self.transaction.send(Routed { topic: topic.clone(), partition, packed }).await {
                Ok(()) => sent += 1,
                Err(IoError::Refused(reason)) => {
                    let start = &head.raw[..head.raw.len().min(REFUSED_KEPT)];
                    bad.push(BadInput { origin: format!("for {topic}"), data: start.to_vec(), reason });
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(sent)
    }

    /// Parks, skips or stops, as the configuration says.
    async fn bad(&mut self, bad: &[BadInput]) -> Result<(), End> {
        let Some(first) = bad.first() else { return Ok(()) };
        let said = || format!("{}: {}", first.origin, first.reason);
        match self.task.spec.errors.policy {
            Policy::Skip => Ok(()),
            // What was polled before it comes again: the next session opens at what is committed.
            Policy::Stop => {
                self.transaction.abort().await?;
                Err(End::Fatal(format!("{} (errors.policy is stop)", said())))
            }
            Policy::Retry => {
                self.transaction.abort().await?;
                Err(End::Again { reason: format!("{} (errors.policy is retry)", said()), after: None })
            }
            Policy::DeadLetter | Policy::Quarantine => {
                let sender = self.task.letters().await?;
                for bad in bad {
                    let letter = Letter {
                        body: Body::Bytes(&bad.data),
                        place: Place::Input(&bad.origin),
                        reason: &bad.reason,
                        attempts: 1,
                        timestamp: -1,
                    };
                    self.transaction.park(&sender, &letter).await?;
                }
                Ok(())
            }
        }
    }

    async fn commit(&mut self) -> Result<(), End> {
        if !self.transaction.is_open() {
            return Ok(());
        }
        let task = self.task;
        let group = task.spec.group();
        let owner = Owner {
            name: &task.spec.name,
            group: &group,
            task: task.task,
            board: &task.board,
            progress: &task.progress,
        };
        let committed = self.transaction.commit(&owner).await?;
        self.backoff.progressed();
        self.commits += 1;
        let Some(cursor) = committed.cursor else { return Ok(()) };
        let told = self
            .guest
            .run(move |instance| {
                Box::pin(async move {
                    if !instance.is_alive() {
                        return Ok(());
                    }
                    instance.committed(&cursor).await
                })
            })
            .await;
        match told {
            Ok(()) => Ok(()),
            // It may be left out.
            Err(CallError::Retry { reason, .. }) => {
                tracing::warn!(
                    plugin = task.spec.name,
                    reason,
                    "a source could not act on what is committed"
                );
                Ok(())
            }
            Err(error) => {
                if let CallError::Broken(_) = &error {
                    task.board.restarted();
                }
                Err(error.into())
            }
        }
    }
}
