//! What a file may refer to outside itself: variables, files, plugins in the binary.
//!
//! Invariant: this is the crate's only way out; everything else is a function of what a `World` says,
//! so that a test is a map of texts.

use std::io;
use std::path::Path;

/// Contract: answers do not change during one load.
pub trait World {
    /// The environment.
    fn variables(&self) -> Vec<(String, String)>;
    fn read(&self, path: &Path) -> io::Result<String>;
    fn exists(&self, path: &Path) -> bool;
    /// The names in a folder, in any order.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;
    /// Plugins that are found by name.
    fn shipped(&self) -> Vec<String>;
}

/// The process's own environment and disk.
pub struct Machine {
    shipped: Vec<String>,
}

impl Machine {
    /// `shipped`: the plugins that the binary carries.
    pub fn new(shipped: impl IntoIterator<Item = impl Into<String>>) -> Machine {
        Machine { shipped: shipped.into_iter().map(Into::into).collect() }
    }
}

impl World for Machine {
    fn variables(&self) -> Vec<(String, String)> {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let here = Path::new(".");
        let folder = if folder.as_os_str().is_empty() { here } else { folder };
        std::fs::read_dir(folder)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn shipped(&self) -> Vec<String> {
        self.shipped.clone()
    }
}

/// Where nothing is: for what refers to nothing.
pub(crate) struct Nowhere;

impl World for Nowhere {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn read(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn exists(&self, _: &Path) -> bool {
        false
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn shipped(&self) -> Vec<String> {
        Vec::new()
    }
}
