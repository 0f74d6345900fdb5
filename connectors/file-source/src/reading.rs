//! Reading one file: pieces are taken from its bytes, good ones become records, bad ones are reported,
//! long ones are got over without being held in memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use flumen_sdk::{BadInput, Error, Output, metrics};

use crate::config::{Config, OnLongLine};
use crate::csv::{self, Dialect};
use crate::fingerprint::{self, Tail};
use crate::format::{Format, Place, Taken};
use crate::reader::Reader;
use crate::row_end::RowEnd;
use crate::tracked::Tracked;

/// What of a bad piece is kept for a person to see.
const BAD_BYTES_MAX: usize = 64 << 10;

/// A row that goes on for so many times the longest allowed line has a quote that was never closed.
const ROW_LINES_MAX: u64 = 16;

const CHUNK_BYTES: u64 = 256 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why reading a file stopped for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Budget,
    End,
}

/// What came of one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Taken,
    /// More has to be read first.
    Short,
    /// More has to be written first.
    Wait,
}

/// What came of looking for the end of a long row.
enum Sought {
    End(RowEnd),
    Nowhere,
    /// It is still being written.
    NotYet,
}

/// What went wrong, by what it stops.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    File(String),
    Source(Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::File(error.to_string())
    }
}

/// What a poll collects.
pub(crate) struct Harvest<'a> {
    out: &'a mut Output,
    bad: Vec<BadInput>,
    bad_bytes: usize,
    max_bytes: usize,
    now_ms: i64,
}

impl<'a> Harvest<'a> {
    pub(crate) fn new(out: &'a mut Output, max_bytes: usize, now_ms: i64) -> Self {
        Harvest { out, bad: Vec::new(), bad_bytes: 0, max_bytes, now_ms }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.out.bytes() + self.bad_bytes >= self.max_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.bad.is_empty()
    }

    pub(crate) fn into_bad(self) -> Vec<BadInput> {
        self.bad
    }

    fn reject(&mut self, place: Place<'_>, piece: &[u8], reason: String) {
        let data = piece[..piece.len().min(BAD_BYTES_MAX)].to_vec();
        self.bad_bytes += data.len() + reason.len() + place.path.len();
        self.bad.push(BadInput { origin: format!("{}:{}", place.path, place.line), data, reason });
    }
}

/// One file at work.
pub(crate) struct Reading<'a> {
    pub(crate) config: &'a Config,
    pub(crate) format: &'a mut Format,
    pub(crate) reader: &'a mut Reader,
    pub(crate) finite: bool,
    pub(crate) file: &'a mut Tracked,
}

impl Reading<'_> {
    /// `keep`: what the reader holds is of this file.
    pub(crate) fn run(&mut self, keep: bool, harvest: &mut Harvest<'_>) -> Result<Stop, Failure> {
        let before = self.file.position.offset;
        let stop = self.take_all(keep, harvest);
        if self.file.position.offset != before {
            self.file.position.tail = Tail::of(self.reader.behind()).0;
        }
        stop
    }

    fn take_all(&mut self, keep: bool, harvest: &mut Harvest<'_>) -> Result<Stop, Failure> {
        if self.format.needs_columns() && self.file.columns.is_none() && !self.learn_columns()? {
            return Ok(self.end());
        }
        let (from, to) = (self.reader.place(), self.reader.end());
        if !keep || from != self.file.position.offset || to > self.file.size {
            self.seek()?;
        }
        let mut last = false;
        loop {
            let mut step = Step::Taken;
            while step == Step::Taken && !harvest.is_full() {
                step = self.step(last, harvest)?;
            }
            if harvest.is_full() {
                return Ok(if self.file.has_more() { Stop::Budget } else { self.end() });
            }
            let left = self.file.size.saturating_sub(self.reader.end());
            if left > 0 && step != Step::Wait {
                last = false;
                if self.reader.fill(self.file.file()?, left)? == 0 {
                    return Err(self.changed("it has become shorter while it was read"));
                }
            } else if last || !self.finite || self.reader.unread().is_empty() {
                return Ok(self.end());
            } else {
                last = !self.extend()?;
            }
        }
    }

    /// Where a finite run ends was settled when it began; a line that was being written then may be whole by
    /// now. False if nothing was added to it.
    fn extend(&mut self) -> io::Result<bool> {
        let size = self.file.size;
        let more = fingerprint::part(self.file.file()?, size, CHUNK_BYTES)?;
        self.file.size += csv::first_line(&more).len() as u64;
        Ok(self.file.size > size)
    }

    /// Begins to read where the position is.
    fn seek(&mut self) -> Result<(), Failure> {
        let Tracked { position, .. } = &*self.file;
        let (offset, tail) = (position.offset, Tail(position.tail));
        self.reader.seek(self.file.file()?, offset)?;
        let is_there = self.reader.place() == offset;
        if !is_there || (tail.0 != 0 && tail != Tail::of(self.reader.behind())) {
            return Err(self.changed("it was cut short or written anew before it was read"));
        }
        Ok(())
    }

    /// It is no longer what the last scan saw; the next one will tell what it is.
    fn changed(&mut self, reason: &str) -> Failure {
        self.file.forget_look();
        Failure::File(reason.to_owned())
    }

    fn end(&mut self) -> Stop {
        self.file.read_at = self.file.size;
        self.file.close();
        Stop::End
    }

    /// Takes one piece.
    fn step(&mut self, last: bool, harvest: &mut Harvest<'_>) -> Result<Step, Failure> {
        let Reading { config, format, reader, file, .. } = self;
        let unread = reader.unread();
        if unread.is_empty() {
            return Ok(Step::Short);
        }
        let position = &mut file.position;
        let place = Place { path: &position.path, line: position.lines + 1, now_ms: harvest.now_ms };
        let mark = BYTE_ORDER_MARK.len() as u64;
        let is_first =
            position.offset == 0 || (position.offset == mark && reader.behind() == BYTE_ORDER_MARK);
        let taken = if position.skipping {
            let end = memchr::memchr(b'\n', unread);
            position.skipping = end.is_none();
            Taken::Blank(end.map_or(unread.len(), |end| end + 1))
        } else if position.offset == 0 && unread.starts_with(BYTE_ORDER_MARK) {
            Taken::Blank(BYTE_ORDER_MARK.len())
        } else if is_first && format.has_header() {
            format.take_header(unread, last)
        } else {
            format.take(unread, last, file.columns.as_ref(), place, harvest.out)
        };
        let is_long = unread.len() as u64 > config.max_line_bytes.0;
        let len = match (taken, format.dialect()) {
            (Taken::Record(len) | Taken::Blank(len), _) => len,
            (Taken::Bad(len, reason), _) => {
                harvest.reject(place, &unread[..len], reason);
                len
            }
            (Taken::Long(len), _) => {
                long(config, format, place, &unread[..len], harvest)?;
                len
            }
            (Taken::Incomplete | Taken::Open, Some(dialect)) if is_long => {
                return self.get_over_row(dialect, harvest);
            }
            (Taken::Incomplete, None) if is_long => {
                long(config, format, place, unread, harvest)?;
                position.skipping = true;
                0
            }
            (Taken::Incomplete, _) => return Ok(Step::Short),
            (Taken::Open, _) => {
                file.note_open_quote();
                return Ok(Step::Short);
            }
            (Taken::Unreadable(reason), _) => return Err(Failure::File(reason)),
        };
        self.advance(len);
        Ok(Step::Taken)
    }

    fn advance(&mut self, len: usize) {
        let taken = &self.reader.unread()[..len];
        self.file.position.lines += memchr::memchr_iter(b'\n', taken).count() as u64;
        self.file.position.offset += len as u64;
        self.reader.consume(len);
    }

    /// Leaves a row behind that is longer than it may be, or, if a quote in it is never closed, its line.
    fn get_over_row(&mut self, dialect: Dialect, harvest: &mut Harvest<'_>) -> Result<Step, Failure> {
        let sought = self.find_row_end(dialect)?;
        let Reading { config, format, reader, file, .. } = self;
        let position = &mut file.position;
        let place = Place { path: &position.path, line: position.lines + 1, now_ms: harvest.now_ms };
        let line = csv::first_line(reader.unread());
        match sought {
            Sought::End(row) => {
                long(config, format, place, reader.unread(), harvest)?;
                (position.offset, position.lines) = (row.place(), position.lines + row.lines);
                let offset = position.offset;
                reader.seek(file.file()?, offset)?;
            }
            Sought::Nowhere if line.ends_with(b"\n") => {
                harvest.reject(place, line, csv::NOT_CLOSED.to_owned());
                let len = line.len();
                self.advance(len);
            }
            Sought::Nowhere => {
                long(config, format, place, line, harvest)?;
                position.skipping = true;
            }
            Sought::NotYet => return Ok(Step::Wait),
        }
        Ok(Step::Taken)
    }

    fn find_row_end(&mut self, dialect: Dialect) -> Result<Sought, Failure> {
        let from = self.file.position.offset;
        let mut row = self.file.row_end.take().filter(|row| row.from == from).unwrap_or(RowEnd::new(from));
        while row.len < self.config.max_line_bytes.0.saturating_mul(ROW_LINES_MAX) {
            let left = self.file.size.saturating_sub(row.place());
            let bytes = fingerprint::part(self.file.file()?, row.place(), left.min(CHUNK_BYTES))?;
            if row.find(&bytes, dialect) {
                return Ok(Sought::End(row));
            }
            if bytes.is_empty() && !self.finite {
                if row.is_open() {
                    self.file.note_open_quote();
                }
                self.file.row_end = Some(row);
                return Ok(Sought::NotYet);
            }
            if bytes.is_empty() && !self.extend()? {
                return Ok(if row.is_open() { Sought::Nowhere } else { Sought::End(row) });
            }
        }
        Ok(Sought::Nowhere)
    }

    /// Finds out what the columns are; false: the header is not all there yet.
    fn learn_columns(&mut self) -> Result<bool, Failure> {
        let limit = self.config.max_line_bytes.0;
        let whole = self.file.size <= limit;
        let bytes = match self.config.columns {
            Some(_) => Vec::new(),
            None => beginning(self.file.file()?, limit)?,
        };
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
        match self.format.columns(bytes, whole && self.finite) {
            Ok(columns) => {
                self.file.columns = Some(columns);
                Ok(true)
            }
            Err(Taken::Unreadable(reason)) => Err(Failure::File(reason)),
            Err(taken) if whole => {
                if taken == Taken::Open {
                    self.file.note_open_quote();
                }
                Ok(false)
            }
            Err(_) => Err(Failure::File("its header is longer than max_line_bytes".to_owned())),
        }
    }
}

fn beginning(file: &mut File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A line that is longer than it may be, or the beginning of one.
fn long(
    config: &Config,
    format: &mut Format,
    place: Place<'_>,
    line: &[u8],
    harvest: &mut Harvest<'_>,
) -> Result<(), Failure> {
    let max = config.max_line_bytes.0;
    metrics::counter("long_lines", 1);
    match config.on_long_line {
        OnLongLine::Reject => harvest.reject(place, line, format!("longer than max_line_bytes = {max}")),
        OnLongLine::Skip => {}
        OnLongLine::Truncate => {
            let cut = line.len().min(usize::try_from(max).unwrap_or(usize::MAX));
            format.take_cut(&line[..cut], place, harvest.out);
        }
        OnLongLine::Fail => {
            return Err(Failure::Source(Error::fatal(format_args!(
                "{}:{}: longer than max_line_bytes = {max}",
                place.path, place.line
            ))));
        }
    }
    Ok(())
}
