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
        self.get_at(Instant::now())
    }

    fn get_at(&self, time: Instant) -> Arc<T> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        if time.saturating_duration_since(now.looked) >= LOOK_INTERVAL {
            now.looked = time;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("number");
        let load = {
            let file = file.clone();
            move || {
                let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
                text.parse::<u32>().map_err(|error| error.to_string())
            }
        };
        assert!(Reloaded::new("numbers", vec![file.clone()], load.clone()).is_err());
        std::fs::write(&file, "1").unwrap();
        let number = Reloaded::new("numbers", vec![file.clone()], load).unwrap();
        let mut time = Instant::now();
        for (content, expected) in [("one", 1), ("22", 22), ("", 22), ("333", 333)] {
            std::fs::write(&file, content).unwrap();
            let before = *number.get_at(time);
            time += LOOK_INTERVAL;
            assert_eq!(*number.get_at(time), expected, "{content} after {before}");
        }
        std::fs::remove_file(&file).unwrap();
        assert_eq!(*number.get_at(time + LOOK_INTERVAL), 333);
    }
}
