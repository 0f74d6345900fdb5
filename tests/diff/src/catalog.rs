//! Kafka's message definitions by name: from its jar where answers are recorded, else from `schema/`.
//!
//! `schema/` holds copies of those files that the cases use, so that a replay needs nothing of Kafka's.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};

use crate::definition::Message;
use crate::jar;

pub struct Catalog {
    files: BTreeMap<String, String>,
    parsed: Mutex<BTreeMap<String, Arc<Message>>>,
}

/// Where the copies are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("schema")
}

impl Catalog {
    /// The copies.
    pub fn copied() -> Result<Catalog> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder()).context("tests/diff/schema")? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "json") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                files.insert(name, std::fs::read_to_string(&path)?);
            }
        }
        Ok(Catalog { files, parsed: Mutex::default() })
    }

    /// All that Kafka has.
    pub fn of_jar(jar: &Path) -> Result<Catalog> {
        let files = jar::files(jar, "common/message/").with_context(|| jar.display().to_string())?;
        let files = files.into_iter().filter_map(|(name, bytes)| {
            Some((name.strip_suffix(".json")?.to_string(), String::from_utf8(bytes).ok()?))
        });
        Ok(Catalog { files: files.collect(), parsed: Mutex::default() })
    }

    pub fn message(&self, name: &str) -> Result<Arc<Message>> {
        let mut parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(message) = parsed.get(name) {
            return Ok(message.clone());
        }
        let text = self.files.get(name).with_context(|| {
            format!("Kafka's definition {name}.json is not in tests/diff/schema; RECORD=1 copies it there")
        })?;
        let message = Arc::new(Message::parse(text).with_context(|| format!("{name}.json"))?);
        parsed.insert(name.into(), message.clone());
        Ok(message)
    }

    /// Copies what has been used so far; what no case uses any more goes if `all` have been played.
    pub fn copy_used(&self, all: bool) -> Result<()> {
        let used: BTreeSet<String> =
            self.parsed.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        std::fs::create_dir_all(folder())?;
        for entry in std::fs::read_dir(folder())? {
            let path = entry?.path();
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if all && path.extension().is_some_and(|ending| ending == "json") && !used.contains(&stem) {
                std::fs::remove_file(path)?;
            }
        }
        for name in used {
            std::fs::write(folder().join(format!("{name}.json")), &self.files[&name])?;
        }
        Ok(())
    }
}
