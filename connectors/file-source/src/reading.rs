//! Reading one file: pieces are taken from its bytes, good ones become records, bad ones are reported,
//! long ones are got over without being held in memory.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use flumen_sdk::{BadInput, Error, Output, metrics};

use crate::config::{Config, OnLongLine};
use crate::fingerprint::Tail;
use crate::format::{Format, Place, Taken};
use crate::reader::Reader;
use crate::tracked::Tracked;

/// What of a bad piece is kept for a person to see.
const BAD_BYTES_MAX: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Why reading a file stopped for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Budget,
    End,
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
        if !keep || self.reader.place() != self.file.position.offset {
            self.seek()?;
        }
        loop {
            let left = self.file.size.saturating_sub(self.reader.end());
            while !harvest.is_full() {
                if !self.step(left == 0 && self.finite, harvest)? {
                    break;
                }
            }
            if harvest.is_full() {
                return Ok(Stop::Budget);
            }
            if left == 0 {
                return Ok(self.end());
            }
            if self.reader.fill(self.file.file()?, left)? == 0 {
                return Err(self.changed("it has become shorter while it was read"));
            }
        }
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

    /// Takes one piece; false when there is no whole one.
    fn step(&mut self, last: bool, harvest: &mut Harvest<'_>) -> Result<bool, Failure> {
        let Reading { config, format, reader, file, .. } = self;
        let unread = reader.unread();
        if unread.is_empty() {
            return Ok(false);
        }
        let position = &mut file.position;
        let place = Place { path: &position.path, line: position.lines + 1, now_ms: harvest.now_ms };
        let taken = if position.skipping {
            let end = memchr::memchr(b'\n', unread);
            position.skipping = end.is_none();
            Taken::Blank(end.map_or(unread.len(), |end| end + 1))
        } else if position.offset == 0 && unread.starts_with(BYTE_ORDER_MARK) {
            Taken::Blank(BYTE_ORDER_MARK.len())
        } else if position.lines == 0 && format.has_header() {
            format.take_header(unread, last)
        } else {
            format.take(unread, last, file.columns.as_ref(), place, harvest.out)
        };
        let len = match taken {
            Taken::Record(len) | Taken::Blank(len) => len,
            Taken::Bad(len, reason) => {
                harvest.reject(place, &unread[..len], reason);
                len
            }
            Taken::Long(len) => {
                long(config, format, place, &unread[..len], harvest)?;
                len
            }
            Taken::Incomplete if unread.len() as u64 > config.max_line_bytes.0 => {
                long(config, format, place, unread, harvest)?;
                position.skipping = true;
                0
            }
            Taken::Incomplete => return Ok(false),
            Taken::Unreadable(reason) => return Err(Failure::File(reason)),
        };
        position.lines += memchr::memchr_iter(b'\n', &unread[..len]).count() as u64;
        position.offset += len as u64;
        reader.consume(len);
        Ok(true)
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
            Err(_) if whole => Ok(false),
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
