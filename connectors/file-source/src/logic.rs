//! The source: finds files, reads each to its end, and keeps the place in all of them.
//!
//! Invariants: the cursor that goes with a batch covers exactly the pieces before it, good and bad; a file
//! that vanishes or cannot be read is told to `status` and stops no other.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use flumen_sdk::{Error, Need, Output, Plugin, Polled, Result, Setup, Source, status};

use crate::config::{AtEnd, Config, Start};
use crate::cursor;
use crate::format::Format;
use crate::identity::{self, Identity, Seen};
use crate::reader::Reader;
use crate::reading::{Failure, Harvest, Reading, Stop};
use crate::tracked::{Change, Tracked};
use crate::troubles::Troubles;
use crate::walk::Pattern;

pub struct FileSource {
    config: Config,
    patterns: Vec<Pattern>,
    excluded: Vec<Pattern>,
    format: Format,
    files: Vec<Tracked>,
    reader: Reader,
    /// The file that the reader's bytes are of.
    reading: Option<Identity>,
    next: usize,
    finite: bool,
    last_scan: Option<Instant>,
    troubles: Troubles,
    changed: bool,
}

impl Plugin for FileSource {
    type Config = Config;

    const NEEDS: &'static [Need] = &[Need::FilesRead];

    fn new(config: Config, setup: &Setup) -> Result<Self> {
        config.check()?;
        if setup.tasks > 1 {
            return Err(Error::fatal(
                "file-source runs as one task: the cursor of a task tells only what that one has read, and \
                 another number of tasks would read files again; set tasks = 1, and divide the patterns among \
                 several sources if one is too slow",
            ));
        }
        Ok(FileSource {
            patterns: config.paths.iter().map(|path| Pattern::new(path)).collect(),
            excluded: config.exclude.iter().map(|path| Pattern::new(path)).collect(),
            format: Format::new(&config)?,
            files: Vec::new(),
            reader: Reader::default(),
            reading: None,
            next: 0,
            finite: setup.finish || config.at_end == AtEnd::Exit,
            last_scan: None,
            troubles: Troubles::default(),
            changed: false,
            config,
        })
    }
}

impl Source for FileSource {
    fn open(&mut self, cursor: Option<&[u8]>) -> Result<()> {
        let positions = match cursor {
            None => Vec::new(),
            Some(bytes) => cursor::decode(bytes)
                .map_err(|error| Error::fatal(format_args!("the cursor cannot be read: {error}")))?,
        };
        // A size of nothing makes the first scan look at each of them.
        self.files = positions.into_iter().map(|position| Tracked::at(position, 0)).collect();
        self.scan();
        if cursor.is_none() && self.config.start == Start::End {
            self.skip_to_ends();
        }
        Ok(())
    }

    fn poll(&mut self, max_bytes: usize, out: &mut Output) -> Result<Polled> {
        if !self.finite && self.is_scan_due() {
            self.scan();
        }
        let mut harvest = Harvest::new(out, max_bytes, now_ms());
        let mut tried = 0;
        while tried < self.files.len() && !harvest.is_full() {
            let at = self.next % self.files.len();
            let stop = if self.files[at].has_more() { self.read(at, &mut harvest)? } else { Stop::End };
            if stop == Stop::End {
                (self.next, tried) = (at + 1, tried + 1);
            }
        }
        if tried == self.files.len() {
            self.next = 0;
        }
        let drained = harvest.is_empty();
        let bad = harvest.into_bad();
        if self.finite {
            let sizes = self.files.iter().map(|file| file.size);
            let offsets = self.files.iter().map(|file| file.position.offset.min(file.size));
            status::progress(offsets.sum(), sizes.sum());
        }
        Ok(Polled {
            bad,
            cursor: self.cursor()?,
            idle: (drained && !self.finite).then_some(self.config.poll_interval.0),
            finished: self.finite && !self.files.iter().any(Tracked::has_more),
        })
    }
}

impl FileSource {
    /// What `flumen status` shows to be wrong: paths or folders, and reasons.
    pub fn troubles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.troubles.iter()
    }

    fn cursor(&mut self) -> Result<Option<Vec<u8>>> {
        if !std::mem::take(&mut self.changed) {
            return Ok(None);
        }
        let cursor = cursor::encode(self.files.iter().map(|file| &file.position));
        if cursor.len() > cursor::BYTES_MAX {
            return Err(Error::fatal(format_args!(
                "the places in {} files take more than the 1 MiB that a cursor may have: \
                 move finished files away, or divide the patterns among sources",
                self.files.len()
            )));
        }
        Ok(Some(cursor))
    }

    fn is_scan_due(&self) -> bool {
        self.last_scan.is_none_or(|last| last.elapsed() >= self.config.poll_interval.0)
    }

    /// Looks for files, and for what has become of the known ones.
    fn scan(&mut self) {
        let mut troubles = Vec::new();
        let paths = self.find(&mut troubles);
        self.files.iter_mut().for_each(|file| {
            file.matched = false;
            file.failed = false;
        });
        let mut seen_now = Vec::new();
        for path in paths {
            match identity::look(Path::new(&path)) {
                Ok(Some(seen)) => seen_now.push((path, seen)),
                // A name without a pattern that is not there yet; what a pattern found is gone again.
                Ok(None) if self.config.paths.contains(&path) => {
                    troubles.push((path, "there is no such file".to_owned()));
                }
                Ok(None) => {}
                Err(error) => troubles.push((path, error.to_string())),
            }
        }
        for (path, seen) in seen_now {
            if let Err(error) = self.meet(&path, seen) {
                troubles.push((path, error.to_string()));
            }
        }
        self.leave_the_vanished(&mut troubles);
        // Those that are tried again stay told until they can be read.
        let known = |file: &mut Tracked| {
            let reason = file.trouble.clone().or_else(|| file.wait_for_quote())?;
            Some((file.position.path.clone(), reason))
        };
        troubles.extend(self.files.iter_mut().filter_map(known));
        self.troubles.tell_all(troubles.into_iter().collect());
        self.last_scan = Some(Instant::now());
    }

    /// Every path that a pattern finds and none excludes, in order.
    fn find(&self, troubles: &mut Vec<(String, String)>) -> Vec<String> {
        let mut paths = BTreeSet::new();
        for pattern in &self.patterns {
            let walked = pattern.walk(&mut |folder, error| {
                troubles.push((folder.display().to_string(), error.to_string()));
            });
            match walked {
                Ok(found) => paths.extend(found),
                Err(error) => troubles.push((pattern.text().to_owned(), error.to_string())),
            }
        }
        paths.into_iter().filter(|path| !self.excluded.iter().any(|pattern| pattern.matches(path))).collect()
    }

    /// A file is there: go on with it, or begin.
    fn meet(&mut self, path: &str, seen: Seen) -> io::Result<()> {
        let known = self.files.iter().position(|file| file.identity() == seen.identity);
        let at = known.unwrap_or_else(|| {
            self.files.push(Tracked::new(path.to_owned(), seen));
            // So that the look below takes its fingerprint.
            self.changed = true;
            self.files.len() - 1
        });
        let file = &mut self.files[at];
        if file.matched {
            // A second name of the same file.
            return Ok(());
        }
        file.matched = true;
        if file.position.path != path {
            path.clone_into(&mut file.position.path);
            self.changed = true;
        }
        match file.look(seen) {
            Ok(Change::Replaced) => {
                flumen_sdk::info!("{path}: cut short or replaced; reading it from its beginning");
                self.reading = None;
                self.changed = true;
                Ok(())
            }
            Ok(Change::Grown | Change::None) => Ok(()),
            Err(error) => {
                file.failed = true;
                Err(error)
            }
        }
    }

    /// Known files that no pattern finds any more: rotated away or removed.
    fn leave_the_vanished(&mut self, troubles: &mut Vec<(String, String)>) {
        let before = self.files.len();
        self.files.retain_mut(|file| {
            if file.matched || file.failed {
                return true;
            }
            let over = file.is_over();
            if over && file.unread() > 0 {
                let reason = format!("it has vanished with {} bytes not read", file.unread());
                troubles.push((file.position.path.clone(), reason));
            }
            !over
        });
        self.changed |= self.files.len() != before;
    }

    /// A file cannot be read for now.
    fn fail(&mut self, at: usize, reason: String) {
        let file = &mut self.files[at];
        self.troubles.tell(&file.position.path, &reason);
        file.failed = true;
        file.trouble = Some(reason);
    }

    /// A file can be read again.
    fn mend(&mut self, at: usize) {
        let file = &mut self.files[at];
        if file.trouble.take().is_some() {
            self.troubles.clear(&file.position.path);
        }
    }

    fn skip_to_ends(&mut self) {
        for at in 0..self.files.len() {
            if let Err(error) = self.files[at].skip_to_end() {
                self.files[at].position.offset = self.files[at].size;
                self.fail(at, error.to_string());
            }
        }
        self.changed = true;
    }

    /// Reads a file until its end, or until there is enough.
    fn read(&mut self, at: usize, harvest: &mut Harvest<'_>) -> Result<Stop> {
        let file = &mut self.files[at];
        let before = (file.position.offset, file.position.skipping);
        let keep = self.reading == Some(file.identity());
        let mut reading = Reading {
            config: &self.config,
            format: &mut self.format,
            reader: &mut self.reader,
            finite: self.finite,
            file,
        };
        let stop = reading.run(keep, harvest);
        self.changed |= before != (file.position.offset, file.position.skipping);
        self.reading = (stop == Ok(Stop::Budget)).then(|| file.identity());
        match stop {
            Ok(stop) => {
                self.mend(at);
                Ok(stop)
            }
            Err(Failure::File(reason)) => {
                self.fail(at, reason);
                Ok(Stop::End)
            }
            Err(Failure::Source(error)) => Err(error),
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
