//! The sink: brings the table up to a batch, then writes the batch.
//!
//! What is known of the table is forgotten when a write fails, and looked up again after the table was
//! changed, because the host may roll both back.

use std::collections::BTreeMap;

use flumen_sdk::sql::{Database, DbError};
use flumen_sdk::{Batch, Error, Need, Plugin, Rejections, Result, Setup, SqlSink, metrics};

use crate::apply::{self, Outcome};
use crate::config::Config;
use crate::rows::{Change, Rows};
use crate::table::{Plan, Table};
use crate::writes::{Order, Writer};

pub struct DbSink {
    config: Config,
    tables: BTreeMap<String, Table>,
}

impl Plugin for DbSink {
    type Config = Config;

    const NEEDS: &'static [Need] = &[Need::Database];

    fn new(config: Config, _: &Setup) -> Result<Self> {
        config.check()?;
        Ok(DbSink { config, tables: BTreeMap::new() })
    }
}

impl SqlSink for DbSink {
    fn database(&self) -> &str {
        &self.config.database
    }

    fn write(&mut self, batch: &Batch<'_>, database: &mut dyn Database) -> Result<Rejections> {
        let name = self.config.table_for(batch.topic);
        let known = self.tables.remove(&name);
        let mut rejected = Rejections::new();
        let rows = Rows::read(batch, &self.config, &mut rejected);
        if rows.changes.is_empty() {
            self.tables.extend(known.map(|table| (name, table)));
            return Ok(rejected);
        }
        let known = match known {
            Some(table) => Some(table),
            None => self.look_up(&name, database)?,
        };
        let Some(plan) = self.plan(&name, known, &rows, database)? else {
            reject_empty(&rows, &mut rejected);
            return Ok(rejected);
        };
        for statement in &plan.statements {
            flumen_sdk::info!("{statement}");
            database.execute(statement, &[vec![]]).map_err(|error| unchanged(statement, error))?;
        }
        let writer = Writer { config: &self.config, table: &plan.table };
        write(&writer, &rows, database, &mut rejected)?;
        if plan.statements.is_empty() {
            self.tables.insert(name, plan.table);
        }
        Ok(rejected)
    }
}

impl DbSink {
    fn look_up(&self, name: &str, database: &mut dyn Database) -> Result<Option<Table>> {
        let columns = database.describe(name).map_err(|error| systemic(name, error))?;
        Ok(columns.map(|columns| Table::of(name, database.dialect(), columns)))
    }

    /// None: there is no table, and nothing that would go into one.
    fn plan(
        &self,
        name: &str,
        known: Option<Table>,
        rows: &Rows<'_>,
        database: &mut dyn Database,
    ) -> Result<Option<Plan>> {
        let asked = rows.asked();
        let types = &self.config.types;
        match known {
            Some(table) => Ok(Some(table.plan(&asked, self.config.evolution, types))),
            // Deletes, or rows of nothing but null.
            None if asked.is_empty() => Ok(None),
            None if self.config.create => {
                Ok(Some(Table::make(name, database.dialect(), &asked, &self.config.key, types)))
            }
            None => Err(Error::retry(format_args!(
                "the database {:?} has no table {name:?}: make it, or set create = true",
                self.config.database
            ))),
        }
    }
}

/// Writes the last state of each key; record by record where that leaves open which one was refused.
/// Running a batch again over itself ends in the same rows, because every write says what is to be.
fn write(
    writer: &Writer<'_>,
    rows: &Rows<'_>,
    database: &mut dyn Database,
    rejected: &mut Rejections,
) -> Result<()> {
    let unreadable = rejected.clone();
    for order in [Order::LastWins, Order::OneByOne] {
        rejected.clone_from(&unreadable);
        let mut outcome = Outcome::Done;
        for group in writer.groups(rows, order, rejected) {
            metrics::counter("rows", group.rows.len() as u64);
            outcome = apply::run(&group, database, rejected)?;
            if outcome == Outcome::Unclear {
                break;
            }
        }
        if outcome == Outcome::Done {
            break;
        }
    }
    Ok(())
}

/// Rows for a table that cannot be made, because nothing tells the type of a column.
fn reject_empty(rows: &Rows<'_>, rejected: &mut Rejections) {
    for change in &rows.changes {
        if let Change::Row { position, .. } = change {
            rejected.push(*position, "nothing in it but null, and there is no table yet");
        }
    }
}

/// All but the types is ours: what is no SQL is in the configuration, and no time mends it.
fn unchanged(statement: &str, error: DbError) -> Error {
    match error.sqlstate.as_str() {
        "42601" => {
            Error::fatal(format_args!("{statement}: {}; see `types`", flumen_sdk::sql::describe(&error)))
        }
        _ => systemic(statement, error),
    }
}

/// No record's fault: again later, when somebody has seen to it.
fn systemic(what: &str, error: DbError) -> Error {
    Error::retry(format_args!("{what}: {}", flumen_sdk::sql::describe(&error)))
}
