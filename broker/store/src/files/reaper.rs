//! Unlinks what was renamed to `.deleted` or `-delete`, off everybody's way.
//!
//! Unlinking a gigabyte takes the file system a while, and a reader may still be in the file: so
//! it waits `file.delete.delay.ms`, on a thread of its own. What is left at a stop is found by its
//! suffix at the next open.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::files::file_system::FileSystem;
use crate::locks::lock;

pub(crate) struct Reaper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    files: Arc<dyn FileSystem>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    doomed: VecDeque<(Instant, PathBuf)>,
    stopping: bool,
}

impl Reaper {
    /// Its thread is not running.
    pub(crate) fn new(files: Arc<dyn FileSystem>, clock: Arc<dyn Clock>) -> Reaper {
        let shared = Shared { files, clock, state: Mutex::default(), wake: Condvar::new() };
        Reaper { shared: Arc::new(shared), thread: Mutex::default() }
    }

    pub(crate) fn start(&self) -> std::io::Result<()> {
        let shared = self.shared.clone();
        let thread = std::thread::Builder::new().name("reaper".into()).spawn(move || shared.run())?;
        *lock(&self.thread) = Some(thread);
        Ok(())
    }

    /// Removes these files or folders after the delay.
    pub(crate) fn doom(&self, paths: impl IntoIterator<Item = PathBuf>, delay: Duration) {
        let due = self.shared.clock.instant() + delay;
        lock(&self.shared.state).doomed.extend(paths.into_iter().map(|path| (due, path)));
        self.shared.wake.notify_one();
    }

    /// Removes on this thread what is due now; false if that is nothing.
    pub(crate) fn step(&self) -> bool {
        let ripe = lock(&self.shared.state).ripe(self.shared.clock.instant());
        ripe.iter().for_each(|path| self.shared.remove(path));
        !ripe.is_empty()
    }

    /// Leaves what is not due yet to the next open.
    pub(crate) fn stop(&self) {
        lock(&self.shared.state).stopping = true;
        self.shared.wake.notify_one();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // A panic in there was printed, and costs only disk space until the next open.
            let _ = thread.join();
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn run(&self) {
        while let Some(ripe) = self.next_ripe() {
            ripe.iter().for_each(|path| self.remove(path));
        }
    }

    /// Waits for something that is due; `None` when stopping.
    fn next_ripe(&self) -> Option<Vec<PathBuf>> {
        let mut state = lock(&self.state);
        loop {
            if state.stopping {
                return None;
            }
            let now = self.clock.instant();
            let ripe = state.ripe(now);
            if !ripe.is_empty() {
                return Some(ripe);
            }
            // The delays differ by topic, so the earliest need not be in front.
            state = match state.doomed.iter().map(|(due, _)| *due).min() {
                None => self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(due) => {
                    self.wake.wait_timeout(state, due - now).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn remove(&self, path: &Path) {
        match self.files.remove_all(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "cannot remove what was deleted; it goes on taking space");
            }
            _ => {}
        }
    }
}

impl State {
    fn ripe(&mut self, now: Instant) -> Vec<PathBuf> {
        let doomed = std::mem::take(&mut self.doomed);
        let (ripe, later): (Vec<_>, Vec<_>) = doomed.into_iter().partition(|(due, _)| *due <= now);
        self.doomed = later.into();
        ripe.into_iter().map(|(_, path)| path).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::clock::OsClock;
    use crate::files::os::OsFiles;

    #[test]
    fn what_is_due_goes_what_is_not_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder, later) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        fs::write(&file, "x").unwrap();
        fs::create_dir_all(folder.join("inner")).unwrap();
        fs::write(&later, "x").unwrap();
        let reaper = Reaper::new(Arc::new(OsFiles), Arc::new(OsClock));
        reaper.start().unwrap();
        reaper.doom([later.clone()], Duration::from_secs(3600));
        reaper.doom([file.clone(), folder.clone()], Duration::ZERO);
        let deadline = Instant::now() + Duration::from_secs(10);
        while file.exists() || folder.exists() {
            assert!(Instant::now() < deadline);
            std::thread::yield_now();
        }
        reaper.stop();
        assert!(later.exists());
    }
}
