//! Bounds what the log keeps in the page cache, over all partitions together.
//!
//! Left alone, the kernel gives a steady stream every page there is, at the price of everything else
//! in memory; and a page that was not used for long costs far more to write to than one that was just let
//! go of. So what was written and synced stays until so much more was, then it goes, oldest first.
//!
//! Invariants: nothing is dropped that is not synced (the kernel would not); all this is advice, nobody
//! depends on it. It lacks a view of what the kernel did by itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};

use flumen_types::ByteSize;

use crate::locks::lock;

/// What has pages.
pub(crate) trait Cached: Send + Sync {
    /// It was written up to a byte, and of that nothing is wanted any more.
    fn drop_written(&self, upto: u64);
}

pub(crate) struct PageCache {
    /// `None`: the kernel decides.
    window: Option<u64>,
    written: Mutex<Written>,
}

/// What was written, in steps that are worth a call each.
#[derive(Default)]
struct Written {
    now: Step,
    /// Oldest first.
    before: VecDeque<Step>,
    /// In all steps.
    bytes: u64,
}

/// How far each of the files was written, by the address of each: no other can be there while it is known.
#[derive(Default)]
struct Step {
    bytes: u64,
    files: HashMap<usize, (Weak<dyn Cached>, u64)>,
}

const STEP_BYTES: u64 = 8 << 20;
impl PageCache {
    pub(crate) fn new(window: Option<ByteSize>) -> PageCache {
        let window = window.map(|bytes| bytes.0.max(0) as u64);
        PageCache { window, written: Mutex::default() }
    }

    /// So many more bytes, up to `upto`, were written to a file and are synced.
    pub(crate) fn wrote<C: Cached + 'static>(&self, file: &Arc<C>, more: u64, upto: u64) {
        let Some(window) = self.window else { return };
        let Some(old) = lock(&self.written).note(file, more, upto, window) else { return };
        for (file, upto) in old.into_iter().flat_map(|step| step.files.into_values()) {
            if let Some(file) = file.upgrade() {
                file.drop_written(upto);
            }
        }
    }
}

impl Written {
    /// The steps that have left the window.
    fn note<C: Cached + 'static>(
        &mut self,
        file: &Arc<C>,
        more: u64,
        upto: u64,
        window: u64,
    ) -> Option<Vec<Step>> {
        let weak = || (Arc::downgrade(file) as Weak<dyn Cached>, upto);
        self.now.files.entry(Arc::as_ptr(file).addr()).or_insert_with(weak).1 = upto;
        self.now.bytes += more;
        self.bytes += more;
        if self.now.bytes < STEP_BYTES {
            return None;
        }
        self.before.push_back(std::mem::take(&mut self.now));
        let mut old = Vec::new();
        while self.bytes > window
            && let Some(step) = self.before.pop_front()
        {
            self.bytes -= step.bytes;
            old.push(step);
        }
        Some(old)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[derive(Default)]
    struct File {
        written: AtomicU64,
        dropped: AtomicU64,
    }

    impl Cached for File {
        fn drop_written(&self, upto: u64) {
            self.dropped.store(upto, Ordering::Relaxed);
        }
    }

    fn write(cache: &PageCache, file: &Arc<File>, more: u64) {
        let upto = file.written.fetch_add(more, Ordering::Relaxed) + more;
        cache.wrote(file, more, upto);
    }

    fn kept(files: &[Arc<File>]) -> u64 {
        files.iter().map(|f| f.written.load(Ordering::Relaxed) - f.dropped.load(Ordering::Relaxed)).sum()
    }

    #[test]
    fn the_window_is_one_for_all_files() {
        const WINDOW: i64 = 64 << 20;
        let cache = PageCache::new(Some(ByteSize(WINDOW)));
        let files: Vec<Arc<File>> = (0..100).map(|_| Arc::default()).collect();
        for round in 0..100 {
            // Some take much, some little, some are silent.
            for (n, file) in files.iter().enumerate().filter(|(n, _)| (round + n) % 7 < 3) {
                write(&cache, file, if n % 10 == 0 { 3 << 20 } else { 4 << 10 });
            }
            assert!(kept(&files) <= WINDOW as u64 + 2 * STEP_BYTES);
        }
        assert!(kept(&files) >= WINDOW as u64 - 2 * STEP_BYTES);
    }

    #[test]
    fn what_others_write_moves_a_silent_file_out() {
        let cache = PageCache::new(Some(ByteSize(16 << 20)));
        let (silent, busy) = (Arc::default(), Arc::default());
        write(&cache, &silent, 1 << 20);
        (0..40).for_each(|_| write(&cache, &busy, 1 << 20));
        assert_eq!(kept(&[silent]), 0);
    }

    #[test]
    fn what_is_gone_is_passed_over_and_no_window_drops_nothing() {
        let (cache, none) = (PageCache::new(Some(ByteSize(0))), PageCache::new(None));
        let file = Arc::default();
        for _ in 0..4 {
            write(&cache, &Arc::default(), 8 << 20);
            write(&none, &file, 8 << 20);
        }
        assert_eq!(kept(&[file]), 32 << 20);
    }
}
