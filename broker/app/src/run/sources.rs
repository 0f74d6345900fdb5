//! What a configuration is read from: files, components, secrets, and folders of includes.
//!
//! Invariant: what a reading has asked the disk for is known whether or not the reading came to anything,
//! for the file that was missing, or did not parse, is the one that will be mended.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use flumen_config::{Loaded, Machine, PluginRef, Problem, World};

#[derive(Clone, Debug, Default)]
pub(super) struct Sources {
    pub(super) files: BTreeSet<PathBuf>,
    /// In which a new file would be included.
    pub(super) folders: BTreeSet<PathBuf>,
}

impl Sources {
    pub(super) fn of(loaded: &Loaded) -> Sources {
        let components = loaded.config.plugins().filter_map(|(_, plugin)| match &plugin.settings.plugin {
            PluginRef::Path { path, .. } => Some(path.clone()),
            PluginRef::Shipped(_) => None,
        });
        Sources {
            files: loaded.files.iter().cloned().chain(components).collect(),
            folders: loaded.folders.iter().cloned().collect(),
        }
    }

    pub(super) fn extend(&mut self, other: &Sources) {
        self.files.extend(other.files.iter().cloned());
        self.folders.extend(other.folders.iter().cloned());
    }
}

/// Reads the configuration, and tells what it was read from.
pub(super) fn read(path: &Path) -> (Sources, Result<Loaded, Vec<Problem>>) {
    let disk = Noting { machine: Machine::new(crate::bundled::names()), asked: Mutex::default() };
    let loaded = flumen_config::load(path, &disk);
    (disk.asked.into_inner().unwrap_or_else(PoisonError::into_inner), loaded)
}

/// This machine, and what it has been asked for.
struct Noting {
    machine: Machine,
    asked: Mutex<Sources>,
}

impl Noting {
    fn asked(&self) -> MutexGuard<'_, Sources> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl World for Noting {
    fn variables(&self) -> Vec<(String, String)> {
        self.machine.variables()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        self.asked().files.insert(path.to_path_buf());
        self.machine.read(path)
    }

    fn exists(&self, path: &Path) -> bool {
        self.asked().files.insert(path.to_path_buf());
        self.machine.exists(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.asked().folders.insert(folder.to_path_buf());
        self.machine.list(folder)
    }

    fn shipped(&self) -> Vec<String> {
        self.machine.shipped()
    }
}
