//! The source: finds files, reads each to its end, and keeps the place in all of them.
//!
//! Invariants: the cursor that goes with a batch covers exactly the pieces before it, good and bad; a file
//! that vanishes or cannot be read is told to `status` and stops no other.

use std::io;
use std::time::{Instant, SystemTime};

use flumen_sdk::{Error, Need, Output, Plugin, Polled, Result, Setup, Source, status};

use crate::config::{AtEnd, Config, Start};
use crate::cursor;
use crate::files::{Files, Scan};
use crate::format::Format;
use crate::neighbours::Neighbours;
use crate::reader::Reader;
use crate::reading::{Failure, Harvest, Reading, Stop};
use crate::survey::Survey;
use crate::tracked::Tracked;
use crate::troubles::Troubles;
use crate::walk::Pattern;

pub struct FileSource {
    config: Config,
    patterns: Vec<Pattern>,
    excluded: Vec<Pattern>,
    format: Format,
    files: Files,
    reader: Reader,
    next: usize,
    finite: bool,
    last_scan: Option<Instant>,
    troubles: Troubles,
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
            files: Files::default(),
            reader: Reader::default(),
            next: 0,
            finite: setup.finish || config.at_end == AtEnd::Exit,
            last_scan: None,
            troubles: Troubles::default(),
            config,
        })
    }
}

impl Source for FileSource {
    fn open(&mut self, cursor: Option<&[u8]>) -> Result<()> {
        if let Some(bytes) = cursor {
            let cursor = cursor::decode(bytes)
                .map_err(|error| Error::fatal(format_args!("the cursor cannot be read: {error}")))?;
            self.files = Files::at(cursor);
        }
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
        while tried < self.files.all.len() && !harvest.is_full() {
            let at = self.next % self.files.all.len();
            let stop = if self.files.all[at].has_more() { self.read(at, &mut harvest)? } else { Stop::End };
            if stop == Stop::End {
                (self.next, tried) = (at + 1, tried + 1);
            }
        }
        if tried == self.files.all.len() {
            self.next = 0;
        }
        let drained = harvest.is_empty();
        let bad = harvest.into_bad();
        if self.finite {
            let files = self.files.all.iter().filter(|file| file.gone_since().is_none());
            let sizes = files.clone().map(|file| file.size);
            let offsets = files.map(|file| file.position.offset.min(file.size));
            status::progress(offsets.sum(), sizes.sum());
        }
        Ok(Polled {
            bad,
            cursor: self.files.cursor()?,
            idle: (drained && !self.finite).then_some(self.config.poll_interval.0),
            finished: self.finite && !self.files.all.iter().any(Tracked::has_more),
        })
    }
}

impl FileSource {
    /// What `flumen status` shows to be wrong: paths or folders, and reasons.
    pub fn troubles(&self) -> impl Iterator<Item = (&str, &str)> {
        self.troubles.iter()
    }

    fn is_scan_due(&self) -> bool {
        self.last_scan.is_none_or(|last| last.elapsed() >= self.config.poll_interval.0)
    }

    /// Looks for files, and for what has become of the known ones.
    fn scan(&mut self) {
        let mut survey = Survey::take(&self.patterns, &self.excluded);
        self.files.take_in(&mut survey, Scan { now_ms: now_ms(), only: self.finite });
        self.troubles.tell_all(survey.troubles);
        self.last_scan = Some(Instant::now());
    }

    /// A file cannot be read for now.
    fn fail(&mut self, at: usize, reason: String) {
        let file = &mut self.files.all[at];
        self.troubles.tell(&file.position.path, &reason);
        file.failed = true;
        file.trouble = Some(reason);
    }

    /// A file can be read again.
    fn mend(&mut self, at: usize) {
        let file = &mut self.files.all[at];
        if file.trouble.take().is_some() {
            self.troubles.clear(&file.position.path);
        }
    }

    fn skip_to_ends(&mut self) {
        for at in 0..self.files.all.len() {
            let file = &mut self.files.all[at];
            if let Err(error) = file.skip_to_end() {
                file.position.offset = file.size;
                self.fail(at, error.to_string());
            }
        }
        self.files.changed = true;
    }

    /// Reads a file until its end, or until there is enough.
    fn read(&mut self, at: usize, harvest: &mut Harvest<'_>) -> Result<Stop> {
        let file = &mut self.files.all[at];
        if let Err(reason) = find(file) {
            self.fail(at, reason);
            return Ok(Stop::End);
        }
        let before = (file.position.offset, file.position.skipping);
        let keep = self.files.reading == Some(file.identity());
        let mut reading = Reading {
            config: &self.config,
            format: &mut self.format,
            reader: &mut self.reader,
            finite: self.finite,
            file,
        };
        let stop = reading.run(keep, harvest);
        self.files.changed |= before != (file.position.offset, file.position.skipping);
        self.files.reading = (stop == Ok(Stop::Budget)).then(|| file.identity());
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

/// Opens a file. Between the scan that saw it and its turn, a rotation may have renamed it.
fn find(file: &mut Tracked) -> Result<(), String> {
    let Err(error) = file.file() else { return Ok(()) };
    if error.kind() != io::ErrorKind::NotFound {
        return Err(error.to_string());
    }
    match Neighbours::default().find(&file.position.path, file.identity()) {
        Some((path, _)) => file.follow(path),
        None => return Err(file.vanished().unwrap_or_else(|| error.to_string())),
    }
    file.file().map(drop).map_err(|error| error.to_string())
}

fn now_ms() -> i64 {
    cursor::millis(SystemTime::now()).unwrap_or_default()
}
