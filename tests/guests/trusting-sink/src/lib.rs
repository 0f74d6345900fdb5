//! An SQL sink as a person writes it first: a batch is one statement, and whatever fails is passed on.

use flumen_sdk::sql::{self, Database, Value};
use flumen_sdk::{Batch, Need, Plugin, Rejections, Result, Setup, SqlSink};

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub database: String,
    /// With one placeholder, for the number in the record.
    pub statement: String,
    /// Rejects by the row that the database names.
    #[serde(default)]
    pub each: bool,
}

pub struct Trusting(Config);

impl Plugin for Trusting {
    type Config = Config;

    const NEEDS: &'static [Need] = &[Need::Database];

    fn new(config: Config, _: &Setup) -> Result<Self> {
        Ok(Trusting(config))
    }
}

impl SqlSink for Trusting {
    fn database(&self) -> &str {
        &self.0.database
    }

    fn write(&mut self, batch: &Batch<'_>, database: &mut dyn Database) -> Result<Rejections> {
        let (mut records, mut rows) = (Vec::new(), Vec::new());
        for record in batch.records() {
            records.push(record.position());
            rows.push(vec![Value::Int64(serde_json::from_slice(record.value().unwrap_or_default())?)]);
        }
        let mut rejected = Rejections::new();
        if self.0.each {
            sql::execute_each(database, &self.0.statement, &records, &rows, &mut rejected)?;
        } else {
            database.execute(&self.0.statement, &rows)?;
        }
        Ok(rejected)
    }
}

flumen_sdk::export_sql_sink!(Trusting);
