//! One file that is being read: where it stands, and whether it is still the file that it was.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::cursor::Position;
use crate::fingerprint::{self, Fingerprint, Tail};
use crate::format::Columns;
use crate::identity::{self, Identity, Seen};
use crate::row_end::RowEnd;

/// Scans that a file that was renamed away is kept for: who writes it may write on for a while.
const SCANS_AFTER_RENAME: u32 = 5;

/// Where the beginning of a line without an end is looked for.
const LAST_LINE_BYTES: u64 = 1 << 20;

/// Scans that a quote may stay open for before it is told: the rest of the row may be being written.
const SCANS_OF_OPEN_QUOTE: u32 = 5;

pub(crate) struct Tracked {
    pub(crate) position: Position,
    /// Its size when last looked at; in a finite run, where reading ends.
    pub(crate) size: u64,
    /// When it was last changed, as the last look found it.
    modified: Option<SystemTime>,
    /// The size at which what is there was found to be read, all but a line without an end.
    pub(crate) read_at: u64,
    pub(crate) columns: Option<Columns>,
    /// How far the end of a long row has been looked for.
    pub(crate) row_end: Option<RowEnd>,
    /// Where a row began that ended inside quotes, and the scans that have found it there.
    open_quote: Option<(u64, u32)>,
    handle: Option<File>,
    /// Whether it has been looked at since the start.
    looked: bool,
    /// Whether a pattern finds it under its path.
    pub(crate) matched: bool,
    idle_scans: u32,
    /// It waits for the next scan.
    pub(crate) failed: bool,
    /// Why it could not be read when that was last tried.
    pub(crate) trouble: Option<String>,
}

/// What a look at a known file tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Grown,
    /// Cut short, or another file under the old inode: it begins anew.
    Replaced,
}

impl Tracked {
    pub(crate) fn new(path: String, seen: Seen) -> Self {
        let Seen { identity: Identity { device, inode }, size, .. } = seen;
        Tracked::at(Position { path, device, inode, ..Position::default() }, size)
    }

    /// Where a cursor says.
    pub(crate) fn at(position: Position, size: u64) -> Self {
        Tracked {
            position,
            size,
            modified: None,
            read_at: 0,
            columns: None,
            row_end: None,
            open_quote: None,
            handle: None,
            looked: false,
            matched: false,
            idle_scans: 0,
            failed: false,
            trouble: None,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity { device: self.position.device, inode: self.position.inode }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint { len: self.position.fingerprint_len, hash: self.position.fingerprint }
    }

    pub(crate) fn has_more(&self) -> bool {
        !self.failed && self.position.offset < self.size && self.read_at != self.size
    }

    /// The open file; opened if need be.
    pub(crate) fn file(&mut self) -> io::Result<&mut File> {
        if self.handle.is_none() {
            let file = File::open(&self.position.path)?;
            if identity::of_file(&file)? != self.identity() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "another file has taken its name"));
            }
            self.handle = Some(file);
        }
        self.handle.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Lets the handle go, where the path leads to the file again.
    pub(crate) fn close(&mut self) {
        if self.matched {
            self.handle = None;
        }
    }

    /// What is there of the next row ends inside quotes.
    pub(crate) fn note_open_quote(&mut self) {
        let offset = self.position.offset;
        if self.open_quote.is_none_or(|(at, _)| at != offset) {
            self.open_quote = Some((offset, 0));
        }
    }

    /// Once a scan: why nothing more of it is read although there is more.
    pub(crate) fn wait_for_quote(&mut self) -> Option<String> {
        let (_, scans) = self.open_quote.as_mut().filter(|(at, _)| *at == self.position.offset)?;
        *scans += 1;
        (*scans > SCANS_OF_OPEN_QUOTE).then(|| {
            let line = self.position.lines + 1;
            format!("the row in line {line} has a quote that is not closed; waiting for the rest of it")
        })
    }

    /// Leaves out the lines that are there; one without an end is still to come.
    pub(crate) fn skip_to_end(&mut self) -> io::Result<()> {
        let (size, len) = (self.size, self.size.min(LAST_LINE_BYTES));
        let last = fingerprint::part(self.file()?, size - len, len)?;
        match memchr::memrchr(b'\n', &last) {
            Some(end) => self.position.offset = size - len + end as u64 + 1,
            None if len == size => {}
            None => (self.position.offset, self.position.skipping) = (size, true),
        }
        self.close();
        Ok(())
    }

    /// Has the next scan look at it, whatever its size.
    pub(crate) fn forget_look(&mut self) {
        self.looked = false;
    }

    /// Takes in what was seen of the file.
    pub(crate) fn look(&mut self, seen: Seen) -> io::Result<Change> {
        if self.looked && (seen.size, seen.modified) == (self.size, self.modified) {
            return Ok(Change::None);
        }
        let replaced = !self.is_continued(seen.size)?;
        self.modified = seen.modified;
        self.size = seen.size;
        self.looked = true;
        if replaced {
            let Position { path, device, inode, .. } = std::mem::take(&mut self.position);
            self.position = Position { path, device, inode, ..Position::default() };
            self.columns = None;
            self.row_end = None;
            self.open_quote = None;
            self.read_at = 0;
        }
        if self.fingerprint().is_short(seen.size) {
            let size = self.size;
            let Fingerprint { len, hash } = Fingerprint::of(self.file()?, size)?;
            self.position.fingerprint_len = len;
            self.position.fingerprint = hash;
        }
        Ok(if replaced { Change::Replaced } else { Change::Grown })
    }

    /// Whether a file of that size has all that was read of this one. What is cut short and written anew may
    /// have grown past the old place by now.
    fn is_continued(&mut self, size: u64) -> io::Result<bool> {
        let (offset, head, tail) = (self.position.offset, self.fingerprint(), Tail(self.position.tail));
        if size < offset {
            return Ok(false);
        }
        let file = self.file()?;
        Ok(head.fits(file)? && tail.fits(file, offset)?)
    }

    /// No pattern finds it any more: it was renamed or removed. Its handle still leads to it, or another
    /// name does. True when there is nothing left to wait for.
    pub(crate) fn is_over(&mut self) -> bool {
        if self.handle.is_none() && !self.find_renamed() {
            return true;
        }
        let size = self.handle.as_ref().and_then(|file| file.metadata().ok()).map(|metadata| metadata.len());
        match size {
            None => return true,
            Some(size) if size > self.size => (self.size, self.idle_scans) = (size, 0),
            Some(_) => self.idle_scans += 1,
        }
        !self.has_more() && self.idle_scans > SCANS_AFTER_RENAME
    }

    /// Bytes that are there and will never be read, if it is over.
    pub(crate) fn unread(&self) -> u64 {
        self.size.saturating_sub(self.position.offset)
    }

    /// Looks for the file under another name in its folder, where a rotation may have put it.
    fn find_renamed(&mut self) -> bool {
        let Some(folder) = Path::new(&self.position.path).parent() else { return false };
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let Ok(entries) = std::fs::read_dir(here) else { return false };
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            let Ok(Some(seen)) = crate::identity::look(&path) else { continue };
            if seen.identity != self.identity() || seen.size < self.position.offset {
                continue;
            }
            let Ok(mut file) = File::open(&path) else { continue };
            if self.fingerprint().fits(&mut file).unwrap_or(false) {
                self.handle = Some(file);
                self.size = seen.size;
                self.looked = true;
                return true;
            }
        }
        false
    }
}
