//! What a batch does to the table, put in order: rows grouped by the statement that writes them, and with
//! a key only the last state of each.
//!
//! Invariants: deletes run before rows, so a key that is deleted and written again loses its old columns;
//! a field that a record does not have is not touched. A write knows the records that it stands for, so
//! that one that the database refuses can be taken apart.

use std::collections::HashMap;

use flumen_sdk::Rejections;
use flumen_sdk::sql::Value;

use crate::config::{Config, Mode};
use crate::rows::{Cell, Change, Rows, key_parts};
use crate::statement;
use crate::table::Table;

/// Rows for one statement.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) statement: String,
    pub(crate) rows: Vec<Vec<Value>>,
    /// The records behind each row, in order.
    pub(crate) records: Vec<Vec<u32>>,
    columns: Vec<usize>,
}

/// A row before it is known which others it goes with: columns in the table's order.
struct Row {
    cells: Vec<(usize, Value)>,
    records: Vec<u32>,
}

/// Which writes of a key are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    LastWins,
    OneByOne,
}

/// What becomes of a key.
struct State {
    delete: Option<(Vec<Value>, u32)>,
    row: Option<Row>,
}

pub(crate) struct Writer<'a> {
    pub(crate) config: &'a Config,
    pub(crate) table: &'a Table,
}

impl Writer<'_> {
    /// Groups in the order in which they are to run.
    pub(crate) fn groups(&self, rows: &Rows<'_>, order: Order, rejected: &mut Rejections) -> Vec<Group> {
        let columns: Vec<Option<usize>> = rows.fields.iter().map(|field| self.table.column(field)).collect();
        let mut groups = Vec::new();
        let mut states: Vec<State> = Vec::new();
        let mut by_key: HashMap<Vec<u8>, usize> = HashMap::new();
        for change in &rows.changes {
            let position = match change {
                Change::Row { position, .. } | Change::Delete { position, .. } => *position,
            };
            let done = match change {
                Change::Row { from, to, .. } => self.row(rows, &columns, *from, *to).and_then(|cells| {
                    let row = Row { cells, records: vec![position] };
                    if self.config.mode == Mode::Insert {
                        self.add(row, &mut groups);
                        return Ok(());
                    }
                    let key = self.key_of(&row)?;
                    let is_bare = row.cells.iter().all(|(at, _)| self.is_key(*at));
                    if self.config.mode == Mode::Update && is_bare {
                        // There is nothing to set.
                        return Ok(());
                    }
                    if order == Order::OneByOne {
                        self.add_alone(row, &mut groups);
                        return Ok(());
                    }
                    let at = self.state(&key, &mut states, &mut by_key);
                    states[at].row = Some(match states[at].row.take() {
                        None => row,
                        Some(earlier) => merge(earlier, row),
                    });
                    Ok(())
                }),
                Change::Delete { key, .. } => self.deleted(key).map(|key| {
                    if order == Order::OneByOne {
                        groups.push(self.delete_group(vec![key], vec![vec![position]]));
                        return;
                    }
                    let at = self.state(&key, &mut states, &mut by_key);
                    states[at] = State { delete: Some((key, position)), row: None };
                }),
            };
            if let Err(reason) = done {
                rejected.push(position, reason);
            }
        }
        self.deletes(&mut states, &mut groups);
        for row in states.into_iter().filter_map(|state| state.row) {
            self.add(row, &mut groups);
        }
        groups
    }

    /// The values of a record, by column.
    fn row(
        &self,
        rows: &Rows<'_>,
        columns: &[Option<usize>],
        from: usize,
        to: usize,
    ) -> Result<Vec<(usize, Value)>, String> {
        let values = rows.values(from, to);
        let mut cells = Vec::with_capacity(values.len());
        for (number, cell) in values {
            let field = &rows.fields[*number as usize];
            match columns[*number as usize] {
                Some(at) => cells.push((at, self.convert(field, at, cell)?)),
                // Null in a column that is not there is what it would be anyway.
                None if matches!(cell, Cell::Json(raw) if raw.is_null()) => {}
                None => return Err(format!("the table {} has no column {field:?}", self.table.name)),
            }
        }
        cells.sort_by_key(|(at, _)| *at);
        match cells.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            Some(pair) => {
                let column = &self.table.columns[pair[0].0].name;
                Err(format!("two of its fields go to the column {column:?}"))
            }
            None if cells.is_empty() => Err("it has no fields".to_owned()),
            None => Ok(cells),
        }
    }

    #[inline]
    fn convert(&self, field: &str, at: usize, cell: &Cell<'_>) -> Result<Value, String> {
        let kind = self.table.columns[at].kind;
        cell.convert(kind, self.table.dialect, self.config.evolution)
            .map_err(|expected| format!("{field}: {} is not {expected}", cell.show()))
    }

    fn key_of(&self, row: &Row) -> Result<Vec<Value>, String> {
        let mut key = Vec::with_capacity(self.config.key.len());
        for name in &self.config.key {
            let at = self.key_column(name)?;
            match row.cells.iter().find(|(column, _)| *column == at) {
                Some((_, Value::Null)) | None => return Err(format!("no value for the key column {name:?}")),
                Some((_, value)) => key.push(value.clone()),
            }
        }
        Ok(key)
    }

    fn deleted(&self, key: &[u8]) -> Result<Vec<Value>, String> {
        let parts = key_parts(key, &self.config.key)?;
        let values = parts.iter().map(|(name, cell)| self.convert(name, self.key_column(name)?, cell));
        values.collect()
    }

    fn key_column(&self, name: &str) -> Result<usize, String> {
        self.table.column(name).ok_or_else(|| format!("the table {} has no column {name:?}", self.table.name))
    }

    fn is_key(&self, column: usize) -> bool {
        self.config.key.iter().any(|name| self.table.column(name) == Some(column))
    }

    fn state(&self, key: &[Value], states: &mut Vec<State>, by_key: &mut HashMap<Vec<u8>, usize>) -> usize {
        *by_key.entry(key_bytes(key)).or_insert_with(|| {
            states.push(State { delete: None, row: None });
            states.len() - 1
        })
    }

    /// Puts a row to those with the same columns.
    fn add(&self, row: Row, groups: &mut Vec<Group>) {
        let same = |group: &Group| group.columns.iter().eq(row.cells.iter().map(|(at, _)| at));
        let at = match groups.iter().rposition(same) {
            Some(at) => at,
            None => {
                groups.push(self.group(row.cells.iter().map(|(at, _)| *at).collect()));
                groups.len() - 1
            }
        };
        let group = &mut groups[at];
        let mut values: Vec<Value> = row.cells.into_iter().map(|(_, value)| value).collect();
        if self.config.mode == Mode::Update {
            self.key_last(&group.columns, &mut values);
        }
        group.rows.push(values);
        group.records.push(row.records);
    }

    /// Puts a row behind all others.
    fn add_alone(&self, row: Row, groups: &mut Vec<Group>) {
        let mut alone = Vec::new();
        self.add(row, &mut alone);
        groups.append(&mut alone);
    }

    fn group(&self, columns: Vec<usize>) -> Group {
        let name = |at: &usize| self.table.columns[*at].name.as_str();
        let names: Vec<&str> = columns.iter().map(name).collect();
        let key = self.key_names();
        let statement =
            statement::write(self.table.dialect, self.config.mode, &self.table.name, &names, &key);
        Group { statement, rows: Vec::new(), records: Vec::new(), columns }
    }

    /// Names of the key's columns as the table has them.
    fn key_names(&self) -> Vec<&str> {
        let keys = self.config.key.iter();
        keys.map(|name| self.table.column(name).map_or(name.as_str(), |at| &self.table.columns[at].name))
            .collect()
    }

    /// An update has its key's values behind the others.
    fn key_last(&self, columns: &[usize], values: &mut Vec<Value>) {
        let keys: Vec<usize> = self.config.key.iter().filter_map(|name| self.table.column(name)).collect();
        let mut last = Vec::with_capacity(keys.len());
        for key in keys {
            if let Some(at) = columns.iter().position(|column| *column == key) {
                last.push(values[at].clone());
            }
        }
        let mut at = 0;
        values.retain(|_| {
            at += 1;
            !self.is_key(columns[at - 1])
        });
        values.extend(last);
    }

    fn deletes(&self, states: &mut [State], groups: &mut Vec<Group>) {
        let (rows, records): (Vec<_>, Vec<_>) = states
            .iter_mut()
            .filter_map(|state| state.delete.take())
            .map(|(key, position)| (key, vec![position]))
            .unzip();
        if !rows.is_empty() {
            groups.push(self.delete_group(rows, records));
        }
    }

    fn delete_group(&self, rows: Vec<Vec<Value>>, records: Vec<Vec<u32>>) -> Group {
        let statement = statement::delete(self.table.dialect, &self.table.name, &self.key_names());
        Group { statement, rows, records, columns: Vec::new() }
    }
}

/// Two writes of a key: the later wins where both say something.
fn merge(earlier: Row, later: Row) -> Row {
    let mut cells = later.cells;
    for (at, value) in earlier.cells {
        if !cells.iter().any(|(column, _)| *column == at) {
            cells.push((at, value));
        }
    }
    cells.sort_by_key(|(at, _)| *at);
    let mut records = earlier.records;
    records.extend(later.records);
    Row { cells, records }
}

/// Equal for equal keys.
fn key_bytes(key: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in key {
        match value {
            Value::Int64(int) => {
                bytes.push(1);
                bytes.extend_from_slice(&int.to_le_bytes());
            }
            Value::Text(text) | Value::Uuid(text) | Value::Decimal(text) | Value::Json(text) => {
                bytes.push(2);
                bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
            }
            other => bytes.extend_from_slice(format!("{other:?};").as_bytes()),
        }
    }
    bytes
}
