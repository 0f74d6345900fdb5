//! `meta.properties`: whose data directory this is, and in which format.
//!
//! ```text
//! #
//! node.id=1
//! version=1                 Kafka's: 1 since KRaft
//! cluster.id=5L6g3nShT-eMCtK--X86sw
//! directory.id=eT1lDEBzRYeJxkWJYw2M8A
//! flumen.version=1          ours: raised when an older Flumen could damage what is here
//! ```
//!
//! Invariants: a version above ours is refused before anything is written; keys that we do not know
//! are kept.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::error::{FileError, OpenError};
use crate::files::durable_file;
use crate::files::file_system::FileSystem;
use crate::files::os::OsFiles;

pub(crate) const NAME: &str = "meta.properties";
const KAFKA_VERSION: u32 = 1;
const FLUMEN_VERSION: u32 = 1;

/// What a data directory says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) cluster_id: String,
    pub(crate) directory_id: String,
}

/// Whose directory it says it is; `None` if it says nothing, or is none yet.
pub fn node_id_of(dir: &Path) -> Option<i32> {
    let text = String::from_utf8(durable_file::read(&OsFiles, &dir.join(NAME)).ok()??).ok()?;
    Properties::parse(&text).ok()?.get("node.id")?.parse().ok()
}

impl Meta {
    /// Nobody has founded the directory yet, or not to the end.
    pub(crate) fn is_missing(files: &dyn FileSystem, dir: &Path) -> bool {
        !files.exists(&dir.join(NAME))
    }

    /// Reads and checks, or founds a new directory.
    pub(crate) fn open(files: &dyn FileSystem, dir: &Path, node_id: i32) -> Result<Meta, OpenError> {
        let path = dir.join(NAME);
        let malformed = |reason: String| OpenError::Malformed { path: path.clone(), reason };
        let mut lines = read(files, &path)?;
        if let Some(other) = lines.get("node.id").filter(|id| *id != node_id.to_string()) {
            let reason = format!(
                "the directory belongs to node.id={other}, this is node.id={node_id}; set broker.id={other}"
            );
            return Err(malformed(reason));
        }
        let before = lines.clone();
        lines.set_missing("node.id", || node_id.to_string());
        lines.set_missing("version", || KAFKA_VERSION.to_string());
        lines.set_missing("cluster.id", new_id);
        lines.set_missing("directory.id", new_id);
        lines.set_missing("flumen.version", || FLUMEN_VERSION.to_string());
        if lines != before {
            durable_file::replace(files, &path, lines.to_text().as_bytes())?;
        }
        let text = |key| lines.get(key).unwrap_or_default().to_string();
        Ok(Meta { cluster_id: text("cluster.id"), directory_id: text("directory.id") })
    }
}

/// Why a broker of any id refuses the directory, if one does.
pub(crate) fn refusal(files: &dyn FileSystem, dir: &Path) -> Result<Option<String>, FileError> {
    match read(files, &dir.join(NAME)) {
        Ok(lines) => {
            let odd = lines.get("node.id").filter(|id| id.parse::<i32>().is_err());
            Ok(odd.map(|id| format!("node.id={id} is no number; was the file edited by hand?")))
        }
        Err(OpenError::File(error)) => Err(error),
        Err(OpenError::Malformed { reason, .. }) => Ok(Some(reason)),
        Err(error) => Ok(Some(error.to_string())),
    }
}

/// Its lines, if this version knows what they mean.
fn read(files: &dyn FileSystem, path: &Path) -> Result<Properties, OpenError> {
    let malformed = |reason: String| OpenError::Malformed { path: path.to_path_buf(), reason };
    let found = durable_file::read(files, path)?.unwrap_or_default();
    let text = String::from_utf8(found).map_err(|_| malformed("not a text".into()))?;
    let lines = Properties::parse(&text).map_err(malformed)?;
    check_version(path, &lines, "version", KAFKA_VERSION)?;
    check_version(path, &lines, "flumen.version", FLUMEN_VERSION)?;
    Ok(lines)
}

/// What a directory without one gets in a repair: ids that are new. The node takes it over with its start.
pub(crate) fn blank() -> String {
    let ids = [("cluster.id", new_id()), ("directory.id", new_id())];
    let mut lines = Properties(ids.map(|(key, value)| (key.to_string(), value)).into());
    lines.set_missing("version", || KAFKA_VERSION.to_string());
    lines.set_missing("flumen.version", || FLUMEN_VERSION.to_string());
    lines.to_text()
}

fn check_version(path: &Path, lines: &Properties, key: &'static str, known: u32) -> Result<(), OpenError> {
    match lines.get(key) {
        None => Ok(()),
        Some(text) => match text.parse::<u32>() {
            Ok(version) if version <= known => Ok(()),
            Ok(_) => {
                Err(OpenError::NewerVersion { path: path.to_path_buf(), key, found: text.to_string(), known })
            }
            Err(_) => Err(OpenError::Malformed {
                path: path.to_path_buf(),
                reason: format!("{key}={text} is not a number; was the file edited by hand?"),
            }),
        },
    }
}

/// 16 random bytes as Kafka writes them.
fn new_id() -> String {
    URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes())
}

/// The lines of a Java properties file, in order. Escapes are not needed by any value here.
#[derive(Clone, PartialEq, Eq)]
struct Properties(Vec<(String, String)>);

impl Properties {
    fn parse(text: &str) -> Result<Properties, String> {
        let mut pairs = Vec::new();
        for line in
            text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']))
        {
            let (key, value) = line.split_once('=').ok_or_else(|| format!("\"{line}\" is not key=value"))?;
            pairs.push((key.trim().to_string(), value.trim().to_string()));
        }
        Ok(Properties(pairs))
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
    }

    fn set_missing(&mut self, key: &str, value: impl FnOnce() -> String) {
        if self.get(key).is_none() {
            self.0.push((key.to_string(), value()));
        }
    }

    fn to_text(&self) -> String {
        let lines: String = self.0.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        format!("#\n{lines}")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_new_directory_gets_a_cluster_id_and_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let first = Meta::open(&OsFiles, dir.path(), 1).unwrap();
        assert_eq!(first.cluster_id.len(), 22);
        assert_eq!(Meta::open(&OsFiles, dir.path(), 1).unwrap(), first);
    }

    #[test]
    fn keys_of_others_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(NAME), "version=1\nnode.id=1\nsomebody=else\ncluster.id=abc\n").unwrap();
        assert_eq!(Meta::open(&OsFiles, dir.path(), 1).unwrap().cluster_id, "abc");
        assert!(fs::read_to_string(dir.path().join(NAME)).unwrap().contains("somebody=else"));
    }

    #[test]
    fn a_newer_version_another_node_and_nonsense_are_refused_untouched() {
        for (text, says) in [
            ("version=2\n", "newer Flumen"),
            ("version=1\nflumen.version=9\n", "newer Flumen"),
            ("version=1\nnode.id=7\n", "broker.id=7"),
            ("version=one\n", "edited by hand"),
            ("version\n", "not key=value"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(NAME), text).unwrap();
            let refused = Meta::open(&OsFiles, dir.path(), 1).unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
            assert_eq!(fs::read_to_string(dir.path().join(NAME)).unwrap(), text);
        }
    }
}
