//! The identities of the folders that files are in, which tell whether those of the files can be trusted.
//!
//! While a folder is the same, so are its files, and another identity under a name is another file. When the
//! folder has another one, its file system was mounted anew, or an upgraded host numbers files in another
//! way: then all its files have other identities too, and are known by their names and contents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::identity::{self, Identity};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Folders(pub(crate) BTreeMap<String, Identity>);

impl Folders {
    /// Looks at the folders of these paths; those that are not the same as before, or were not known.
    pub(crate) fn look<'a>(&mut self, paths: impl Iterator<Item = &'a str>) -> BTreeSet<String> {
        let folders: BTreeSet<&str> = paths.map(folder).collect();
        let mut renumbered = BTreeSet::new();
        for folder in folders {
            let here = if folder.is_empty() { "." } else { folder };
            let Ok(now) = identity::of_folder(Path::new(here)) else { continue };
            if self.0.insert(folder.to_owned(), now) != Some(now) {
                renumbered.insert(folder.to_owned());
            }
        }
        renumbered
    }

    pub(crate) fn forget(&mut self, folder: &str) {
        self.0.remove(folder);
    }

    /// Forgets those that no file is in.
    pub(crate) fn keep<'a>(&mut self, paths: impl Iterator<Item = &'a str>) {
        let folders: BTreeSet<&str> = paths.map(folder).collect();
        self.0.retain(|name, _| folders.contains(name.as_str()));
    }
}

pub(crate) fn folder(path: &str) -> &str {
    Path::new(path).parent().and_then(Path::to_str).unwrap_or_default()
}
