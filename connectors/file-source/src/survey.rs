//! What one scan finds: the files that the patterns lead to, and what could not be looked at.
//!
//! Invariant: what is neither seen nor below something unknown is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::identity::{self, Seen};
use crate::walk::Pattern;

#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// In order of their paths.
    pub(crate) seen: Vec<(String, Seen)>,
    /// Folders that could not be listed and files that could not be looked at.
    unknown: Vec<PathBuf>,
    pub(crate) troubles: BTreeMap<String, String>,
}

impl Survey {
    /// Of what a pattern finds and none excludes.
    pub(crate) fn take(patterns: &[Pattern], excluded: &[Pattern]) -> Self {
        let mut survey = Survey::default();
        let mut paths = BTreeSet::new();
        for pattern in patterns {
            paths.extend(pattern.walk(&mut |folder, error| {
                survey.troubles.insert(folder.display().to_string(), error.to_string());
                survey.unknown.push(folder.to_owned());
            }));
        }
        for path in paths {
            if !excluded.iter().any(|pattern| pattern.matches(&path)) {
                let is_name = patterns.iter().any(|pattern| pattern.text() == path);
                survey.look(path, is_name);
            }
        }
        survey
    }

    fn look(&mut self, path: String, is_name: bool) {
        match identity::look(Path::new(&path)) {
            Ok(Some(seen)) => self.seen.push((path, seen)),
            // A name without a pattern that is not there yet; what a pattern found is gone again.
            Ok(None) if is_name => {
                self.troubles.insert(path, "there is no such file".to_owned());
            }
            Ok(None) => {}
            Err(error) => {
                self.unknown.push(PathBuf::from(&path));
                self.troubles.insert(path, error.to_string());
            }
        }
    }

    /// Whether nothing can be said of a path.
    pub(crate) fn is_unknown(&self, path: &str) -> bool {
        self.unknown.iter().any(|unknown| Path::new(path).starts_with(unknown))
    }
}
