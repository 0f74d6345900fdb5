//! The table as it is known to be, made and widened for the records' sake.
//!
//! What is known is thrown away whenever a transaction does not come through: a table that was made in
//! it is gone again.

use flumen_sdk::json::Raw;
use flumen_sdk::sql::{Database, Dialect, describe};
use flumen_sdk::{Error, Result};

use crate::column::Family;
use crate::config::{Config, Evolution};
use crate::statement::Target;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Table {
    columns: Vec<(String, Family)>,
}

impl Table {
    /// None: there is no such table.
    pub(crate) fn read(database: &mut dyn Database, config: &Config) -> Result<Option<Table>> {
        let dialect = database.dialect();
        let columns = database.describe(&config.table)?;
        Ok(columns.map(|columns| {
            let family = |sql_type: &str| Family::named(dialect, sql_type);
            Table { columns: columns.into_iter().map(|c| (c.name, family(&c.sql_type))).collect() }
        }))
    }

    pub(crate) fn family(&self, name: &str) -> Option<Family> {
        self.columns.iter().find(|(known, _)| known == name).map(|(_, family)| *family)
    }

    pub(crate) fn names(&self) -> Vec<&str> {
        self.columns.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// Makes the table for these fields.
    pub(crate) fn create(database: &mut dyn Database, config: &Config, fields: &Fields) -> Result<Table> {
        if config.evolution == Evolution::None {
            return Err(Error::fatal(format_args!(
                "there is no table {:?} in database {:?}, and evolution = \"none\" makes none",
                config.table, config.database
            )));
        }
        let columns = fields.columns(config);
        let target = target(database.dialect(), config);
        database.execute(&target.create(&columns), &[vec![]])?;
        Ok(Table { columns })
    }

    /// Adds columns that are missing and widens those that are too narrow, as far as is allowed.
    pub(crate) fn evolve(
        &mut self,
        database: &mut dyn Database,
        config: &Config,
        fields: &Fields,
    ) -> Result<()> {
        let dialect = database.dialect();
        let target = target(dialect, config);
        for (name, wanted) in fields.columns(config) {
            match self.columns.iter_mut().find(|(known, _)| *known == name) {
                None if config.evolution == Evolution::None => {}
                None => {
                    database.execute(&target.add_column(&name, wanted), &[vec![]])?;
                    self.columns.push((name, wanted));
                }
                // SQLite's columns take values of any type.
                Some(_) if config.evolution != Evolution::Widen || dialect == Dialect::Sqlite => {}
                Some((_, family)) if fits(wanted, *family) => {}
                Some((_, family)) => {
                    let wider = family.join(wanted);
                    let widened = database.execute(&target.widen_column(&name, wider), &[vec![]]);
                    widened.map_err(|e| {
                        Error::fatal(format_args!("widening column {name:?}: {}", describe(&e)))
                    })?;
                    *family = wider;
                }
            }
        }
        Ok(())
    }
}

/// Whether all values of the first find room in the second.
fn fits(values: Family, column: Family) -> bool {
    match (values, column) {
        (a, b) if a == b => true,
        (_, Family::Text | Family::Json | Family::Other) => true,
        (Family::Integer, Family::Float | Family::Decimal | Family::Timestamp) => true,
        (Family::Float, Family::Decimal) => true,
        // A text may well be a moment or an id; one that is not is that record's fault.
        (Family::Text, Family::Uuid | Family::Timestamp | Family::Date | Family::Bytes) => true,
        _ => false,
    }
}

pub(crate) fn target(dialect: Dialect, config: &Config) -> Target<'_> {
    Target { dialect, table: &config.table, key: &config.key }
}

/// The fields of a batch in the order of their first use, each with the narrowest type for its values.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(String, Option<Family>)>);

impl Fields {
    pub(crate) fn note(&mut self, name: &str, raw: Raw<'_>) {
        let family = Family::of(raw);
        match self.0.iter_mut().find(|(known, _)| known == name) {
            None => self.0.push((name.to_owned(), family)),
            Some((_, known)) => {
                *known = known.map_or(family, |known| Some(family.map_or(known, |f| known.join(f))))
            }
        }
    }

    /// Those of which a type is known: a field that was null so far can wait for its column.
    fn columns(&self, config: &Config) -> Vec<(String, Family)> {
        let column = |(name, told): &(String, Option<Family>)| {
            let family = config.types.get(name).copied().or(*told)?;
            Some((name.clone(), family))
        };
        self.0.iter().filter_map(column).collect()
    }
}
