//! A file of settings that came through the API, by the name of what they are of.
//!
//! ```text
//! { "version": 1, "groups": { name: { "share.auto.offset.reset": "earliest" } } }
//! ```
//!
//! Invariants: replaced as a whole. It has one table, whose name says what has these settings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use flumen_store::{FileError, OsFiles, durable_file};
use serde::{Deserialize, Serialize};
use thiserror::Error;

const VERSION: u32 = 1;

/// Settings as they were written.
pub(crate) type Texts = BTreeMap<String, String>;

/// Those of every resource that has any.
pub(crate) type Table = BTreeMap<String, Texts>;

/// Why the file cannot be used.
#[derive(Debug, Error)]
pub enum ConfigFileError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} cannot be understood: {why}")]
    Content { path: PathBuf, why: String },
}

#[derive(Serialize, Deserialize)]
struct Document {
    version: u32,
    #[serde(flatten)]
    tables: BTreeMap<String, Table>,
}

pub(crate) struct ConfigFile {
    path: PathBuf,
    table: &'static str,
}

impl ConfigFile {
    pub(crate) fn new(dir: &Path, name: &str, table: &'static str) -> ConfigFile {
        ConfigFile { path: dir.join(name), table }
    }

    pub(crate) fn load(&self) -> Result<Table, ConfigFileError> {
        let Some(content) = durable_file::read(&OsFiles, &self.path)? else { return Ok(Table::new()) };
        let wrong = |why: String| ConfigFileError::Content { path: self.path.clone(), why };
        let mut document: Document =
            serde_json::from_slice(&content).map_err(|error| wrong(error.to_string()))?;
        if document.version != VERSION {
            return Err(wrong(format!("version {} is not known", document.version)));
        }
        document.tables.remove(self.table).ok_or_else(|| wrong(format!("it has no \"{}\"", self.table)))
    }

    pub(crate) fn save(&self, all: &Table) -> Result<(), FileError> {
        let tables = BTreeMap::from([(self.table.to_string(), all.clone())]);
        let content =
            serde_json::to_vec_pretty(&Document { version: VERSION, tables }).expect("texts are JSON");
        durable_file::replace_private(&OsFiles, &self.path, &content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_what_makes_no_sense_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let file = ConfigFile::new(dir.path(), "flumen-things.json", "things");
        assert_eq!(file.load().unwrap(), Table::new());
        let all = Table::from([("a".into(), Texts::from([("k".into(), "v".into())]))]);
        file.save(&all).unwrap();
        assert_eq!(file.load().unwrap(), all);
        for content in [r#"{"version":2,"things":{}}"#, r#"{"version":1}"#, "{"] {
            std::fs::write(dir.path().join("flumen-things.json"), content).unwrap();
            let error = file.load().unwrap_err().to_string();
            assert!(error.contains("flumen-things.json"), "{error}");
        }
    }
}
