//! One use of a plugin: its tasks, and how a new component takes their place.
//!
//! A swap: the new instances are compiled, linked and configured beside the running ones; these then end
//! between two transactions, and the new ones begin from what they had committed. Where one of the new
//! ones does not begin, they all go, and the old ones begin again. At no time do two of a task work: one
//! that does not come to its end is cut off out of its call, and its thread is waited for.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::component::Compiled;
use crate::guest::{Gone, Guest, Recipe};
use crate::io::Log;
use crate::pump::{self, Exit, Pace, Progress, Task};
use crate::status::{Board, Reporter};
use crate::{Database, Databases, PluginSpec, State};

/// How long a pump that has been told to halt may take after its longest call, before it is cut off.
const HALT_WAIT: Duration = Duration::from_secs(5);
/// How long the thread of one that was cut off may take: it is gone at once, unless the host itself hangs.
const CUT_WAIT: Duration = Duration::from_secs(5);
/// How long new tasks may take to begin, beside the calls that this takes.
const BEGIN_WAIT: Duration = Duration::from_secs(30);

pub(crate) struct Plugin {
    log: Arc<dyn Log>,
    pub board: Arc<Board>,
    pub progress: Progress,
    generation: u64,
    current: Generation,
    /// By task; what was learnt of the far side holds for a new version, too.
    paces: BTreeMap<u32, Arc<Mutex<Pace>>>,
}

/// A component, a configuration, and the tasks that run it.
#[derive(Clone)]
pub(crate) struct Version {
    pub spec: Arc<PluginSpec>,
    pub compiled: Arc<Compiled>,
}

struct Generation {
    number: u64,
    version: Version,
    tasks: Vec<Running>,
}

struct Running {
    task: u32,
    halt: CancellationToken,
    /// A host that is dropped without being stopped leaves no pump behind.
    _halted_when_dropped: DropGuard,
    join: JoinHandle<(Guest, Exit)>,
    gone: Gone,
}

/// A task that has ended; its guest, where it came back.
struct Ended {
    task: u32,
    guest: Option<Guest>,
    /// It was at work until it was told to end.
    at_work: bool,
}

impl Plugin {
    pub(crate) fn start(log: Arc<dyn Log>, version: Version, databases: &Databases) -> Plugin {
        let board = Arc::new(Board::default());
        let mut plugin = Plugin {
            log,
            board,
            progress: Progress::default(),
            generation: 0,
            current: Generation { number: 0, version: version.clone(), tasks: Vec::new() },
            paces: BTreeMap::new(),
        };
        let guests = plugin.guests(&version, 0, databases);
        for task in 0..version.spec.tasks {
            plugin.board.set(task, State::Starting, None);
        }
        plugin.current.tasks = guests.into_iter().map(|guest| plugin.launch(&version, guest, None)).collect();
        plugin
    }

    fn guests(&self, version: &Version, generation: u64, databases: &Databases) -> Vec<Guest> {
        let granted = |(name, database): (&String, &Arc<Database>)| {
            version.spec.grants.databases.contains(name).then(|| (name.clone(), database.clone()))
        };
        let databases: BTreeMap<_, _> = databases.0.iter().filter_map(granted).collect();
        let name: Arc<str> = Arc::from(version.spec.name.as_str());
        let recipe = |task| Recipe {
            compiled: version.compiled.clone(),
            spec: version.spec.clone(),
            name: name.clone(),
            reporter: Reporter { generation, task },
            databases: databases.clone(),
            board: self.board.clone(),
        };
        (0..version.spec.tasks).map(|task| Guest::new(Arc::new(recipe(task)))).collect()
    }

    fn launch(
        &mut self,
        version: &Version,
        guest: Guest,
        trial: Option<oneshot::Sender<Result<(), String>>>,
    ) -> Running {
        let (halt, task) = (CancellationToken::new(), guest.recipe().reporter.task);
        let fresh = || Arc::new(Mutex::new(Pace::new(version.spec.kind, &version.compiled.info)));
        let work = Task {
            log: self.log.clone(),
            spec: version.spec.clone(),
            info: version.compiled.info.clone(),
            task,
            board: self.board.clone(),
            progress: self.progress.clone(),
            pace: self.paces.entry(task).or_insert_with(fresh).clone(),
            halt: halt.clone(),
            trial,
        };
        Running {
            task,
            gone: guest.gone(),
            _halted_when_dropped: halt.clone().drop_guard(),
            halt,
            join: tokio::spawn(pump::run(work, guest)),
        }
    }

    /// Puts a new version in the place of the old, or says why not; then the old one goes on.
    pub(crate) async fn replace(&mut self, new: Version, databases: &Databases) -> Result<(), String> {
        self.generation += 1;
        let mut guests = self.guests(&new, self.generation, databases);
        let warmed = try_join_all(guests.iter_mut().map(Guest::start)).await;
        if let Err(error) = warmed {
            self.board.forget(self.generation);
            return Err(format!("setting the new one up failed: {error}"));
        }
        let patience = self.current.version.spec.limits.call + HALT_WAIT;
        let ended = halt_all(std::mem::take(&mut self.current.tasks), patience).await;
        let before = self.board.tasks();
        let (mut tasks, mut trials) = (Vec::new(), Vec::new());
        for guest in guests {
            let (told, trial) = oneshot::channel();
            tasks.push(self.launch(&new, guest, Some(told)));
            trials.push(trial);
        }
        match begun(trials, BEGIN_WAIT + 2 * new.spec.limits.call).await {
            Ok(()) => {
                self.board.keep_tasks(new.spec.tasks);
                self.board.keep_inputs(&new.spec.inputs);
                self.board.swapped(self.generation);
                self.current = Generation { number: self.generation, version: new, tasks };
                Ok(())
            }
            Err(reason) => {
                halt_all(tasks, new.spec.limits.call + HALT_WAIT).await;
                self.board.forget(self.generation);
                // One that had stopped or finished is not begun again: it is as it was.
                self.board.put_tasks(before);
                self.go_on(ended, databases);
                Err(format!("the new one did not begin: {reason}"))
            }
        }
    }

    /// The old tasks that were at work, again.
    fn go_on(&mut self, ended: Vec<Ended>, databases: &Databases) {
        let (version, number) = (self.current.version.clone(), self.current.number);
        for Ended { task, guest, at_work } in ended {
            if !at_work {
                continue;
            }
            let fresh = || self.guests(&version, number, databases).into_iter().nth(task as usize);
            if let Some(guest) = guest.or_else(fresh) {
                let running = self.launch(&version, guest, None);
                self.current.tasks.push(running);
            }
        }
    }

    /// Ends all tasks between two transactions, or cuts them off after `drain`.
    pub(crate) async fn stop(&mut self, drain: Duration) {
        halt_all(std::mem::take(&mut self.current.tasks), drain).await;
    }
}

async fn halt_all(tasks: Vec<Running>, drain: Duration) -> Vec<Ended> {
    tasks.iter().for_each(|task| task.halt.cancel());
    join_all(tasks.into_iter().map(|task| ended(task, drain))).await
}

async fn ended(mut running: Running, drain: Duration) -> Ended {
    let task = running.task;
    match tokio::time::timeout(drain, &mut running.join).await {
        Ok(Ok((guest, exit))) => Ended { task, guest: Some(guest), at_work: matches!(exit, Exit::Halted) },
        Ok(Err(panic)) => {
            tracing::error!(task, %panic, "a pump failed; this is a bug");
            Ended { task, guest: None, at_work: true }
        }
        Err(_) => {
            // What it has open is aborted by its successor's InitProducerId; what its guest still did
            // would be beyond that.
            running.join.abort();
            drop(running.join.await);
            if tokio::time::timeout(CUT_WAIT, running.gone.wait()).await.is_err() {
                tracing::error!(task, "a call hangs in the host; its thread is left behind");
            }
            Ended { task, guest: None, at_work: true }
        }
    }
}

async fn begun(trials: Vec<oneshot::Receiver<Result<(), String>>>, patience: Duration) -> Result<(), String> {
    let all = async {
        for trial in trials {
            trial.await.unwrap_or_else(|_| Err("it ended before it began".to_owned()))?;
        }
        Ok(())
    };
    tokio::time::timeout(patience, all)
        .await
        .unwrap_or_else(|_| Err(format!("it took longer than {} s", patience.as_secs())))
}
