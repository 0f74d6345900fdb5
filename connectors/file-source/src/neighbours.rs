//! The files beside one that has left its name: a rotation puts it under another name in its folder.
//!
//! Each folder is listed once, however many files have left it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::identity::{self, Identity, Seen};

#[derive(Debug, Default)]
pub(crate) struct Neighbours(BTreeMap<PathBuf, BTreeMap<Identity, (PathBuf, Seen)>>);

impl Neighbours {
    /// The name that leads to that file now, in the folder of `path`. None if it is still `path`: then it is
    /// the patterns that have changed.
    pub(crate) fn find(&mut self, path: &str, identity: Identity) -> Option<&(PathBuf, Seen)> {
        let path = Path::new(path);
        let folder = path.parent()?;
        let files = self.0.entry(folder.to_owned()).or_insert_with(|| list(folder));
        files.get(&identity).filter(|(name, _)| name != path)
    }
}

fn list(folder: &Path) -> BTreeMap<Identity, (PathBuf, Seen)> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names = std::fs::read_dir(here).into_iter().flatten().flatten();
    let files = names.filter_map(|entry| {
        let path = folder.join(entry.file_name());
        let seen = identity::look(&path).ok().flatten()?;
        Some((seen.identity, (path, seen)))
    });
    files.collect()
}
