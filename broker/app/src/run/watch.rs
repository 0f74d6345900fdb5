//! Tells when the file, what it includes, or a plugin's `.wasm` has changed on the disk.
//!
//! Folders are watched rather than files, because an editor replaces a file by renaming another over
//! it. A path may go through links (Kubernetes mounts `flumen.toml -> ..data/flumen.toml`, and exchanges
//! `..data`): each link on the way counts as well as the file at its end. Bursts are gathered: nothing is
//! told until it has been quiet for a moment. A half-written component does no harm: it is refused, and
//! the rest of its writing is the next change.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// How long it must have been quiet.
const QUIET: Duration = Duration::from_millis(50);
/// And how long a burst may go on before it is told all the same.
const BURST_MAX: Duration = Duration::from_millis(500);
/// How often a folder that is not there is looked for.
const RETRY: Duration = Duration::from_secs(2);
/// As many as the kernel follows.
const LINKS_MAX: usize = 40;

pub(super) struct Watch {
    watcher: RecommendedWatcher,
    /// Those that are watched.
    folders: BTreeSet<PathBuf>,
    /// Those that could not be.
    missing: BTreeSet<PathBuf>,
    known: Arc<Mutex<Known>>,
    changed: Arc<Notify>,
}

/// What an event must be about.
#[derive(Default)]
struct Known {
    /// Files, links, and the folders that are watched, by the names that the kernel's events have.
    exact: BTreeSet<PathBuf>,
    /// Folders of which everything counts.
    within: BTreeSet<PathBuf>,
}

impl Watch {
    pub(super) fn new() -> notify::Result<Watch> {
        let known = Arc::new(Mutex::new(Known::default()));
        let changed = Arc::new(Notify::new());
        let (about, tell) = (known.clone(), changed.clone());
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| match event {
            Ok(event) if about.lock().unwrap_or_else(PoisonError::into_inner).matter(&event) => {
                tell.notify_one()
            }
            Ok(_) => {}
            Err(error) => {
                // Some events may be lost: look again.
                tracing::warn!(%error, "watching the configuration");
                tell.notify_one();
            }
        })?;
        Ok(Watch { watcher, folders: BTreeSet::new(), missing: BTreeSet::new(), known, changed })
    }

    /// From now on these files count, and any file in `folders` (where includes may appear). True if a
    /// folder is new: what has changed in it before now was not seen.
    pub(super) fn follow(&mut self, files: impl IntoIterator<Item = PathBuf>, folders: &[PathBuf]) -> bool {
        let mut known = Known::default();
        let mut wanted = BTreeSet::new();
        for folder in folders {
            let end = known.add(folder);
            wanted.insert(end.clone());
            known.within.insert(end);
        }
        for file in files {
            known.add(&file);
        }
        wanted.extend(known.exact.iter().filter_map(|path| path.parent().map(Path::to_path_buf)));
        known.exact.extend(wanted.iter().cloned());
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
        for gone in self.folders.difference(&wanted) {
            self.watcher.unwatch(gone).ok();
        }
        self.watch(wanted)
    }

    /// Each of them again: one that was deleted and made anew is another folder, and is watched as such.
    fn watch(&mut self, wanted: BTreeSet<PathBuf>) -> bool {
        let (mut folders, mut missing) = (BTreeSet::new(), BTreeSet::new());
        for folder in wanted {
            match self.watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => folders.insert(folder),
                Err(error) => {
                    if !self.missing.contains(&folder) {
                        tracing::warn!(folder = %folder.display(), %error, "changes in this folder are not seen until it can be watched");
                    }
                    missing.insert(folder)
                }
            };
        }
        let news = !folders.is_subset(&self.folders);
        (self.folders, self.missing) = (folders, missing);
        news
    }

    /// Ends when something has changed and the burst is over, or when it is time to look for a folder
    /// that was not there: then it is false. Dropping it loses nothing.
    pub(super) async fn changed(&self) -> bool {
        if self.missing.is_empty() {
            self.changed.notified().await;
        } else if tokio::time::timeout(RETRY, self.changed.notified()).await.is_err() {
            return false;
        }
        let end = tokio::time::Instant::now() + BURST_MAX;
        while tokio::time::Instant::now() < end {
            if tokio::time::timeout(QUIET, self.changed.notified()).await.is_err() {
                break;
            }
        }
        true
    }
}

impl Known {
    /// Adds every link that the path goes through, and its end, which is returned.
    fn add(&mut self, path: &Path) -> PathBuf {
        let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let mut rest: VecDeque<OsString> = parts(&whole).collect();
        let (mut end, mut links) = (PathBuf::new(), 0);
        while let Some(part) = rest.pop_front() {
            if part == ".." {
                end.pop();
                continue;
            }
            let next = end.join(part);
            match std::fs::read_link(&next) {
                Ok(target) if links < LINKS_MAX => {
                    links += 1;
                    self.exact.insert(next);
                    // An absolute one begins with the root, which `join` puts in the place of all before it.
                    parts(&target).rev().for_each(|part| rest.push_front(part));
                }
                _ => end = next,
            }
        }
        self.exact.insert(end.clone());
        end
    }

    /// Whether the event is about something that counts; reading it is no change.
    fn matter(&self, event: &Event) -> bool {
        let change = !matches!(
            event.kind,
            EventKind::Access(notify::event::AccessKind::Open(_) | notify::event::AccessKind::Read)
        );
        let counts = |path: &PathBuf| {
            self.exact.contains(path) || path.parent().is_some_and(|p| self.within.contains(p))
        };
        event.need_rescan() || change && event.paths.iter().any(counts)
    }
}

/// Without `.`, which means nothing.
fn parts(path: &Path) -> impl DoubleEndedIterator<Item = OsString> {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    parts.map(|part| part.as_os_str().to_owned())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const SOON: Duration = Duration::from_secs(20);
    const NEVER: Duration = Duration::from_millis(300);

    async fn is_told(watch: &Watch) -> bool {
        tokio::time::timeout(SOON, watch.changed()).await.expect("the change is told")
    }

    async fn is_quiet(watch: &Watch) -> bool {
        tokio::time::timeout(NEVER, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn a_rename_over_the_file_is_told_and_a_neighbour_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("flumen.toml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new().unwrap();
        assert!(watch.follow([file.clone()], &[]));
        assert!(!watch.follow([file.clone()], &[]));
        std::fs::write(dir.path().join("other.txt"), "x").unwrap();
        assert!(is_quiet(&watch).await);
        std::fs::write(dir.path().join("new"), "b").unwrap();
        std::fs::rename(dir.path().join("new"), &file).unwrap();
        assert!(is_told(&watch).await);
    }

    #[tokio::test]
    async fn every_link_on_the_way_counts_and_so_does_the_file_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        // As Kubernetes mounts a ConfigMap.
        for (version, text) in [("..1", "a"), ("..2", "b")] {
            std::fs::create_dir(at(version)).unwrap();
            std::fs::write(at(version).join("flumen.toml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/flumen.toml", at("flumen.toml")).unwrap();
        let mut watch = Watch::new().unwrap();
        watch.follow([at("flumen.toml")], &[]);
        std::fs::write(at("other.txt"), "x").unwrap();
        assert!(is_quiet(&watch).await);
        symlink("..2", at("..data.new")).unwrap();
        std::fs::rename(at("..data.new"), at("..data")).unwrap();
        assert!(is_told(&watch).await);
        watch.follow([at("flumen.toml")], &[]);
        assert!(is_quiet(&watch).await);
        std::fs::write(at("..2/flumen.toml"), "c").unwrap();
        assert!(is_told(&watch).await);
    }

    #[tokio::test]
    async fn a_folder_that_is_made_later_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let included = dir.path().join("conf.d");
        let mut watch = Watch::new().unwrap();
        for _ in 0..2 {
            watch.follow([], std::slice::from_ref(&included));
            assert!(!is_told(&watch).await, "only time has passed");
            std::fs::create_dir(&included).unwrap();
            assert!(watch.follow([], std::slice::from_ref(&included)));
            std::fs::write(included.join("a.toml"), "a").unwrap();
            assert!(is_told(&watch).await);
            // Deleted and made anew, it is another.
            std::fs::remove_dir_all(&included).unwrap();
            assert!(is_told(&watch).await);
        }
    }
}
