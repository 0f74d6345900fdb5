//! One file that is being read: where it stands, and whether it is still the file that it was.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::cursor::{self, Gone, Position};
use crate::fingerprint::{self, Fingerprint, Tail};
use crate::format::Columns;
use crate::identity::{self, Identity, Seen};
use crate::row_end::RowEnd;

/// Scans that a file is waited for that was renamed away, because who writes it may write on for a while, or
/// that nothing leads to, because its folder may be back.
const SCANS_OF_PATIENCE: u32 = 5;

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
    /// Where a rotation has put it, if it no longer is under its path.
    away: Option<PathBuf>,
    /// Whether it has been looked at since the start.
    looked: bool,
    /// Whether a pattern finds it under its path.
    pub(crate) matched: bool,
    /// Whether the last scan has found it under no name.
    lost: bool,
    idle_scans: u32,
    /// It waits for the next scan.
    pub(crate) failed: bool,
    /// Why it could not be read when that was last tried, or why it never will be.
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
            away: None,
            looked: false,
            matched: false,
            lost: false,
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
        let may_be_read = !self.failed && self.position.gone.is_none();
        may_be_read && self.position.offset < self.size && self.read_at != self.size
    }

    /// The open file; opened if need be.
    pub(crate) fn file(&mut self) -> io::Result<&mut File> {
        if self.handle.is_none() {
            let path = self.away.as_deref().unwrap_or(Path::new(&self.position.path));
            let file = File::open(path)?;
            if identity::of_file(&file)? != self.identity() {
                return Err(io::Error::new(io::ErrorKind::NotFound, "another file has taken its name"));
            }
            self.handle = Some(file);
        }
        self.handle.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Lets the handle go, where a name leads to the file again.
    pub(crate) fn close(&mut self) {
        if self.matched || self.away.is_some() {
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

    /// Once a scan: what is wrong with it.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.trouble.clone().or_else(|| self.wait_for_quote())
    }

    /// Why nothing more of it is read although there is more.
    fn wait_for_quote(&mut self) -> Option<String> {
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
        if !std::mem::replace(&mut self.looked, true) {
            // What reading has run into is settled by this look.
            self.trouble = None;
        }
        if replaced {
            self.start_over();
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

    fn start_over(&mut self) {
        let Position { path, device, inode, .. } = std::mem::take(&mut self.position);
        self.position = Position { path, device, inode, ..Position::default() };
        self.columns = None;
        self.row_end = None;
        self.open_quote = None;
        self.trouble = None;
        self.read_at = 0;
    }

    pub(crate) fn gone_since(&self) -> Option<i64> {
        self.position.gone.as_ref().map(|gone| gone.since_ms)
    }

    /// A pattern finds it, under this path. True if the position is another one by that.
    pub(crate) fn find(&mut self, path: &str, seen: &Seen) -> bool {
        let was_lost = std::mem::take(&mut self.lost) || self.position.gone.is_some();
        (self.matched, self.away, self.idle_scans) = (true, None, 0);
        if was_lost {
            self.trouble = None;
            if !self.is_back(path, seen) {
                self.start_over();
            }
            self.position.gone = None;
        }
        let moved = self.position.path != path;
        if moved {
            path.clone_into(&mut self.position.path);
        }
        was_lost || moved
    }

    /// Whether a file that was lost is there again; else its inode was given to another one. That may begin
    /// with all that was read of the old one, as short files do.
    fn is_back(&self, path: &str, seen: &Seen) -> bool {
        let modified_ms = self.modified_ms();
        let is_untouched = modified_ms.is_some() && modified_ms == seen.modified.and_then(cursor::millis);
        let has_grown = seen.size > self.position.offset || modified_ms.is_none();
        is_untouched || (path == self.position.path && has_grown)
    }

    fn modified_ms(&self) -> Option<i64> {
        match &self.position.gone {
            Some(gone) => gone.modified_ms,
            None => self.modified.and_then(cursor::millis),
        }
    }

    /// Tries whether it is that file by now, under its own path and another identity.
    pub(crate) fn is_known_as(&mut self, seen: Seen) -> io::Result<bool> {
        let Identity { device, inode } = self.identity();
        self.handle = None;
        (self.position.device, self.position.inode) = (seen.identity.device, seen.identity.inode);
        let is_same = self.is_continued(seen.size);
        if !is_same.as_ref().is_ok_and(|is_same| *is_same) {
            self.handle = None;
            (self.position.device, self.position.inode) = (device, inode);
        }
        is_same
    }

    /// No pattern finds it any more: it was renamed or removed. `elsewhere`: another name that may lead to
    /// it. True when there is nothing left to wait for; of the `last` scan nothing can be waited for.
    pub(crate) fn miss(&mut self, elsewhere: Option<&(PathBuf, Seen)>, last: bool) -> bool {
        let size = match elsewhere {
            Some((path, seen)) if self.is_under(path, *seen) => Some(seen.size),
            _ => self.handle.as_ref().and_then(|file| file.metadata().ok()).map(|metadata| metadata.len()),
        };
        let has_grown = size.is_some_and(|size| size > self.size);
        let was_lost = std::mem::replace(&mut self.lost, size.is_none());
        self.idle_scans = if has_grown || self.lost != was_lost { 0 } else { self.idle_scans + 1 };
        self.size = size.unwrap_or(self.size);
        (self.lost || !self.has_more()) && (last || self.idle_scans > SCANS_OF_PATIENCE)
    }

    fn is_under(&mut self, path: &Path, seen: Seen) -> bool {
        self.away = Some(path.to_owned());
        let is_as_before = self.looked && (seen.size, seen.modified) == (self.size, self.modified);
        let is_it = is_as_before || self.is_continued(seen.size).unwrap_or(false);
        if is_it {
            (self.looked, self.modified) = (true, seen.modified);
        } else {
            self.away = None;
        }
        is_it
    }

    /// It has been renamed since the last scan.
    pub(crate) fn follow(&mut self, path: &Path) {
        self.away = Some(path.to_owned());
    }

    /// Nothing leads to it any more. What is remembered is enough to go on if it comes back.
    pub(crate) fn leave(&mut self, now_ms: i64) {
        self.trouble = self.vanished();
        self.position.gone = Some(Gone { since_ms: now_ms, modified_ms: self.modified_ms() });
        (self.handle, self.away, self.looked) = (None, None, false);
    }

    /// What is lost with it.
    pub(crate) fn vanished(&self) -> Option<String> {
        let unread = self.size.saturating_sub(self.position.offset);
        (unread > 0).then(|| format!("it has vanished with {unread} bytes not read"))
    }
}
