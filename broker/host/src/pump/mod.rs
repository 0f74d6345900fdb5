//! Pumps: read, call, write, commit; exactly once, as delivery.md draws it.
//!
//! A pump is one task of one plugin. It lives in sessions: each begins by fencing whatever ran before,
//! goes on from what that had committed, and ends with the first error that a transaction cannot
//! outlive; then it waits, and the next begins. What a session promises:
//!
//! - *source*: records and cursor are one transaction; `committed` is called after it.
//! - *transform*: outputs, dead letters and the group's offsets are one transaction.
//! - *SQL sink*: rows and offset are one transaction of the database; then dead letters and the group's
//!   offset one of the broker (`sql/offsets.rs` says why nothing is lost or repeated in between).
//! - *other sinks*: dead letters and offsets are one transaction, after the far side has answered.

mod bisect;
mod counted;
mod quarantine;
mod reader;
mod source;
mod stream;
mod transaction;

pub(crate) use quarantine::first_follower;
pub(crate) use stream::Pace;

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flumen_types::Offset;
use futures::FutureExt;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::dead_letter::Sender;
use crate::guest::{CallError, Guest};
use crate::io::{IoError, Log, Producer};
use crate::status::Board;
use crate::{Kind, PluginInfo, PluginSpec, State, lock};

/// A transaction is closed at so many bytes of input and output, or at this age, or when there is
/// nothing more to do for now.
pub(crate) const TRANSACTION_BYTES: usize = 4 << 20;
pub(crate) const TRANSACTION_AGE: Duration = Duration::from_millis(100);

/// So many commits apart the guest's memory is looked at.
const WORN_EVERY: u32 = 16;

/// What a pump works with, beside its guest.
pub(crate) struct Task {
    pub log: Arc<dyn Log>,
    pub spec: Arc<PluginSpec>,
    pub info: PluginInfo,
    pub task: u32,
    pub board: Arc<Board>,
    pub progress: Progress,
    pub pace: Arc<Mutex<Pace>>,
    /// Ends the pump between two transactions.
    pub halt: CancellationToken,
    /// Told how the first session began. Where there is somebody to tell, a first session that does not
    /// begin is the pump's last.
    pub trial: Option<oneshot::Sender<Result<(), String>>>,
}

/// How a pump came to its end.
#[derive(Debug)]
pub(crate) enum Exit {
    Halted,
    Finished,
    Stopped,
    /// On trial, and not begun.
    Refused,
}

/// A partition of an input.
pub(crate) type At = (Arc<str>, u32);

/// How far the pumps of a plugin have committed.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    committed: Arc<Mutex<BTreeMap<At, Offset>>>,
    changed: Arc<watch::Sender<u64>>,
}

impl Default for Progress {
    fn default() -> Progress {
        Progress { committed: Arc::default(), changed: Arc::new(watch::channel(0).0) }
    }
}

impl Progress {
    pub(crate) fn set(&self, topic: &Arc<str>, partition: u32, offset: Offset) {
        lock(&self.committed).insert((topic.clone(), partition), offset);
    }

    pub(crate) fn notify(&self) {
        self.changed.send_modify(|count| *count += 1);
    }

    pub(crate) fn of(&self, topic: &str, partition: u32) -> Option<Offset> {
        lock(&self.committed).get(&(Arc::from(topic), partition)).copied()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

/// Why a session ended.
#[derive(Debug)]
enum End {
    Halted,
    Finished,
    /// A person has to change something.
    Fatal(String),
    /// Another session, at once.
    Renew,
    /// Another session, later.
    Again {
        reason: String,
        after: Option<Duration>,
    },
}

impl From<IoError> for End {
    fn from(error: IoError) -> End {
        let reason = match &error {
            IoError::OutOfRange { asked, end, .. } if asked > end => {
                format!("{error}; was the topic made anew? `flumen group reset` says where to go on")
            }
            _ => error.to_string(),
        };
        End::Again { reason, after: None }
    }
}

impl From<CallError> for End {
    fn from(error: CallError) -> End {
        match error {
            CallError::Fatal(reason) => End::Fatal(reason),
            CallError::Retry { reason, after } => End::Again { reason, after },
            other => End::Again { reason: other.to_string(), after: None },
        }
    }
}

/// Runs to the end, and gives the guest back: a swap that fails goes on with it.
pub(crate) async fn run(mut task: Task, mut guest: Guest) -> (Guest, Exit) {
    let mut backoff = Backoff::new(&task.spec.limits);
    let mut memory = stream::Memory::default();
    let exit = loop {
        let session = session(&mut task, &mut guest, &mut backoff, &mut memory);
        let end = AssertUnwindSafe(session).catch_unwind().await.unwrap_or_else(|panic| {
            // Nobody knows what it was at: what it used is made anew, but for what is committed.
            guest = Guest::new(guest.recipe().clone());
            memory = stream::Memory::default();
            let reason = format!("its pump failed, which is a bug of the broker's: {}", said(&*panic));
            tracing::error!(plugin = task.spec.name, task = task.task, reason);
            End::Again { reason, after: None }
        });
        match end {
            End::Halted => break Exit::Halted,
            End::Renew => {}
            End::Finished => {
                task.board.set(task.task, State::Finished, None);
                break Exit::Finished;
            }
            End::Fatal(reason) | End::Again { reason, .. } if task.refused(&reason) => break Exit::Refused,
            End::Fatal(reason) => {
                tracing::error!(plugin = task.spec.name, task = task.task, reason, "a plugin has stopped");
                task.board.set(task.task, State::Stopped, Some(reason));
                break Exit::Stopped;
            }
            End::Again { reason, after } => {
                if !task.wait(&mut backoff, reason, after).await {
                    break Exit::Halted;
                }
            }
        }
    };
    task.progress.notify();
    (guest, exit)
}

async fn session(
    task: &mut Task,
    guest: &mut Guest,
    backoff: &mut Backoff,
    memory: &mut stream::Memory,
) -> End {
    let Err(end) = match task.spec.kind {
        Kind::Source => source::session(task, guest, backoff).await,
        Kind::Transform | Kind::Sink => stream::session(task, guest, backoff, memory).await,
    };
    end
}

/// What a panic has said.
fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it gave no reason")
}

impl Task {
    /// The task's producer. What tasks that are no more have left open is ended first: offsets that they
    /// hold pending would be waited for.
    async fn producer(&self) -> Result<Box<dyn Producer>, IoError> {
        if self.task == 0 {
            let prefix = self.spec.transactional_prefix();
            for id in self.log.open_transactions(&prefix).await? {
                let task = id.strip_prefix(&prefix).and_then(|task| task.parse::<u32>().ok());
                if task.is_some_and(|task| task >= self.spec.tasks) {
                    drop(self.log.producer(&id).await?);
                }
            }
        }
        self.log.producer(&self.spec.transactional_id(self.task)).await
    }

    /// A session has begun.
    fn began(&mut self) {
        if let Some(trial) = self.trial.take() {
            // Whoever waited may have given up.
            drop(trial.send(Ok(())));
        }
        self.running();
    }

    fn running(&self) {
        if self.board.state(self.task) != Some(State::Running) {
            self.board.set(self.task, State::Running, None);
        }
    }

    /// Whether the pump was on trial, and has failed it.
    fn refused(&mut self, reason: &str) -> bool {
        match self.trial.take() {
            Some(trial) => {
                drop(trial.send(Err(reason.to_owned())));
                true
            }
            None => false,
        }
    }

    /// Says why, and waits; false if it is to end instead.
    async fn wait(&self, backoff: &mut Backoff, reason: String, after: Option<Duration>) -> bool {
        let (state, wait) = backoff.failed(rand::random(), after);
        let (plugin, task, wait_ms) = (&self.spec.name, self.task, wait.as_millis() as u64);
        if self.board.state(task) != Some(state) {
            tracing::warn!(plugin, task, reason, wait_ms, state = ?state, "a plugin does not get on");
        }
        self.board.set(task, state, Some(reason));
        tokio::select! {
            () = self.halt.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }

    /// Partition counts of the outputs, for the guest's answers.
    async fn route_outputs(&self, guest: &mut Guest) -> Result<(), End> {
        let mut topics = Vec::new();
        for topic in &self.spec.outputs {
            topics.push((Arc::from(topic.as_str()), self.log.partitions(topic).await?));
        }
        let outputs = crate::route::Outputs::new(topics);
        guest
            .run(|instance| {
                Box::pin(async {
                    instance.set_outputs(outputs);
                    Ok(())
                })
            })
            .await?;
        Ok(())
    }

    /// Who writes dead letters.
    async fn letters(&self) -> Result<Sender, IoError> {
        let topic = &self.spec.errors.topic;
        Ok(Sender {
            plugin: self.spec.name.clone(),
            version: self.info.version.clone(),
            stage: self.spec.kind.name(),
            partitions: self.log.partitions(topic).await?,
            topic: Arc::from(topic.as_str()),
        })
    }
}
