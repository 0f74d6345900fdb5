//! What of a segment is in the page cache, as far as we put it there (`files::page_cache`).

use std::ops::Range;
use std::sync::atomic::Ordering;

use flumen_types::Offset;

use crate::files::file_system::{Advice, File};
use crate::files::page_cache::Cached;
use crate::locks::read;
use crate::segment::Segment;

impl Segment {
    /// It is synced up to there; how many bytes are new to the page cache's books.
    pub(crate) fn note_cached(&self, upto: u64) -> u64 {
        upto.saturating_sub(self.cached.fetch_max(upto, Ordering::Relaxed))
    }

    /// Whether its bytes from an offset on are still in the window of what was written last.
    pub(crate) fn is_hot(&self, from: Offset) -> bool {
        let dropped = self.dropped();
        if dropped == 0 || dropped >= self.size() {
            return dropped == 0;
        }
        match &self.lock().index {
            Some(index) => read(index).position_of(from) >= dropped,
            None => false,
        }
    }

    /// Has the disk fetch what a reader of cold bytes will want next, while it is busy with these.
    pub(crate) fn read_ahead(&self, file: &dyn File, position: u64, length: u64) {
        if position < self.dropped() {
            file.advise(position, Some(2 * length), Advice::WillNeed);
        }
    }

    /// Has the page cache let go of what a reader of cold bytes has behind it, in steps, and a step later
    /// than it could: others may be on the same way.
    pub(crate) fn let_go_behind(&self, read: &Range<u64>) {
        let ended = !self.is_live() && read.end >= self.size();
        let stepped = read.start / STEP != read.end / STEP || (!read.is_empty() && ended);
        if !stepped || read.end > self.dropped() {
            return;
        }
        let from = (read.start / STEP).saturating_sub(1) * STEP;
        let upto = if ended { read.end } else { (read.end / STEP).saturating_sub(1) * STEP };
        if let Ok(file) = self.file() {
            drop_from(&*file, from, upto);
        }
    }

    /// Bytes from the front that are not kept in the page cache.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A page, or a run of pages that the kernel treats as one, goes only if all of it is in the range: what
/// the last call has left of such a run is told again.
const FOLIO_BYTES: u64 = 2 << 20;
/// A call for what was read is worth so many bytes.
const STEP: u64 = 8 << 20;
/// Not worth a call, while more can follow.
const SMALL: u64 = 64 << 10;

impl Cached for Segment {
    fn drop_written(&self, upto: u64) {
        let from = self.dropped();
        if upto < from + SMALL && (self.is_live() || upto <= from) {
            return;
        }
        if let Ok(file) = self.file() {
            drop_from(&*file, from.saturating_sub(FOLIO_BYTES), upto);
            self.dropped.fetch_max(upto, Ordering::Relaxed);
        }
    }
}

fn drop_from(file: &dyn File, from: u64, upto: u64) {
    if upto > from {
        file.advise(from, Some(upto - from), Advice::DontNeed);
    }
}
