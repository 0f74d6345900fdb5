//! What a person may say about the table.

use std::collections::BTreeMap;

use flumen_sdk::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name under [databases]; it must be granted.
    pub database: String,
    /// `orders`, `schema.orders`, or with the topic's name in it: `raw_{topic}`.
    pub table: String,
    #[serde(default)]
    pub mode: Mode,
    /// The columns that tell rows apart, for upsert, update and deletes: fields of the value, and what a
    /// delete finds in the record's key.
    #[serde(default)]
    pub key: Vec<String>,
    /// Where the key columns come from.
    #[serde(default)]
    pub key_from: KeyFrom,
    /// What a record without a value does; by default it deletes its row where rows have a key.
    pub tombstones: Option<Tombstones>,
    /// Make the table if there is none.
    #[serde(default = "yes")]
    pub create: bool,
    /// What may be done to a table that records do not fit into.
    #[serde(default)]
    pub evolution: Evolution,
    /// SQL types of columns that are made: `{ amount = "numeric(12,2)", at = "timestamptz" }`.
    #[serde(default)]
    pub types: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A row a record.
    #[default]
    Insert,
    /// A row a key: inserted, or updated where it is there.
    Upsert,
    /// Rows that are there are updated; others are left alone.
    Update,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyFrom {
    /// Fields of the value.
    #[default]
    Value,
    /// The record's key: as it is for one column, a JSON object for several.
    Record,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tombstones {
    Delete,
    Ignore,
    Reject,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Evolution {
    /// Nothing: a record with another field, or a value of another type, is rejected.
    None,
    /// Columns are added.
    Add,
    /// Columns are added, and columns of numbers are given a wider type: int to bigint to double or numeric,
    /// whichever rounds nothing. A value of another type is rejected.
    #[default]
    Widen,
    /// As well, columns of numbers and booleans become text for the first value that is neither.
    WidenToText,
}

fn yes() -> bool {
    true
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        if self.mode != Mode::Insert && self.key.is_empty() {
            return Err(Error::fatal(
                "mode = \"upsert\" and \"update\" need to know the key: key = [\"id\"]",
            ));
        }
        if self.mode == Mode::Insert && self.tombstones == Some(Tombstones::Delete) {
            return Err(Error::fatal("tombstones = \"delete\" needs rows with a key: mode = \"upsert\""));
        }
        if self.key_from == KeyFrom::Record && self.key.is_empty() {
            return Err(Error::fatal("key_from = \"record\" needs the names of its columns: key = [\"id\"]"));
        }
        let twice = self.key.iter().enumerate().find(|(at, name)| self.key[..*at].contains(name));
        if let Some((_, name)) = twice {
            return Err(Error::fatal(format_args!("key: {name:?} is there twice")));
        }
        if self.table.split('.').any(str::is_empty) || self.table.contains('\0') {
            return Err(Error::fatal(format_args!(
                "table = {:?}: expected a name, or schema.name",
                self.table
            )));
        }
        Ok(())
    }

    pub(crate) fn tombstones(&self) -> Tombstones {
        let by_mode = if self.mode == Mode::Insert { Tombstones::Ignore } else { Tombstones::Delete };
        self.tombstones.unwrap_or(by_mode)
    }

    /// The table for records of that topic.
    pub(crate) fn table_for(&self, topic: &str) -> String {
        self.table.replace("{topic}", &topic.replace('.', "_"))
    }
}
