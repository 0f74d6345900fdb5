//! A folder as the world, so that places read `flumen.toml:7` wherever the repository lies.

use std::io;
use std::path::{Path, PathBuf};

use flumen_config::World;

pub(crate) const SHIPPED: [&str; 6] =
    ["db-sink", "file-source", "http-sink", "json-filter", "json-map", "regex-route"];

pub(crate) struct FolderWorld {
    folder: PathBuf,
}

impl FolderWorld {
    pub(crate) fn new(folder: &Path) -> FolderWorld {
        FolderWorld { folder: folder.to_path_buf() }
    }
}

impl World for FolderWorld {
    fn variables(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.folder.join("env")).unwrap_or_default();
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(self.folder.join(path))
    }

    fn exists(&self, path: &Path) -> bool {
        self.folder.join(path).exists()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(self.folder.join(folder))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn shipped(&self) -> Vec<String> {
        SHIPPED.map(String::from).to_vec()
    }
}
