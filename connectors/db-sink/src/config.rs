//! The `config` of a db-sink in flumen.toml.

use std::collections::BTreeMap;

use flumen_sdk::{Error, Result};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::column::Family;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name under `[databases]`; it must be granted (`grant.databases`).
    pub database: String,
    /// The table, or `schema.table`.
    pub table: String,
    #[serde(default)]
    pub mode: Mode,
    /// Fields that tell rows apart: for `upsert`, `update`, and deletes.
    #[serde(default)]
    pub key: Vec<String>,
    /// A record without a value deletes the row of its key. The record's key is then a JSON object with the
    /// `key` fields, or, where there is one key field, its plain value. Otherwise such records are left out.
    #[serde(default)]
    pub delete_on_tombstone: bool,
    /// What may become of the table for the records' sake.
    #[serde(default)]
    pub evolution: Evolution,
    /// Types of columns that the sink makes; those not named here are told by the values.
    #[serde(default)]
    pub types: BTreeMap<String, Family>,
    /// Only these fields are stored; all when it is empty.
    #[serde(default)]
    pub columns: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A row for each record.
    #[default]
    Insert,
    /// The row of the key is made or overwritten.
    Upsert,
    /// The row of the key is overwritten, if it is there.
    Update,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Evolution {
    /// The table is there and stays as it is; fields without a column are rejected.
    None,
    /// The table is made when it is missing, and a column when a field is new.
    #[default]
    Add,
    /// And a column's type is widened when a value does not fit: integer, float, decimal, text.
    Widen,
}

impl Config {
    pub(crate) fn check(&self) -> Result<()> {
        if self.mode != Mode::Insert && self.key.is_empty() {
            return Err(Error::fatal(
                "mode needs key: name the fields that tell rows apart, such as key = [\"id\"]",
            ));
        }
        if self.delete_on_tombstone && self.key.is_empty() {
            return Err(Error::fatal("delete_on_tombstone needs key: name the fields that tell rows apart"));
        }
        if let Some(missing) =
            self.key.iter().find(|key| !self.columns.is_empty() && !self.columns.contains(key))
        {
            return Err(Error::fatal(format_args!("key field {missing:?} is not among columns")));
        }
        Ok(())
    }
}
