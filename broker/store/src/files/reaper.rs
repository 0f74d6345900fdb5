//! Unlinks what was renamed to `.deleted` or `-delete`, off everybody's way.
//!
//! Unlinking a gigabyte takes the file system a while, and a reader may still be in the file: so
//! it waits `file.delete.delay.ms`, on a thread of its own. What is left at a stop is found by its
//! suffix at the next open.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::locks::lock;

pub(crate) struct Reaper {
    state: Arc<(Mutex<State>, Condvar)>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    doomed: VecDeque<(Instant, PathBuf)>,
    stopping: bool,
}

impl Reaper {
    pub(crate) fn start() -> std::io::Result<Reaper> {
        let state: Arc<(Mutex<State>, Condvar)> = Arc::default();
        let shared = state.clone();
        let thread = std::thread::Builder::new().name("reaper".into()).spawn(move || run(&shared))?;
        Ok(Reaper { state, thread: Mutex::new(Some(thread)) })
    }

    /// Removes these files or folders after the delay.
    pub(crate) fn doom(&self, paths: impl IntoIterator<Item = PathBuf>, delay: Duration) {
        let due = Instant::now() + delay;
        let (state, wake) = &*self.state;
        let mut state = lock(state);
        state.doomed.extend(paths.into_iter().map(|path| (due, path)));
        wake.notify_one();
    }

    /// Leaves what is not due yet to the next open.
    pub(crate) fn stop(&self) {
        let (state, wake) = &*self.state;
        lock(state).stopping = true;
        wake.notify_one();
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

fn run(shared: &(Mutex<State>, Condvar)) {
    while let Some(ripe) = next_ripe(shared) {
        ripe.iter().for_each(|path| remove(path));
    }
}

/// Waits for something that is due; `None` when stopping.
fn next_ripe((state, wake): &(Mutex<State>, Condvar)) -> Option<Vec<PathBuf>> {
    let mut state = lock(state);
    loop {
        if state.stopping {
            return None;
        }
        let now = Instant::now();
        // The delays differ by topic, so the earliest need not be in front.
        match state.doomed.iter().map(|(due, _)| *due).min() {
            None => state = wake.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(due) if due > now => {
                state = wake.wait_timeout(state, due - now).unwrap_or_else(PoisonError::into_inner).0;
            }
            Some(_) => {
                let doomed = std::mem::take(&mut state.doomed);
                let (ripe, later): (Vec<_>, Vec<_>) = doomed.into_iter().partition(|(due, _)| *due <= now);
                state.doomed = later.into();
                return Some(ripe.into_iter().map(|(_, path)| path).collect());
            }
        }
    }
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "cannot remove what was deleted; it goes on taking space");
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_goes_what_is_not_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (file, folder, later) = (dir.path().join("a"), dir.path().join("b"), dir.path().join("c"));
        fs::write(&file, "x").unwrap();
        fs::create_dir_all(folder.join("inner")).unwrap();
        fs::write(&later, "x").unwrap();
        let reaper = Reaper::start().unwrap();
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
