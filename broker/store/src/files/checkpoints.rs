//! The store's checkpoint files: offsets of all partitions, in Kafka's text format.
//!
//! Invariants: each is replaced as a whole. A missing one says nothing; a damaged one is told about
//! and says nothing, which costs a longer recovery and never data.

use std::path::Path;

use flumen_log::checkpoint::{self, Offsets};

use crate::error::FileError;
use crate::files::durable_file;
use crate::files::file_system::FileSystem;

/// Below: synced, and the indexes written.
pub(crate) const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// Below: trimmed.
pub(crate) const STARTS: &str = "log-start-offset-checkpoint";
/// Below: compacted.
pub(crate) const CLEANED: &str = "cleaner-offset-checkpoint";

pub(crate) fn load(files: &dyn FileSystem, dir: &Path, name: &str) -> Result<Offsets, FileError> {
    let path = dir.join(name);
    let content = durable_file::read(files, &path)?.unwrap_or_default();
    // Kafka makes them before it has anything to say.
    if content.is_empty() {
        return Ok(Offsets::new());
    }
    match checkpoint::read_offsets(&String::from_utf8_lossy(&content)) {
        Ok(offsets) => Ok(offsets),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "ignoring a checkpoint");
            Ok(Offsets::new())
        }
    }
}

pub(crate) fn save(
    files: &dyn FileSystem,
    dir: &Path,
    name: &str,
    offsets: &Offsets,
) -> Result<(), FileError> {
    durable_file::replace(files, &dir.join(name), checkpoint::write_offsets(offsets).as_bytes())
}
