//! From a batch to statements: which rows, in which order, and what becomes of those that are refused.
//!
//! Invariants: in mode `insert` rows are written in the order of the records. Where a key tells rows
//! apart, the last record of a key is the only one that is written, so that the order of the others is
//! of no account and they go in one statement for each set of columns.

use std::borrow::Cow;
use std::collections::HashMap;

use flumen_sdk::json::Raw;
use flumen_sdk::sql::{Database, DbError, Dialect, Value, describe};
use flumen_sdk::{Batch, Error, Need, Plugin, Rejections, Result, Setup, SqlSink};

use crate::column::{Family, fit, natural};
use crate::config::{Config, Mode};
use crate::row::{Wish, wish};
use crate::table::{Fields, Table, target};

pub struct DbSink {
    config: Config,
    table: Option<Table>,
}

impl Plugin for DbSink {
    type Config = Config;
    const NEEDS: &'static [Need] = &[Need::Database];

    fn new(config: Config, _: &Setup) -> Result<Self> {
        config.check()?;
        Ok(DbSink { config, table: None })
    }
}

impl SqlSink for DbSink {
    fn database(&self) -> &str {
        &self.config.database
    }

    fn write(&mut self, batch: &Batch<'_>, database: &mut dyn Database) -> Result<Rejections> {
        let written = self.try_write(batch, database);
        if written.is_err() {
            self.table = None;
        }
        written
    }
}

/// A record and what it asks for.
type Asked<'a> = (u32, Wish<'a>);

/// Rows of one statement, and the positions of the records that they are of.
struct Rows {
    statement: String,
    positions: Vec<u32>,
    values: Vec<Vec<Value>>,
}

impl DbSink {
    fn try_write(&mut self, batch: &Batch<'_>, database: &mut dyn Database) -> Result<Rejections> {
        let mut rejections = Rejections::new();
        let mut asked = Vec::with_capacity(batch.count as usize);
        for record in batch.records() {
            match wish(&record, &self.config) {
                Ok(Some(wish)) => asked.push((record.position(), wish)),
                Ok(None) => {}
                Err(error) => rejections.push(record.position(), error),
            }
        }
        if !self.config.key.is_empty() && self.config.mode != Mode::Insert {
            asked = last_of_each_key(asked, &self.config.key);
        }
        if !asked.is_empty() {
            self.prepare(&asked, database)?;
            for mut rows in self.statements(&asked, database.dialect(), &mut rejections) {
                self.run(&mut rows, database, &mut rejections)?;
            }
        }
        Ok(rejections)
    }

    /// Sees to it that there is a table with the columns that the fields need.
    fn prepare(&mut self, asked: &[Asked<'_>], database: &mut dyn Database) -> Result<()> {
        let mut fields = Fields::default();
        for (_, wish) in asked {
            if let Wish::Write(written) = wish {
                written.iter().for_each(|(name, raw)| fields.note(name, *raw));
            }
        }
        if self.table.is_none() {
            self.table = Table::read(database, &self.config)?;
        }
        match &mut self.table {
            Some(table) => table.evolve(database, &self.config, &fields),
            // Nothing to delete from, and nothing to make it of.
            None if asked.iter().all(|(_, wish)| matches!(wish, Wish::Delete(_))) => Ok(()),
            None => {
                self.table = Some(Table::create(database, &self.config, &fields)?);
                Ok(())
            }
        }
    }

    fn statements(&self, asked: &[Asked<'_>], dialect: Dialect, rejections: &mut Rejections) -> Vec<Rows> {
        let Some(table) = &self.table else { return Vec::new() };
        let mut all: Vec<Rows> = Vec::new();
        let mut by_shape: HashMap<Vec<&str>, usize> = HashMap::new();
        let union = (self.config.mode == Mode::Insert).then(|| union(asked, table));
        for (position, wish) in asked {
            let shape = match (wish, &union) {
                (Wish::Delete(_), _) => Vec::new(),
                (Wish::Write(_), Some(union)) => union.clone(),
                (Wish::Write(fields), None) => shape(fields, &self.config.key, table),
            };
            let values = match self.values(wish, &shape, table, dialect) {
                Ok(values) => values,
                Err(reason) => {
                    rejections.push(*position, reason);
                    continue;
                }
            };
            // Inserts and deletes among each other keep their order; with keys told apart there is none.
            let at = match by_shape.get(&shape) {
                Some(at) if union.is_none() || *at + 1 == all.len() => *at,
                _ => {
                    let statement = self.statement(wish, &shape, dialect);
                    all.push(Rows { statement, positions: Vec::new(), values: Vec::new() });
                    by_shape.insert(shape, all.len() - 1);
                    all.len() - 1
                }
            };
            all[at].positions.push(*position);
            all[at].values.push(values);
        }
        all
    }

    fn statement(&self, wish: &Wish<'_>, shape: &[&str], dialect: Dialect) -> String {
        let target = target(dialect, &self.config);
        match (wish, self.config.mode) {
            (Wish::Delete(_), _) => target.delete(),
            (_, Mode::Insert) => target.insert(shape),
            (_, Mode::Upsert) => target.upsert(shape),
            (_, Mode::Update) => target.update(&shape[..shape.len() - self.config.key.len()]),
        }
    }

    fn values(
        &self,
        wish: &Wish<'_>,
        shape: &[&str],
        table: &Table,
        dialect: Dialect,
    ) -> Result<Vec<Value>, String> {
        let fields = match wish {
            Wish::Delete(keys) => {
                let parsed = |json| flumen_sdk::json::value(json).unwrap_or(Raw::NULL);
                let named = self.config.key.iter().zip(keys);
                return named.map(|(name, json)| value(name, parsed(json), table, dialect)).collect();
            }
            Wish::Write(fields) => fields,
        };
        if let Some((name, _)) =
            fields.iter().find(|(name, raw)| table.family(name).is_none() && !raw.is_null())
        {
            return Err(format!(
                "table {:?} has no column {name:?}, and evolution = \"none\" adds none",
                self.config.table
            ));
        }
        let find = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, raw)| *raw);
        shape.iter().map(|name| value(name, find(name).unwrap_or(Raw::NULL), table, dialect)).collect()
    }

    /// Runs a statement for all of its rows; those that the database refuses are found and rejected.
    fn run(
        &mut self,
        rows: &mut Rows,
        database: &mut dyn Database,
        rejections: &mut Rejections,
    ) -> Result<()> {
        while !rows.values.is_empty() {
            let Err(error) = database.execute(&rows.statement, &rows.values) else { return Ok(()) };
            if error.retryable || self.is_outdated(&error, database)? {
                return Err(Error::retry(describe(&error)));
            }
            // A statement that is wrong in itself is no record's fault.
            if error.sqlstate.starts_with("42") {
                return Err(Error::fatal(format_args!("{}: {}", rows.statement, describe(&error))));
            }
            match error.row.map(|row| row as usize).filter(|row| *row < rows.values.len()) {
                Some(row) => {
                    rejections.push(rows.positions.remove(row), describe(&error));
                    rows.values.remove(row);
                }
                None if rows.values.len() == 1 => {
                    rejections.push(rows.positions[0], describe(&error));
                    return Ok(());
                }
                None => {
                    let half = rows.values.len() / 2;
                    let mut back = Rows {
                        statement: rows.statement.clone(),
                        positions: rows.positions.split_off(half),
                        values: rows.values.split_off(half),
                    };
                    self.run(rows, database, rejections)?;
                    return self.run(&mut back, database, rejections);
                }
            }
        }
        Ok(())
    }

    /// Whether somebody else changed the table meanwhile.
    fn is_outdated(&self, error: &DbError, database: &mut dyn Database) -> Result<bool> {
        if error.row.is_some() {
            return Ok(false);
        }
        let now = Table::read(database, &self.config)?;
        Ok(now.as_ref().map(Table::names) != self.table.as_ref().map(Table::names))
    }
}

/// The last record of each key, in the order of their places.
fn last_of_each_key<'a>(asked: Vec<Asked<'a>>, key: &[String]) -> Vec<Asked<'a>> {
    let mut last: HashMap<Vec<Cow<'_, str>>, usize> = HashMap::new();
    for (i, (_, wish)) in asked.iter().enumerate() {
        let values = match wish {
            Wish::Delete(keys) => keys.iter().map(|json| text_of(json)).collect(),
            Wish::Write(fields) => {
                let find = |name: &String| {
                    fields.iter().find(|(known, _)| known == name).map(|(_, raw)| raw.to_text())
                };
                key.iter().filter_map(find).collect()
            }
        };
        last.insert(values, i);
    }
    let mut kept = vec![false; asked.len()];
    last.values().for_each(|i| kept[*i] = true);
    asked.into_iter().zip(kept).filter_map(|(one, kept)| kept.then_some(one)).collect()
}

/// A text without its quotes, so that a key reads alike wherever it stands.
fn text_of(json: &str) -> Cow<'_, str> {
    flumen_sdk::json::value(json).map_or(Cow::Borrowed(json), |raw| raw.to_text())
}

/// Columns of every field in the batch, in the order of their first use.
fn union<'a>(asked: &'a [Asked<'a>], table: &Table) -> Vec<&'a str> {
    let mut union: Vec<&str> = Vec::new();
    for (_, wish) in asked {
        let Wish::Write(fields) = wish else { continue };
        // Most batches have the same fields throughout.
        if fields.len() == union.len() && fields.iter().zip(&union).all(|((name, _), known)| name == known) {
            continue;
        }
        for (name, _) in fields {
            if table.family(name).is_some() && !union.contains(&&**name) {
                union.push(name);
            }
        }
    }
    union
}

/// Columns of one record, those of the key last.
fn shape<'a>(fields: &'a [(Cow<'a, str>, Raw<'a>)], key: &'a [String], table: &Table) -> Vec<&'a str> {
    let is_key = |name: &str| key.iter().any(|key| key == name);
    let names = fields.iter().map(|(name, _)| &**name);
    let mut shape: Vec<&str> = names.filter(|name| table.family(name).is_some() && !is_key(name)).collect();
    shape.sort_unstable();
    shape.extend(key.iter().map(String::as_str));
    shape
}

fn value(name: &str, raw: Raw<'_>, table: &Table, dialect: Dialect) -> Result<Value, String> {
    let family = table.family(name).unwrap_or(Family::Other);
    match fit(raw, family) {
        // SQLite's columns take values of any type.
        Err(_) if dialect == Dialect::Sqlite => Ok(natural(raw)),
        fitted => fitted.map_err(|reason| format!("column {name:?}: {reason}")),
    }
}
