//! Tells when the file, what it includes, or a plugin's `.wasm` has changed on the disk.
//!
//! Folders are watched rather than files, because an editor replaces a file by renaming another over
//! it. Bursts are gathered: nothing is told until it has been quiet for a moment. A half-written
//! component does no harm: it is refused, and the rest of its writing is the next change.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// How long it must have been quiet.
const QUIET: Duration = Duration::from_millis(50);
/// And how long a burst may go on before it is told all the same.
const BURST_MAX: Duration = Duration::from_millis(500);

pub(super) struct Watch {
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
    files: Arc<Mutex<BTreeSet<PathBuf>>>,
    changed: Arc<Notify>,
}

impl Watch {
    pub(super) fn new() -> notify::Result<Watch> {
        let files = Arc::new(Mutex::new(BTreeSet::new()));
        let changed = Arc::new(Notify::new());
        let (known, tell) = (files.clone(), changed.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            Ok(event) if matters(&event, &known.lock().unwrap_or_else(PoisonError::into_inner)) => {
                tell.notify_one()
            }
            Ok(_) => {}
            Err(error) => {
                // Some events may be lost: look again.
                tracing::warn!(%error, "watching the configuration");
                tell.notify_one();
            }
        })?;
        Ok(Watch { watcher, folders: BTreeSet::new(), files, changed })
    }

    /// From now on these files count, and any file in `folders` (where includes may appear). True if a
    /// folder is new: what has changed in it before now was not seen.
    pub(super) fn follow(&mut self, files: impl IntoIterator<Item = PathBuf>, folders: &[PathBuf]) -> bool {
        let mut wanted: BTreeSet<PathBuf> = folders.iter().map(|folder| absolute(folder)).collect();
        let mut known = wanted.clone();
        for file in files {
            let file = absolute(&file);
            wanted.extend(file.parent().map(Path::to_path_buf));
            known.insert(file);
        }
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = known;
        for gone in self.folders.difference(&wanted) {
            self.watcher.unwatch(gone).ok();
        }
        for folder in wanted.difference(&self.folders) {
            if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "changes in this folder will not be seen");
            }
        }
        let news = !wanted.is_subset(&self.folders);
        self.folders = wanted;
        news
    }

    /// Ends when something has changed and the burst is over. Dropping it loses nothing.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
        let end = tokio::time::Instant::now() + BURST_MAX;
        while tokio::time::Instant::now() < end {
            if tokio::time::timeout(QUIET, self.changed.notified()).await.is_err() {
                return;
            }
        }
    }
}

/// Whether the event is about a file that counts; reading one is no change.
fn matters(event: &Event, files: &BTreeSet<PathBuf>) -> bool {
    let change = !matches!(
        event.kind,
        EventKind::Access(notify::event::AccessKind::Open(_) | notify::event::AccessKind::Read)
    );
    change
        && event
            .paths
            .iter()
            .any(|path| files.contains(path) || path.parent().is_some_and(|p| files.contains(p)))
}

/// As the kernel's events name it.
fn absolute(path: &Path) -> PathBuf {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let folder = |path: &Path| path.canonicalize().ok();
    // The file itself may be a link, and what is replaced then is the link.
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if !path.is_dir() => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            folder(parent).map_or_else(|| path.to_path_buf(), |parent| parent.join(name))
        }
        _ => folder(path).unwrap_or_else(|| path.to_path_buf()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_rename_over_the_file_is_told_and_a_neighbour_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("flumen.toml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new().unwrap();
        watch.follow([file.clone()], &[]);
        std::fs::write(dir.path().join("other.txt"), "x").unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(300), watch.changed()).await.is_err());
        std::fs::write(dir.path().join("new"), "b").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.expect("the change is told");
    }
}
