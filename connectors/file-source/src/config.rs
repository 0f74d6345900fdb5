//! What a person may say about the files, and what is made of it once.

use std::collections::BTreeMap;

use flumen_sdk::units::{ByteSize, Span};
use flumen_sdk::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::Type;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Patterns such as `inbox/*.csv` or `logs/**/*.log`; the folders must be granted.
    #[schemars(length(min = 1))]
    pub paths: Vec<String>,
    /// Patterns of files to leave out.
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(default)]
    pub format: FormatName,
    /// The field that becomes the record's key (csv: a column; jsonl: a field, `a.b` for a nested one).
    pub key: Option<String>,
    /// The field that becomes the record's timestamp; without it, the time of reading.
    pub timestamp: Option<String>,
    /// Tell each record's file and line in the headers `flumen.file` and `flumen.line`.
    #[serde(default)]
    pub headers: bool,
    /// Where to begin in files that are there at the very first start.
    #[serde(default)]
    pub start: Start,
    /// Whether to wait for more at the end of the files. `flumen run --until-done` always exits.
    #[serde(default)]
    pub at_end: AtEnd,
    /// How often to look for new files and new lines while there are none.
    #[serde(default = "one_second")]
    pub poll_interval: Span,
    /// The longest line (csv: row) that can be a record.
    #[serde(default = "one_mebibyte")]
    pub max_line_bytes: ByteSize,
    /// What happens to a longer one.
    #[serde(default)]
    pub on_long_line: OnLongLine,

    /// csv: the names of the columns. Without them the first row has them.
    pub columns: Option<Vec<String>>,
    /// csv: whether the first row is a header; by default it is unless `columns` are given.
    pub header: Option<bool>,
    /// csv: one character.
    #[serde(default = "comma")]
    #[schemars(length(min = 1, max = 1))]
    pub delimiter: String,
    /// csv: one character.
    #[serde(default = "double_quote")]
    #[schemars(length(min = 1, max = 1))]
    pub quote: String,
    /// csv: the unquoted text that stands for null.
    #[serde(default)]
    pub null: String,
    /// csv: types of columns: `{ amount = "float", code = "string" }`.
    #[serde(default)]
    pub types: BTreeMap<String, Type>,
    /// csv: whether the other columns find their type by looking at each field; else they are text.
    #[serde(default = "yes")]
    pub infer: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FormatName {
    /// A line is a record, as it is.
    #[default]
    Lines,
    /// A row is a JSON object, with the columns as fields.
    Csv,
    /// A line is a JSON value.
    Jsonl,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    #[default]
    Beginning,
    End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AtEnd {
    #[default]
    Follow,
    #[serde(alias = "until-done")]
    Exit,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnLongLine {
    /// It is a bad record: its beginning goes where those go.
    #[default]
    Reject,
    /// Its beginning is the record; for the format `lines`.
    Truncate,
    /// It is counted and left out.
    Skip,
    /// The source stops.
    Fail,
}

fn one_second() -> Span {
    Span(std::time::Duration::from_secs(1))
}

fn one_mebibyte() -> ByteSize {
    ByteSize(1 << 20)
}

fn comma() -> String {
    ",".to_owned()
}

fn double_quote() -> String {
    "\"".to_owned()
}

fn yes() -> bool {
    true
}

impl Config {
    /// Settings that do not go together, which a schema cannot tell.
    pub(crate) fn check(&self) -> Result<()> {
        let csv_only = self.columns.is_some() || self.header.is_some() || !self.types.is_empty();
        if self.format != FormatName::Csv && csv_only {
            return Err(Error::fatal("columns, header and types are for format = \"csv\""));
        }
        if self.format == FormatName::Lines && (self.key.is_some() || self.timestamp.is_some()) {
            return Err(Error::fatal(
                "key and timestamp are fields, which format = \"lines\" has none of; csv and jsonl have",
            ));
        }
        if self.format != FormatName::Lines && self.on_long_line == OnLongLine::Truncate {
            return Err(Error::fatal("on_long_line = \"truncate\" would cut CSV and JSON apart"));
        }
        if self.header == Some(false) && self.columns.is_none() {
            return Err(Error::fatal("header = false leaves the columns without names: give `columns`"));
        }
        if self.max_line_bytes.0 == 0 {
            return Err(Error::fatal("max_line_bytes = 0 leaves no line to read"));
        }
        self.delimiter_byte().and(self.quote_byte()).map(drop)
    }

    pub(crate) fn delimiter_byte(&self) -> Result<u8> {
        one_byte("delimiter", &self.delimiter)
    }

    pub(crate) fn quote_byte(&self) -> Result<u8> {
        one_byte("quote", &self.quote)
    }
}

fn one_byte(name: &str, text: &str) -> Result<u8> {
    match text.as_bytes() {
        [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
        _ => Err(Error::fatal(format_args!("{name} = {text:?}: expected one ASCII character"))),
    }
}
