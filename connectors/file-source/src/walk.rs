//! Patterns to paths.
//!
//! `*` and `?` stay inside one folder, `**` goes through any number of them, `{a,b}` and `[a-z]` choose.
//! Folders behind symbolic links are entered only where the pattern names them.

use std::io;
use std::path::{Path, PathBuf};

/// Folders inside each other; a limit for the sake of loops.
const DEPTH_MAX: usize = 32;

/// A pattern and the folder from which it is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    text: String,
    base: PathBuf,
    /// How far below the base a match can lie.
    depth: usize,
}

impl Pattern {
    pub(crate) fn new(text: &str) -> Self {
        let text = text.strip_prefix("./").unwrap_or(text).to_owned();
        let parts: Vec<&str> = text.split('/').collect();
        let is_literal = |part: &&&str| !part.contains(['*', '?', '[', '{', '\\']);
        // The last part is a file, never a base.
        let literal = parts[..parts.len() - 1].iter().take_while(is_literal).count();
        let base = parts[..literal].join("/");
        let base = if base.is_empty() && text.starts_with('/') { "/".to_owned() } else { base };
        let depth = if text.contains("**") { DEPTH_MAX } else { parts.len() - literal };
        Pattern { base: base.into(), text, depth }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        path == self.text || fast_glob::glob_match(&self.text, path)
    }

    /// Every file that matches, in no order. A folder that cannot be listed is told to `unknown`, the others
    /// go on.
    pub(crate) fn walk(&self, unknown: &mut dyn FnMut(&Path, &io::Error)) -> Vec<String> {
        if !self.text.contains(['*', '?', '[', '{', '\\']) {
            return vec![self.text.clone()];
        }
        let mut found = Vec::new();
        let mut folders = vec![(self.base.clone(), 1)];
        while let Some((folder, depth)) = folders.pop() {
            if let Err(error) = self.enter(&folder, depth, &mut folders, &mut found) {
                unknown(&folder, &error);
            }
        }
        found
    }

    fn enter(
        &self,
        folder: &Path,
        depth: usize,
        folders: &mut Vec<(PathBuf, usize)>,
        found: &mut Vec<String>,
    ) -> io::Result<()> {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        for entry in std::fs::read_dir(here)? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                if depth < self.depth {
                    folders.push((path, depth + 1));
                }
            } else if let Some(path) = path.to_str().filter(|path| self.matches(path)) {
                found.push(path.to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pattern: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for file in ["a.csv", "b.txt", "x/a.csv", "x/y/a.csv", "x/y/b.log", "z/b.csv"] {
            std::fs::create_dir_all(root.join(file).parent().unwrap()).unwrap();
            std::fs::write(root.join(file), "").unwrap();
        }
        let pattern = Pattern::new(&format!("{}/{pattern}", root.display()));
        let found = pattern.walk(&mut |path, error| panic!("{}: {error}", path.display()));
        let prefix = format!("{}/", root.display());
        let mut found: Vec<String> =
            found.iter().map(|path| path.strip_prefix(&prefix).unwrap().to_owned()).collect();
        found.sort();
        found
    }

    #[test]
    fn patterns_find_what_they_say() {
        assert_eq!(found("*.csv"), ["a.csv"]);
        assert_eq!(found("**/*.csv"), ["a.csv", "x/a.csv", "x/y/a.csv", "z/b.csv"]);
        assert_eq!(found("x/*/b.log"), ["x/y/b.log"]);
        assert_eq!(found("{x,z}/?.csv"), ["x/a.csv", "z/b.csv"]);
        assert_eq!(found("[a-b].*"), ["a.csv", "b.txt"]);
        assert_eq!(found("nothing/a.csv"), ["nothing/a.csv"], "a plain name is looked at as it is");
    }

    #[test]
    fn a_folder_that_is_missing_is_unknown() {
        let mut unknown = Vec::new();
        let found = Pattern::new("/no/such/*.csv").walk(&mut |folder, _| unknown.push(folder.to_owned()));
        assert_eq!((found, unknown), (Vec::<String>::new(), vec![PathBuf::from("/no/such")]));
    }
}
