//! An instance on a thread of its own, off the reactor: a guest may compute for as long as its deadline
//! allows, and read files, while the broker goes on.
//!
//! Invariants: one job at a time; a guest that is dropped ends its thread, out of the middle of a job if
//! need be; a thread that does not come back from a job well past its deadline (a file on a dead network
//! drive) is left behind, and a new one is started by the next `start`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::calls::{Broken, CallError, Cause};
use super::instance::{Instance, Recipe};

/// How long after its deadline a call of the host's own may still take.
const GRACE: Duration = Duration::from_secs(60);

type LocalFuture<'a, R> = Pin<Box<dyn Future<Output = R> + 'a>>;
type Job = Box<dyn for<'a> FnOnce(&'a mut Instance) -> LocalFuture<'a, ()> + Send>;

pub(crate) struct Guest {
    recipe: Arc<Recipe>,
    thread: Option<Thread>,
    threads: TaskTracker,
}

struct Thread {
    jobs: mpsc::Sender<Job>,
    _cut_when_dropped: DropGuard,
}

/// Tells when a guest is gone, whoever holds it.
pub(crate) struct Gone(TaskTracker);

impl Gone {
    /// Ends when none of its threads has an instance any more.
    pub(crate) async fn wait(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

impl Guest {
    pub(crate) fn new(recipe: Arc<Recipe>) -> Guest {
        Guest { recipe, thread: None, threads: TaskTracker::new() }
    }

    pub(crate) fn gone(&self) -> Gone {
        Gone(self.threads.clone())
    }

    pub(crate) fn recipe(&self) -> &Arc<Recipe> {
        &self.recipe
    }

    /// Runs a job on the thread, started where there is none.
    pub(crate) async fn run<R: Send + 'static>(
        &mut self,
        job: impl for<'a> FnOnce(&'a mut Instance) -> LocalFuture<'a, Result<R, CallError>> + Send + 'static,
    ) -> Result<R, CallError> {
        let thread = match self.thread.take() {
            Some(thread) => thread,
            None => spawn(self.recipe.clone(), self.threads.token())?,
        };
        let jobs = self.thread.insert(thread).jobs.clone();
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |instance| {
            Box::pin(async move {
                let done = job(instance).await;
                // Whoever asked may have gone.
                drop(reply.send(done));
            })
        });
        let lost = |reason: &str| CallError::Broken(Broken::new(Cause::Host, reason));
        if jobs.send(job).await.is_err() {
            self.thread = None;
            return Err(lost("its thread has ended"));
        }
        match tokio::time::timeout(self.recipe.spec.limits.call + GRACE, answer).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => {
                self.thread = None;
                Err(lost("the host failed in a call; the log has the reason"))
            }
            Err(_) => {
                tracing::error!(plugin = %self.recipe.name, task = self.recipe.reporter.task, "a call hangs in the host; its thread is left behind");
                self.thread = None;
                Err(lost("a call hung in the host; its thread was left behind"))
            }
        }
    }

    /// A new store, configured.
    pub(crate) async fn start(&mut self) -> Result<(), CallError> {
        self.run(|instance| Box::pin(instance.start())).await
    }
}

/// Ends when the last sender is gone, or when it is cut. `alive` is given back when the instance is gone.
fn spawn(recipe: Arc<Recipe>, alive: TaskTrackerToken) -> Result<Thread, CallError> {
    let (jobs, mut queue) = mpsc::channel::<Job>(1);
    let cut = CancellationToken::new();
    let failed = |error: std::io::Error| CallError::retry(format!("no thread for the plugin: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let name = format!("{}/{}", recipe.name, recipe.reporter.task);
    let thread = Thread { jobs, _cut_when_dropped: cut.clone().drop_guard() };
    let work = move || {
        let mut instance = Instance::new(recipe);
        let jobs = async {
            while let Some(job) = queue.recv().await {
                job(&mut instance).await;
            }
        };
        // A guest gives way at every tick of the epoch, and wherever it waits: there it is cut.
        runtime.block_on(cut.run_until_cancelled(jobs));
        // The store first: what it holds (connections, requests) lives on this runtime.
        drop(instance);
        runtime.shutdown_timeout(Duration::from_secs(1));
        drop(alive);
    };
    std::thread::Builder::new().name(name).spawn(work).map_err(failed)?;
    Ok(thread)
}
