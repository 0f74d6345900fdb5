//! Something made of files, made anew when one of them changes.
//!
//! Invariant: files that cannot be read, or that make no sense, leave what was there in force.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// The files are looked at no more often.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

type Load<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;
type Stamp = Vec<Option<(SystemTime, u64)>>;

pub(crate) struct Reloaded<T> {
    what: &'static str,
    files: Vec<PathBuf>,
    load: Load<T>,
    now: Mutex<Now<T>>,
}

struct Now<T> {
    value: Arc<T>,
    stamp: Stamp,
    looked: Instant,
}

impl<T> Reloaded<T> {
    pub(crate) fn new(
        what: &'static str,
        files: Vec<PathBuf>,
        load: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Reloaded<T>, String> {
        let stamp = stamp(&files);
        let now = Now { value: Arc::new(load()?), stamp, looked: Instant::now() };
        Ok(Reloaded { what, files, load: Box::new(load), now: Mutex::new(now) })
    }

    /// What the files say now. Reads small files if they have changed.
    pub(crate) fn get(&self) -> Arc<T> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if now.looked.elapsed() >= LOOK_INTERVAL {
            now.looked = Instant::now();
            let stamp = stamp(&self.files);
            if stamp != now.stamp {
                now.stamp = stamp;
                match (self.load)() {
                    Ok(value) => {
                        now.value = Arc::new(value);
                        tracing::info!(what = self.what, "read anew");
                    }
                    Err(error) => {
                        tracing::error!(what = self.what, error, "what was there stays in force");
                    }
                }
            }
        }
        now.value.clone()
    }
}

fn stamp(files: &[PathBuf]) -> Stamp {
    let stamp = |file: &PathBuf| {
        let metadata = std::fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
