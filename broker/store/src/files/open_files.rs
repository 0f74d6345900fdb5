//! Keeps the number of open segment files bounded.
//!
//! A segment opens its file and loads its indexes when they are first asked for, and tells this
//! table. When there are too many, the ones longest unused are asked to close (second chance: a
//! segment that was used since it was last looked at goes to the back). A reader or the flusher
//! that still holds the file keeps it open until it is done; nothing breaks under it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};

use crate::files::file_system::FileSystem;
use crate::locks::lock;

/// What can be closed and opened again.
pub(crate) trait Closable: Send + Sync {
    /// Whether it was used since the last call.
    fn used(&self) -> bool;
    /// Closes unless it must stay open; says whether it is closed.
    fn close(&self) -> bool;
}

pub(crate) struct OpenFiles {
    /// What they are opened on.
    pub(crate) files: Arc<dyn FileSystem>,
    max: usize,
    open: Mutex<VecDeque<Weak<dyn Closable>>>,
}

impl OpenFiles {
    pub(crate) fn new(files: Arc<dyn FileSystem>, max: usize) -> Arc<OpenFiles> {
        Arc::new(OpenFiles { files, max: max.max(1), open: Mutex::default() })
    }

    /// Called once each time something was opened, without its locks held.
    pub(crate) fn opened(&self, file: Weak<dyn Closable>) {
        let mut open = lock(&self.open);
        open.push_back(file);
        self.shrink(&mut open);
    }

    /// Called when something that had to stay open need not any more.
    pub(crate) fn released(&self) {
        self.shrink(&mut lock(&self.open));
    }

    fn shrink(&self, open: &mut VecDeque<Weak<dyn Closable>>) {
        // Two rounds at most: the first may find that everything was used. And not many at once: where
        // thousands are being written to and none may close, each open would look at all of them.
        for _ in 0..(open.len() * 2).min(LOOKS_MAX) {
            if open.len() <= self.max {
                break;
            }
            let Some(oldest) = open.pop_front() else { break };
            if let Some(file) = oldest.upgrade()
                && (file.used() || !file.close())
            {
                open.push_back(oldest);
            }
        }
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        let open = lock(&self.open);
        open.iter().filter(|file| file.strong_count() > 0).count()
    }
}

/// For one that is opened; more than one of so many can close, or soon none needs to be opened anew.
const LOOKS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::files::os::OsFiles;

    #[derive(Default)]
    struct Fake {
        used: AtomicBool,
        pinned: bool,
        closed: AtomicBool,
    }

    impl Closable for Fake {
        fn used(&self) -> bool {
            self.used.swap(false, Ordering::Relaxed)
        }

        fn close(&self) -> bool {
            self.closed.store(!self.pinned, Ordering::Relaxed);
            !self.pinned
        }
    }

    #[test]
    fn the_longest_unused_that_may_close_closes() {
        let files = OpenFiles::new(Arc::new(OsFiles), 3);
        let pinned = Arc::new(Fake { pinned: true, ..Fake::default() });
        let used = Arc::new(Fake { used: true.into(), ..Fake::default() });
        let idle = Arc::new(Fake::default());
        let late = Arc::new(Fake { used: true.into(), ..Fake::default() });
        for file in [&pinned, &used, &idle, &late] {
            let file: Arc<dyn Closable> = file.clone();
            files.opened(Arc::downgrade(&file));
        }
        let closed = [&pinned, &used, &idle, &late].map(|file| file.closed.load(Ordering::Relaxed));
        assert_eq!(closed, [false, false, true, false]);
        assert_eq!(files.count(), 3);
    }

    #[test]
    fn many_that_may_not_close_are_not_all_asked_each_time() {
        #[derive(Default)]
        struct Asked(std::sync::atomic::AtomicUsize);
        impl Closable for Asked {
            fn used(&self) -> bool {
                self.0.fetch_add(1, Ordering::Relaxed);
                false
            }
            fn close(&self) -> bool {
                false
            }
        }
        let files = OpenFiles::new(Arc::new(OsFiles), 1);
        let busy: Vec<Arc<Asked>> = (0..5000).map(|_| Arc::default()).collect();
        for file in &busy {
            files.opened(Arc::downgrade(file) as Weak<dyn Closable>);
        }
        let asked: usize = busy.iter().map(|file| file.0.load(Ordering::Relaxed)).sum();
        assert!(asked <= 5000 * LOOKS_MAX);
    }

    #[test]
    fn nothing_closable_is_no_endless_loop() {
        let files = OpenFiles::new(Arc::new(OsFiles), 1);
        let pinned: Vec<Arc<dyn Closable>> =
            (0..4).map(|_| Arc::new(Fake { pinned: true, ..Fake::default() }) as Arc<dyn Closable>).collect();
        for file in &pinned {
            files.opened(Arc::downgrade(file));
        }
        assert_eq!(files.count(), 4);
    }
}
