//! One text as the world.

use std::io;
use std::path::Path;

use flumen_config::{Loaded, Problem, World, load};

pub(crate) struct Texts(String);

impl Texts {
    pub(crate) fn new(text: &str) -> Texts {
        Texts(text.to_string())
    }

    pub(crate) fn load(&self) -> Result<Loaded, Vec<Problem>> {
        load(Path::new("flumen.toml"), self)
    }
}

impl World for Texts {
    fn variables(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        if path == Path::new("flumen.toml") {
            Ok(self.0.clone())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn exists(&self, _: &Path) -> bool {
        false
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn shipped(&self) -> Vec<String> {
        ["db-sink", "file-source", "http-sink", "json-filter", "json-map", "regex-route"]
            .map(String::from)
            .to_vec()
    }
}
