//! The bytes of one file: as programs see them, as the device has them, and what lies between.
//!
//! Model, which is ext4's and no kinder than POSIX: the page cache holds 4 KiB pages, each of which reaches the
//! device when it likes, in any order, as it was after any of the writes since the last sync; one may be
//! torn: new up to a sector of 512 bytes, and old from there on. The length is a thing of its own. What never reached the device reads as
//! zeros. A sync that fails has lost what it did not write, and marks it clean: the next one says nothing of it.

use crate::rng::Rng;

pub(crate) const PAGE: usize = 4096;
pub(crate) const SECTOR: usize = 512;

#[derive(Clone, Debug)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Since the last sync, in order.
    changes: Vec<Change>,
    /// A sync has failed: clean pages in the cache are not what the device has.
    lost: bool,
}

impl Content {
    pub(crate) fn len(&self) -> usize {
        self.now.len()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.now
    }

    pub(crate) fn is_dirty(&self) -> bool {
        !self.changes.is_empty()
    }

    pub(crate) fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        put(&mut self.now, at, bytes);
        self.changes.push(Change::Write { at, bytes: bytes.to_vec() });
    }

    pub(crate) fn set_len(&mut self, length: usize) {
        if length != self.now.len() {
            self.now.resize(length, 0);
            self.changes.push(Change::Length(length));
        }
    }

    pub(crate) fn sync(&mut self) {
        for change in self.changes.drain(..) {
            match change {
                Change::Write { at, bytes } => put(&mut self.durable, at, &bytes),
                Change::Length(length) => self.durable.resize(length, 0),
            }
        }
        self.durable.resize(self.now.len(), 0);
    }

    pub(crate) fn fail_sync(&mut self, rng: &mut Rng) {
        if self.is_dirty() {
            self.durable = self.survivors(rng);
            self.changes.clear();
            self.lost = true;
        }
    }

    /// None of it reached the device, and all of it counts as clean.
    pub(crate) fn lose(&mut self) {
        if self.is_dirty() {
            self.durable.resize(self.now.len(), 0);
            self.changes.clear();
            self.lost = true;
        }
    }

    /// Clean pages leave the cache; whoever reads them next gets what the device has.
    pub(crate) fn evict(&mut self) {
        if self.lost && !self.is_dirty() {
            let length = self.now.len();
            self.now.clone_from(&self.durable);
            self.now.resize(length, 0);
        }
    }

    /// The power is gone: of what was not synced, some is there.
    pub(crate) fn cut(&mut self, rng: &mut Rng, nothing: bool) {
        if self.is_dirty() && !nothing {
            self.durable = self.survivors(rng);
        }
        self.changes.clear();
        self.lost = false;
        self.now.clone_from(&self.durable);
    }

    /// Whether its length, and which of its pages, are not on the device as they are here.
    pub(crate) fn unsynced(&self) -> (bool, Vec<usize>) {
        let pages = self.now.len().max(self.durable.len()).div_ceil(PAGE);
        let all = self.changes.len();
        let differs = |page: &usize| self.page_after(*page, all) != self.page_after(*page, 0);
        (self.now.len() != self.durable.len(), (0..pages).filter(differs).collect())
    }

    /// The power is gone: of the length and of each page, what is here or what is on the device.
    pub(crate) fn settle(&mut self, keeps_length: bool, keeps_page: impl Fn(usize) -> bool) {
        if self.is_dirty() {
            let length = if keeps_length { self.now.len() } else { self.durable.len() };
            let pages = 0..length.div_ceil(PAGE);
            let changes = |page| if keeps_page(page) { self.changes.len() } else { 0 };
            let mut kept: Vec<u8> = pages.flat_map(|page| self.page_after(page, changes(page))).collect();
            kept.truncate(length);
            self.durable = kept;
        }
        self.changes.clear();
        self.lost = false;
        self.now.clone_from(&self.durable);
    }

    /// Bytes that are where nobody wrote them, whatever anybody knows.
    pub(crate) fn rot(&mut self, at: usize, bytes: &[u8]) {
        self.now[at..at + bytes.len()].copy_from_slice(bytes);
        self.durable[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn survivors(&self, rng: &mut Rng) -> Vec<u8> {
        let count = self.changes.len();
        let length = self.length_after(some_of(rng, count));
        let mut kept = self.durable.clone();
        kept.resize(length, 0);
        for page in 0..length.div_ceil(PAGE) {
            if !self.changes.iter().any(|change| touches(change, page)) {
                continue;
            }
            let written = some_of(rng, count);
            let mut bytes = self.page_after(page, written);
            if rng.percent(25) {
                // The device got so far with it.
                let torn_at = rng.index(PAGE / SECTOR) * SECTOR;
                let before = self.page_after(page, some_of(rng, written));
                bytes[torn_at..].copy_from_slice(&before[torn_at..]);
            }
            let from = page * PAGE;
            let end = (from + PAGE).min(length);
            kept[from..end].copy_from_slice(&bytes[..end - from]);
        }
        kept
    }

    fn length_after(&self, changes: usize) -> usize {
        self.changes[..changes].iter().fold(self.durable.len(), |length, change| match change {
            Change::Write { at, bytes } => length.max(at + bytes.len()),
            Change::Length(length) => *length,
        })
    }

    /// A page as it was after so many of the changes.
    fn page_after(&self, page: usize, changes: usize) -> [u8; PAGE] {
        let from = page * PAGE;
        let mut bytes = [0; PAGE];
        copy_into(&mut bytes, from, 0, &self.durable);
        for change in &self.changes[..changes] {
            match change {
                Change::Write { at, bytes: written } => copy_into(&mut bytes, from, *at, written),
                Change::Length(length) if *length < from + PAGE => {
                    bytes[length.saturating_sub(from)..].fill(0);
                }
                Change::Length(_) => {}
            }
        }
        bytes
    }
}

/// How many of so many: often all or none.
fn some_of(rng: &mut Rng, count: usize) -> usize {
    match rng.below(10) {
        0..4 => count,
        4..6 => 0,
        _ => rng.upto(count as u64) as usize,
    }
}

fn touches(change: &Change, page: usize) -> bool {
    let (from, end) = (page * PAGE, (page + 1) * PAGE);
    match change {
        Change::Write { at, bytes } => *at < end && at + bytes.len() > from,
        Change::Length(length) => *length < end,
    }
}

fn put(content: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if content.len() < at + bytes.len() {
        content.resize(at + bytes.len(), 0);
    }
    content[at..at + bytes.len()].copy_from_slice(bytes);
}

/// What of `bytes`, which lie at `at`, is in the window that begins at `from`.
fn copy_into(window: &mut [u8], from: usize, at: usize, bytes: &[u8]) {
    let (begin, end) = (at.max(from), (at + bytes.len()).min(from + window.len()));
    if begin < end {
        window[begin - from..end - from].copy_from_slice(&bytes[begin - at..end - at]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_survives_and_what_was_not_may() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..200 {
            let mut content = Content::default();
            content.write(0, &[1; 5000]);
            content.sync();
            content.write(5000, &[2; 5000]);
            content.cut(&mut Rng::new(seed), false);
            assert_eq!(content.bytes()[..5000], [1; 5000]);
            kept += usize::from(content.len() == 10_000);
            lost += usize::from(content.len() == 5000);
            assert!(content.bytes()[5000..].iter().all(|byte| [0, 2].contains(byte)));
        }
        assert!(kept > 20 && lost > 20);
    }

    #[test]
    fn a_failed_sync_is_not_made_good_by_the_next() {
        let mut differs = 0;
        for seed in 0..50 {
            let mut content = Content::default();
            content.write(0, &[1; 10_000]);
            content.fail_sync(&mut Rng::new(seed));
            assert_eq!(content.bytes(), [1; 10_000], "the cache still has it");
            content.sync();
            content.evict();
            differs += usize::from(content.bytes() != [1; 10_000]);
        }
        assert!(differs > 10);
    }
}
