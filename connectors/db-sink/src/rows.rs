//! A batch as rows: which fields each record has, without a copy of any.
//!
//! Records mostly have the same fields in the same order; a field's number is therefore first looked for
//! where the record before had it.

use flumen_sdk::json::{self, Raw};
use flumen_sdk::sql::{Dialect, Value};
use flumen_sdk::{Batch, RecordRef, Rejections};

use crate::config::{Config, Evolution, KeyFrom, Tombstones};
use crate::kind::Kind;
use crate::table::{Asked, COLUMNS_MAX};

/// What the records of a batch say.
#[derive(Default)]
pub(crate) struct Rows<'a> {
    pub(crate) fields: Vec<String>,
    pub(crate) changes: Vec<Change<'a>>,
    /// Fields of all rows, one after the other.
    values: Vec<(u32, Cell<'a>)>,
    /// What each field's values ask for together; none so far: only null.
    kinds: Vec<Option<Kind>>,
}

/// What one record does.
#[derive(Clone, Debug)]
pub(crate) enum Change<'a> {
    Row {
        position: u32,
        from: usize,
        to: usize,
    },
    /// Deletes the row whose key is this JSON, or text.
    Delete {
        position: u32,
        key: &'a [u8],
    },
}

impl<'a> Rows<'a> {
    /// Reads a batch. Records that are no rows are rejected.
    pub(crate) fn read(batch: &Batch<'a>, config: &Config, rejected: &mut Rejections) -> Self {
        let mut rows = Rows::default();
        for record in batch.records() {
            let (fields, from) = (rows.fields.len(), rows.values.len());
            let taken = match record.value() {
                None => rows.tombstone(&record, config),
                Some(value) => rows.row(&record, value, config),
            };
            if let Err(reason) = taken {
                rows.fields.truncate(fields);
                rows.values.truncate(from);
                rejected.push(record.position(), reason);
            }
        }
        rows.ask();
        rows
    }

    /// Fields by number and their values.
    pub(crate) fn values(&self, from: usize, to: usize) -> &[(u32, Cell<'a>)] {
        &self.values[from..to]
    }

    /// What the fields ask for, as far as they have values.
    pub(crate) fn asked(&self) -> Asked {
        let fields = self.fields.iter().zip(&self.kinds);
        fields.filter_map(|(field, kind)| kind.map(|kind| (field.clone(), kind))).collect()
    }

    fn tombstone(&mut self, record: &RecordRef<'a>, config: &Config) -> Result<(), String> {
        match (config.tombstones(), record.key()) {
            (Tombstones::Ignore, _) => Ok(()),
            (Tombstones::Reject, _) => Err("it has no value (a delete)".to_owned()),
            (Tombstones::Delete, None) => Err("a delete without a key".to_owned()),
            (Tombstones::Delete, Some(key)) => {
                self.changes.push(Change::Delete { position: record.position(), key });
                Ok(())
            }
        }
    }

    fn row(&mut self, record: &RecordRef<'a>, value: &'a [u8], config: &Config) -> Result<(), String> {
        let from = self.values.len();
        let mut fields = json::fields(value).map_err(|invalid| invalid.to_string())?;
        while let Some((name, raw)) = fields.next_field().map_err(|invalid| invalid.to_string())? {
            // The number that stood here in the record before.
            let hint = self.values.len() - from;
            let number = match self.fields.get(hint) {
                Some(field) if name.is(field) => hint,
                _ => self.number(&name.text())?,
            };
            // A name that comes twice counts as it comes last.
            match self.values[from..].iter_mut().find(|(known, _)| *known as usize == number) {
                Some(twice) => twice.1 = Cell::Json(raw),
                None => self.values.push((number as u32, Cell::Json(raw))),
            }
        }
        if config.key_from == KeyFrom::Record {
            self.add_key(record, from, config)?;
        }
        let to = self.values.len();
        self.changes.push(Change::Row { position: record.position(), from, to });
        Ok(())
    }

    /// The record's key as fields of its row.
    fn add_key(&mut self, record: &RecordRef<'a>, from: usize, config: &Config) -> Result<(), String> {
        let key = record.key().ok_or("it has no key")?;
        for (name, cell) in key_parts(key, &config.key)? {
            let number = self.number(name)? as u32;
            match self.values[from..].iter_mut().find(|(known, _)| *known == number) {
                Some(value) => value.1 = cell,
                None => self.values.push((number, cell)),
            }
        }
        Ok(())
    }

    fn number(&mut self, name: &str) -> Result<usize, String> {
        if let Some(number) = self.fields.iter().position(|field| field == name) {
            return Ok(number);
        }
        if self.fields.len() >= COLUMNS_MAX {
            return Err(format!("{name:?} would be one of more than {COLUMNS_MAX} fields"));
        }
        if name.is_empty() || name.len() > 63 || name.contains('\0') {
            return Err(format!("{name:?} can be no column's name: 1 to 63 bytes, none of them zero"));
        }
        self.fields.push(name.to_owned());
        Ok(self.fields.len() - 1)
    }

    /// Joins the kinds of all values of the rows that stay.
    fn ask(&mut self) {
        self.kinds = vec![None; self.fields.len()];
        for change in &self.changes {
            let Change::Row { from, to, .. } = change else { continue };
            for (number, cell) in &self.values[*from..*to] {
                let known = &mut self.kinds[*number as usize];
                if let Some(kind) = cell.kind()
                    && *known != Some(kind)
                {
                    *known = Some(known.map_or(kind, |known| known.join(kind)));
                }
            }
        }
    }
}

/// A value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cell<'a> {
    Json(Raw<'a>),
    /// A record's key that is text and no JSON.
    Text(&'a str),
}

impl Cell<'_> {
    fn kind(&self) -> Option<Kind> {
        match self {
            Cell::Json(raw) => Kind::of(*raw),
            Cell::Text(_) => Some(Kind::Text),
        }
    }

    /// The value for a column of that kind, or what was expected instead.
    #[inline]
    pub(crate) fn convert(
        &self,
        kind: Kind,
        dialect: Dialect,
        evolution: Evolution,
    ) -> Result<Value, &'static str> {
        match self {
            Cell::Json(raw) => kind.convert(*raw, dialect, evolution),
            Cell::Text(text) => {
                let mut quoted = Vec::new();
                json::write_text(&mut quoted, text);
                let quoted = String::from_utf8(quoted).map_err(|_| "text")?;
                kind.convert(json::value(&quoted).map_err(|_| "text")?, dialect, evolution)
            }
        }
    }

    /// For a person to see.
    pub(crate) fn show(&self) -> String {
        let text = match self {
            Cell::Json(raw) => raw.json(),
            Cell::Text(text) => text,
        };
        text.chars().take(100).collect()
    }
}

/// The columns of a key from a record's key: one is the key as it is, several are fields of an object.
pub(crate) fn key_parts<'a, 'n>(
    key: &'a [u8],
    names: &'n [String],
) -> Result<Vec<(&'n str, Cell<'a>)>, String> {
    let text = std::str::from_utf8(key).map_err(|_| "its key is not UTF-8".to_owned())?;
    if let [name] = names
        && !text.trim_start().starts_with('{')
    {
        let scalar =
            json::value(text).ok().filter(|raw| !matches!(raw.kind(), json::Kind::Text | json::Kind::Array));
        return Ok(vec![(name, scalar.map_or(Cell::Text(text), Cell::Json))]);
    }
    let mut parts = Vec::new();
    for name in names {
        let found = json::fields(key).and_then(|fields| fields.find(name));
        let found = found.map_err(|invalid| format!("its key is {invalid}"))?;
        let found = found.ok_or_else(|| format!("its key has no field {name:?}"))?;
        parts.push((name.as_str(), Cell::Json(found)));
    }
    Ok(parts)
}
