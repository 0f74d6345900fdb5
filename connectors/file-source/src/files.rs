//! All files that are known: those that are there, and those that have vanished and may come back.
//!
//! Invariants: a file has one entry, by its identity, whatever names lead to it; none is forgotten because a
//! folder could not be listed, or because nothing at all is found, as where a file system is not mounted.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use flumen_sdk::{Error, Result};

use crate::cursor::{self, Cursor};
use crate::folders::{Folders, folder};
use crate::identity::{Identity, Seen};
use crate::neighbours::Neighbours;
use crate::survey::Survey;
use crate::tracked::{Change, Tracked};

/// Vanished files that are remembered for longer than an hour: the cursor is written with every batch.
const VANISHED_MAX: usize = 1_000;

/// For so long every vanished file is remembered, if there is room.
const VANISHED_MS: i64 = 60 * 60 * 1000;

#[derive(Default)]
pub(crate) struct Files {
    pub(crate) all: Vec<Tracked>,
    folders: Folders,
    /// The file that the reader's bytes are of; only this one stays open.
    pub(crate) reading: Option<Identity>,
    /// Whether the cursor has to be written.
    pub(crate) changed: bool,
}

/// When a scan is, and what of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scan {
    pub(crate) now_ms: i64,
    /// There will be no other.
    pub(crate) only: bool,
}

impl Files {
    pub(crate) fn at(cursor: Cursor) -> Self {
        // A size of nothing makes the first scan look at each of them.
        let all = cursor.files.into_iter().map(|position| Tracked::at(position, 0)).collect();
        Files { all, folders: cursor.folders, ..Files::default() }
    }

    /// The cursor, if it is another one than before.
    pub(crate) fn cursor(&mut self) -> Result<Option<Vec<u8>>> {
        if !std::mem::take(&mut self.changed) {
            return Ok(None);
        }
        loop {
            let cursor = cursor::encode(self.all.iter().map(|file| &file.position), &self.folders);
            if cursor.len() <= cursor::BYTES_MAX {
                return Ok(Some(cursor));
            }
            let mut vanished: Vec<(i64, usize)> =
                self.all.iter().enumerate().filter_map(|(at, file)| Some((file.gone_since()?, at))).collect();
            if vanished.is_empty() {
                return Err(Error::fatal(format_args!(
                    "the places in {} files take more than the 1 MiB that a cursor may have: \
                     move finished files away, or divide the patterns among sources",
                    self.all.len()
                )));
            }
            // A few more than are too many, so that this is not done again for each new file.
            let too_many = (cursor.len() - cursor::BYTES_MAX) * self.all.len() / cursor.len();
            vanished.sort_unstable();
            vanished.truncate(too_many + 1 + vanished.len() / 16);
            let forgotten: BTreeSet<usize> = vanished.into_iter().map(|(_, at)| at).collect();
            let mut at = 0..;
            self.all.retain(|_| at.next().is_none_or(|at| !forgotten.contains(&at)));
        }
    }

    /// Takes in what a scan has found, and adds to its troubles.
    pub(crate) fn take_in(&mut self, survey: &mut Survey, scan: Scan) {
        for file in &mut self.all {
            (file.matched, file.failed) = (false, false);
        }
        let before = self.folders.clone();
        let renumbered = self.folders.look(survey.seen.iter().map(|(path, _)| path.as_str()));
        let mut known = Known::of(&self.all, renumbered);
        for (path, seen) in std::mem::take(&mut survey.seen) {
            if let Err(error) = self.recognise(&path, seen, &mut known) {
                survey.troubles.insert(path, error.to_string());
            }
        }
        for file in &self.all {
            let path = &file.position.path;
            if known.renumbered.contains(folder(path)) && (file.failed || survey.is_unknown(path)) {
                // It still has to be found by its name.
                self.folders.forget(folder(path));
            }
        }
        self.leave_the_vanished(survey, scan);
        self.forget_the_oldest(scan.now_ms);
        self.folders.keep(self.all.iter().map(|file| file.position.path.as_str()));
        self.changed |= self.folders != before;
        let told = self.all.iter_mut().filter_map(|file| Some((file.position.path.clone(), file.trouble()?)));
        survey.troubles.extend(told);
    }

    fn recognise(&mut self, path: &str, seen: Seen, known: &mut Known) -> io::Result<()> {
        let at = match known.identities.get(&seen.identity) {
            Some(at) => *at,
            None => match self.adopt(known.at_name(path), seen)? {
                Some(at) => at,
                None => self.begin(path, seen),
            },
        };
        known.identities.insert(seen.identity, at);
        self.meet(at, path, seen)
    }

    /// Takes a file of the same name for the known one, if it has all that was read of that.
    fn adopt(&mut self, named: Option<usize>, seen: Seen) -> io::Result<Option<usize>> {
        let Some(file) = named.and_then(|at| self.all.get_mut(at)).filter(|file| !file.matched) else {
            return Ok(None);
        };
        let is_same = file.is_known_as(seen);
        file.failed = is_same.is_err();
        let is_same = is_same?;
        self.changed |= is_same;
        Ok(named.filter(|_| is_same))
    }

    fn begin(&mut self, path: &str, seen: Seen) -> usize {
        self.all.push(Tracked::new(path.to_owned(), seen));
        self.changed = true;
        self.all.len() - 1
    }

    /// A file is there: go on with it, or begin.
    fn meet(&mut self, at: usize, path: &str, seen: Seen) -> io::Result<()> {
        let file = &mut self.all[at];
        if file.matched {
            // A second name of the same file.
            return Ok(());
        }
        self.changed |= file.find(path, &seen);
        let looked = file.look(seen);
        if self.reading != Some(seen.identity) {
            file.close();
        }
        match looked {
            Ok(Change::Replaced) => {
                flumen_sdk::info!("{path}: cut short or replaced; reading it from its beginning");
                self.reading = None;
                self.changed = true;
                Ok(())
            }
            Ok(Change::Grown | Change::None) => Ok(()),
            // Renamed since it was seen.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                file.matched = false;
                Ok(())
            }
            Err(error) => {
                file.failed = true;
                Err(error)
            }
        }
    }

    /// Known files that no pattern finds any more: rotated away or removed.
    fn leave_the_vanished(&mut self, survey: &Survey, scan: Scan) {
        let mut neighbours = Neighbours::default();
        for file in &mut self.all {
            let is_there = file.matched || file.failed || survey.is_unknown(&file.position.path);
            if is_there || file.gone_since().is_some() {
                continue;
            }
            let elsewhere = neighbours.find(&file.position.path, file.identity());
            if file.miss(elsewhere, scan.only) {
                file.leave(scan.now_ms);
                self.changed = true;
            }
        }
    }

    /// Bounds how many vanished files are remembered.
    fn forget_the_oldest(&mut self, now_ms: i64) {
        let mut vanished: Vec<i64> = self.all.iter().filter_map(Tracked::gone_since).collect();
        // Where nothing at all is there, a file system may be missing that will be back.
        if vanished.len() <= VANISHED_MAX || vanished.len() == self.all.len() {
            return;
        }
        vanished.sort_unstable_by(|a, b| b.cmp(a));
        let oldest = vanished[VANISHED_MAX - 1].min(now_ms - VANISHED_MS);
        let before = self.all.len();
        self.all.retain(|file| file.gone_since().is_none_or(|since| since >= oldest));
        self.changed |= self.all.len() != before;
    }
}

/// Where the files are that were known before a scan.
struct Known {
    identities: BTreeMap<Identity, usize>,
    /// Where identities tell nothing: only folders that are others than they were.
    names: BTreeMap<String, usize>,
    renumbered: BTreeSet<String>,
}

impl Known {
    fn of(files: &[Tracked], renumbered: BTreeSet<String>) -> Self {
        let identities = files.iter().enumerate().map(|(at, file)| (file.identity(), at)).collect();
        // Of one that has vanished and one that has come after it under its name, the latter.
        let (gone, there): (Vec<_>, Vec<_>) =
            files.iter().enumerate().partition(|(_, file)| file.gone_since().is_some());
        let files = gone.into_iter().chain(there);
        let files = files.filter(|(_, file)| renumbered.contains(folder(&file.position.path)));
        let names = files.map(|(at, file)| (file.position.path.clone(), at)).collect();
        Known { identities, names, renumbered }
    }

    fn at_name(&self, path: &str) -> Option<usize> {
        self.names.get(path).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::{Gone, Position};

    const NOW_MS: i64 = 1_000 * VANISHED_MS;

    /// One that is there, and others that have vanished then.
    fn files(vanished_ms: impl Iterator<Item = i64>, there: usize) -> Files {
        let gone = vanished_ms.map(|since_ms| Some(Gone { since_ms, modified_ms: None }));
        let all = std::iter::repeat_n(None, there).chain(gone);
        let all = all.enumerate().map(|(at, gone)| {
            let path = format!("a/folder/of/files/{at}.csv");
            Tracked::at(Position { path, inode: at as u64, gone, ..Position::default() }, 0)
        });
        Files { all: all.collect(), changed: true, ..Files::default() }
    }

    fn kept(mut files: Files) -> usize {
        files.forget_the_oldest(NOW_MS);
        files.all.len()
    }

    #[test]
    fn the_oldest_of_many_vanished_files_are_forgotten() {
        let mut files = files(0..1_500, 1);
        files.forget_the_oldest(NOW_MS);
        let oldest = files.all.iter().filter_map(Tracked::gone_since).min();
        assert_eq!((files.all.len(), oldest), (1 + VANISHED_MAX, Some(500)));
    }

    #[test]
    fn those_that_vanished_just_now_or_at_once_are_not() {
        assert_eq!(kept(files((0..1_500).map(|at| NOW_MS - at), 1)), 1_501);
        assert_eq!(kept(files(std::iter::repeat_n(7, 1_500), 1)), 1_501);
        assert_eq!(kept(files(0..1_500, 0)), 1_500, "nothing at all is there");
    }

    #[test]
    fn a_cursor_has_room_for_the_files_that_are_there() {
        let mut all = files((0..9_000).map(|at| NOW_MS + at), 4_000);
        let cursor = cursor::decode(&all.cursor().unwrap().unwrap()).unwrap();
        assert_eq!(cursor.files.len(), all.all.len());
        let vanished: Vec<i64> = all.all.iter().filter_map(Tracked::gone_since).collect();
        assert_eq!(all.all.len() - vanished.len(), 4_000);
        assert!(vanished.len() > 3_000 && vanished.contains(&(NOW_MS + 8_999)), "{}", vanished.len());

        assert!(
            matches!(files(0..0, 15_000).cursor(), Err(Error::Fatal(reason)) if reason.contains("15000"))
        );
    }
}
