//! From the bytes of a file to records: lines, CSV rows, JSON lines.
//!
//! Invariant: takes whole pieces only, unless told that nothing more will come.

use std::borrow::Cow;

use flumen_sdk::{NewRecord, Output, Result, json, time};

use crate::config::{Config, FormatName};
use crate::csv::{self, Dialect, Field, Scanned, Type};

/// What the beginning of a buffer was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A record of so many bytes has been written.
    Record(usize),
    /// Nothing of interest: an empty line, a header.
    Blank(usize),
    /// So many bytes that are no record.
    Bad(usize, String),
    /// So many bytes that are more than a record may have.
    Long(usize),
    Incomplete,
    /// Incomplete, and it ends inside quotes.
    Open,
    /// The file as a whole cannot be read like this.
    Unreadable(String),
}

/// Where a piece comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) path: &'a str,
    /// From 1.
    pub(crate) line: u64,
    pub(crate) now_ms: i64,
}

pub(crate) struct Format {
    kind: FormatName,
    key: Option<String>,
    timestamp: Option<String>,
    headers: bool,
    dialect: Dialect,
    columns: Option<Vec<String>>,
    header: bool,
    null: String,
    types: std::collections::BTreeMap<String, Type>,
    infer: bool,
    max_line: usize,
    /// Room that is used again for each row.
    fields: Vec<Field>,
    value: Vec<u8>,
    scratch: String,
    line: String,
}

/// The columns of one file.
#[derive(Clone, Debug)]
pub(crate) struct Columns {
    /// `{"a":`, `,"b":` and so on.
    labels: Vec<Vec<u8>>,
    names: Vec<String>,
    types: Vec<Type>,
    key: Option<usize>,
    timestamp: Option<usize>,
}

impl Format {
    pub(crate) fn new(config: &Config) -> Result<Self> {
        Ok(Format {
            kind: config.format,
            key: config.key.clone(),
            timestamp: config.timestamp.clone(),
            headers: config.headers,
            dialect: Dialect { delimiter: config.delimiter_byte()?, quote: config.quote_byte()? },
            columns: config.columns.clone(),
            header: config.header.unwrap_or(config.columns.is_none()),
            null: config.null.clone(),
            types: config.types.clone(),
            infer: config.infer,
            max_line: usize::try_from(config.max_line_bytes.0).unwrap_or(usize::MAX),
            fields: Vec::new(),
            value: Vec::new(),
            scratch: String::new(),
            line: String::new(),
        })
    }

    /// The signs of its rows, which may go on over line ends.
    pub(crate) fn dialect(&self) -> Option<Dialect> {
        (self.kind == FormatName::Csv).then_some(self.dialect)
    }

    /// Whether a file's first row has to be read before any other of it can.
    pub(crate) fn needs_columns(&self) -> bool {
        self.kind == FormatName::Csv
    }

    /// Whether the first row is no record.
    pub(crate) fn has_header(&self) -> bool {
        self.kind == FormatName::Csv && self.header
    }

    /// Takes the header row at the beginning of `bytes`.
    pub(crate) fn take_header(&mut self, bytes: &[u8], last: bool) -> Taken {
        match self.dialect.scan(bytes, last, &mut self.fields) {
            Scanned::Row(len) => Taken::Blank(len),
            Scanned::Incomplete => Taken::Incomplete,
            Scanned::Open => Taken::Open,
            Scanned::Bad(_, reason) => Taken::Unreadable(format!("its header has {reason}")),
        }
    }

    /// Takes the piece at the beginning of `bytes`, and writes it to `out` if it is a record.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        last: bool,
        columns: Option<&Columns>,
        place: Place<'_>,
        out: &mut Output,
    ) -> Taken {
        match (self.kind, columns) {
            (FormatName::Csv, Some(columns)) => self.row(bytes, last, columns, place, out),
            (FormatName::Csv, None) => Taken::Incomplete,
            (FormatName::Lines, _) => match line(bytes, last) {
                None => Taken::Incomplete,
                Some((len, line)) if line.len() > self.max_line => Taken::Long(len),
                Some((len, line)) => {
                    let record = NewRecord { value: Some(line), ..NewRecord::at(place.now_ms) };
                    self.push(record, place, out);
                    Taken::Record(len)
                }
            },
            (FormatName::Jsonl, _) => match line(bytes, last) {
                None => Taken::Incomplete,
                Some((len, line)) if line.len() > self.max_line => Taken::Long(len),
                Some((len, line)) if line.trim_ascii().is_empty() => Taken::Blank(len),
                Some((len, line)) => match self.json(line.trim_ascii(), place, out) {
                    Ok(()) => Taken::Record(len),
                    Err(reason) => Taken::Bad(len, reason),
                },
            },
        }
    }

    /// Writes what is left of a long line.
    pub(crate) fn take_cut(&mut self, line: &[u8], place: Place<'_>, out: &mut Output) {
        let record = NewRecord { value: Some(line), ..NewRecord::at(place.now_ms) };
        self.push(record, place, out);
    }

    /// The columns from the configuration, or from the header row that `bytes` begin with.
    pub(crate) fn columns(&mut self, bytes: &[u8], last: bool) -> Result<Columns, Taken> {
        let names = match &self.columns {
            Some(names) => names.clone(),
            None => match self.dialect.scan(bytes, last, &mut self.fields) {
                Scanned::Incomplete => return Err(Taken::Incomplete),
                Scanned::Open => return Err(Taken::Open),
                Scanned::Bad(_, reason) => return Err(Taken::Unreadable(format!("its header has {reason}"))),
                Scanned::Row(len) => {
                    let row = std::str::from_utf8(&bytes[..len])
                        .map_err(|_| Taken::Unreadable("its header is not UTF-8".to_owned()))?;
                    let fields = self.fields.iter().enumerate();
                    fields
                        .map(|(at, field)| match self.dialect.text(field, row, &mut self.scratch).trim() {
                            "" => format!("column_{}", at + 1),
                            name => name.to_owned(),
                        })
                        .collect()
                }
            },
        };
        self.lay_out(names).map_err(Taken::Unreadable)
    }

    fn lay_out(&self, names: Vec<String>) -> Result<Columns, String> {
        if names.iter().any(|name| name.contains('\r')) {
            // All of it would be its header, and nobody would miss the rows.
            return Err("its lines end with CR alone; write them with LF or CRLF".to_owned());
        }
        if let Some(twice) = names.iter().enumerate().find(|(at, name)| names[..*at].contains(name)) {
            return Err(format!("two columns are called {:?}", twice.1));
        }
        let index =
            |name: &Option<String>| match name {
                None => Ok(None),
                Some(name) => names.iter().position(|column| column == name).map(Some).ok_or_else(|| {
                    format!("it has no column {name:?}; its columns are {}", names.join(", "))
                }),
            };
        let labels = names.iter().enumerate().map(|(at, name)| {
            let mut label = vec![if at == 0 { b'{' } else { b',' }];
            json::write_text(&mut label, name);
            label.push(b':');
            label
        });
        let fallback = if self.infer { Type::Auto } else { Type::String };
        Ok(Columns {
            labels: labels.collect(),
            types: names.iter().map(|name| self.types.get(name).copied().unwrap_or(fallback)).collect(),
            key: index(&self.key)?,
            timestamp: index(&self.timestamp)?,
            names,
        })
    }

    fn row(
        &mut self,
        bytes: &[u8],
        last: bool,
        columns: &Columns,
        place: Place<'_>,
        out: &mut Output,
    ) -> Taken {
        let mut fields = std::mem::take(&mut self.fields);
        let scanned = self.dialect.scan(bytes, last, &mut fields);
        let taken = match scanned {
            Scanned::Incomplete => Taken::Incomplete,
            Scanned::Open => Taken::Open,
            Scanned::Bad(len, reason) => Taken::Bad(len, reason.to_owned()),
            Scanned::Row(len) if len > self.max_line => Taken::Long(len),
            Scanned::Row(len) if fields.len() == 1 && !fields[0].quoted && fields[0].at.is_empty() => {
                Taken::Blank(len)
            }
            Scanned::Row(len) => match self.write_row(&bytes[..len], &fields, columns, place, out) {
                Ok(()) => Taken::Record(len),
                Err(reason) => Taken::Bad(len, reason),
            },
        };
        self.fields = fields;
        taken
    }

    fn write_row(
        &mut self,
        row: &[u8],
        fields: &[Field],
        columns: &Columns,
        place: Place<'_>,
        out: &mut Output,
    ) -> Result<(), String> {
        if fields.len() != columns.names.len() {
            let missing = fields.len() < columns.names.len();
            return Err(format!(
                "{} fields where there are {} columns: too {}",
                fields.len(),
                columns.names.len(),
                if missing { "few" } else { "many" }
            ));
        }
        let row = std::str::from_utf8(row)
            .map_err(|error| format!("not UTF-8 from byte {} of the row", error.valid_up_to()))?;
        let mut value = std::mem::take(&mut self.value);
        let mut scratch = std::mem::take(&mut self.scratch);
        value.clear();
        let mut written = Ok(());
        for (at, field) in fields.iter().enumerate() {
            value.extend_from_slice(&columns.labels[at]);
            let text = self.dialect.text(field, row, &mut scratch);
            if self.is_null(field, text) {
                if columns.key == Some(at) {
                    written = Err(format!("no value in column {:?} for the key", columns.names[at]));
                    break;
                }
                value.extend_from_slice(b"null");
            } else if let Err(kind) = csv::write_as(columns.types[at], text, &mut value) {
                written = Err(format!("{}: {:?} is no {kind}", columns.names[at], shorten(text)));
                break;
            }
        }
        value.push(b'}');
        let written = written.and_then(|()| {
            let key = columns.key.map(|at| self.dialect.text(&fields[at], row, &mut scratch).to_owned());
            let timestamp_ms = match columns.timestamp {
                None => place.now_ms,
                Some(at) => moment(&columns.names[at], self.dialect.text(&fields[at], row, &mut scratch))?,
            };
            let key = key.as_ref().map(|key| key.as_bytes());
            let record = NewRecord { key, value: Some(&value), ..NewRecord::at(timestamp_ms) };
            self.push(record, place, out);
            Ok(())
        });
        (self.value, self.scratch) = (value, scratch);
        written
    }

    fn is_null(&self, field: &Field, text: &str) -> bool {
        !field.quoted && text == self.null
    }

    fn json(&mut self, line: &[u8], place: Place<'_>, out: &mut Output) -> Result<(), String> {
        let text = std::str::from_utf8(line)
            .map_err(|error| format!("not UTF-8 from byte {} of the line", error.valid_up_to()))?;
        let whole = json::value(text)
            .map_err(|invalid| format!("not JSON: {} at byte {}", invalid.what, invalid.at))?;
        let of =
            |path: &str| whole.at_path(path.split('.')).filter(|raw| !raw.is_null()).map(|raw| raw.to_text());
        let key: Option<Cow<'_, str>> = match &self.key {
            None => None,
            Some(path) => Some(of(path).ok_or_else(|| format!("no field {path:?} for the key"))?),
        };
        let timestamp_ms = match &self.timestamp {
            None => place.now_ms,
            Some(path) => {
                let text = of(path).ok_or_else(|| format!("no field {path:?} for the timestamp"))?;
                moment(path, &text)?
            }
        };
        let key = key.as_ref().map(|key| key.as_bytes());
        let record = NewRecord { key, value: Some(line), ..NewRecord::at(timestamp_ms) };
        self.push(record, place, out);
        Ok(())
    }

    #[inline]
    fn push(&mut self, record: NewRecord<'_>, place: Place<'_>, out: &mut Output) {
        if !self.headers {
            return out.push(&record);
        }
        use std::fmt::Write;
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.line, "{}", place.line);
        let headers: [(&[u8], Option<&[u8]>); 2] =
            [(b"flumen.file", Some(place.path.as_bytes())), (b"flumen.line", Some(self.line.as_bytes()))];
        out.push(&NewRecord { headers: &headers, ..record });
    }
}

fn moment(name: &str, text: &str) -> Result<i64, String> {
    time::parse_millis(text).ok_or_else(|| format!("{name}: {:?} is no date and time", shorten(text)))
}

fn shorten(text: &str) -> String {
    text.chars().take(100).collect()
}

/// The first line with and without its end.
#[inline]
fn line(bytes: &[u8], last: bool) -> Option<(usize, &[u8])> {
    let (len, line) = match memchr::memchr(b'\n', bytes) {
        Some(at) => (at + 1, &bytes[..at]),
        None if last && !bytes.is_empty() => (bytes.len(), bytes),
        None => return None,
    };
    Some((len, line.strip_suffix(b"\r").unwrap_or(line)))
}
