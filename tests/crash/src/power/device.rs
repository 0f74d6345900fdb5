//! What would be on the device: the content of each file at its last sync, the names of each folder at
//! its.
//!
//! Invariants: a file is known by its number in the file system, which is held open so that no other
//! file gets the number. A file that was never synced is empty, a folder without names. Everything is
//! durable when a process starts.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::image;

/// A file's number.
pub(super) type Id = u64;

/// What is durable of one file or folder.
#[derive(Clone)]
pub(super) enum Durable {
    File(Arc<Vec<u8>>),
    Folder(BTreeMap<OsString, Id>),
}

pub(crate) struct Device {
    root: PathBuf,
    pub(super) root_id: Id,
    pub(super) nodes: HashMap<Id, Durable>,
    /// Keeps the numbers.
    held: HashMap<Id, File>,
    /// Files whose content need not be read again: size and change time when it was.
    unchanged: HashMap<Id, (u64, SystemTime)>,
}

/// A change time tells of every change but those within the clock's own step.
const CLOCK_STEP: Duration = Duration::from_millis(50);

impl Device {
    /// Of a folder, with all that is in it durable.
    pub(crate) fn new(root: &Path) -> Result<Device> {
        let mut device = Device {
            root: root.into(),
            root_id: 0,
            nodes: HashMap::new(),
            held: HashMap::new(),
            unchanged: HashMap::new(),
        };
        device.adopt()?;
        Ok(device)
    }

    /// Everything that is there is durable.
    fn adopt(&mut self) -> Result<()> {
        self.nodes.clear();
        self.held.clear();
        self.unchanged.clear();
        self.root_id = fs::metadata(&self.root)?.ino();
        self.sync_all()
    }

    /// fsync or fdatasync of a file or a folder. One that is not under the root is nobody's loss.
    pub(crate) fn sync(&mut self, file: &File) -> Result<()> {
        let meta = file.metadata()?;
        let id = meta.ino();
        if meta.is_dir() {
            // Its name may have changed; through the descriptor it is itself.
            use std::os::fd::AsRawFd;
            return self.sync_names(id, Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), file);
        }
        self.hold(id, || Ok(file.try_clone()?), false)?;
        self.sync_content(id, file)
    }

    /// syncfs.
    pub(crate) fn sync_all(&mut self) -> Result<()> {
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let Ok(opened) = File::open(&folder) else { continue };
            self.sync_names(opened.metadata()?.ino(), &folder, &opened)?;
            for entry in read_dir(&folder)? {
                let Ok(file) = File::open(folder.join(&entry.0)) else { continue };
                if file.metadata()?.is_dir() {
                    folders.push(folder.join(&entry.0));
                } else {
                    self.sync_content(entry.1, &file)?;
                }
            }
        }
        Ok(())
    }

    fn sync_content(&mut self, id: Id, file: &File) -> Result<()> {
        let meta = file.metadata()?;
        let state = (meta.len(), meta.modified()?);
        if self.unchanged.get(&id) == Some(&state) {
            return Ok(());
        }
        let mut content = Vec::with_capacity(meta.len() as usize);
        // Through a descriptor that may have been read before.
        let mut reader = file;
        std::io::Seek::rewind(&mut reader)?;
        reader.read_to_end(&mut content)?;
        self.nodes.insert(id, Durable::File(Arc::new(content)));
        if state.1.elapsed().is_ok_and(|age| age > CLOCK_STEP) {
            self.unchanged.insert(id, state);
        } else {
            self.unchanged.remove(&id);
        }
        Ok(())
    }

    fn sync_names(&mut self, id: Id, path: &Path, folder: &File) -> Result<()> {
        self.hold(id, || Ok(folder.try_clone()?), true)?;
        let mut names = BTreeMap::new();
        for (name, child) in read_dir(path)? {
            // Gone between the listing and now: its removal is not durable, but nobody waits for it.
            let Ok(file) = File::open(path.join(&name)) else { continue };
            let meta = file.metadata()?;
            if meta.ino() != child {
                continue;
            }
            self.hold(child, || Ok(file), meta.is_dir())?;
            names.insert(name, child);
        }
        self.nodes.insert(id, Durable::Folder(names));
        Ok(())
    }

    /// Makes a file or folder known, with nothing in it durable.
    fn hold(&mut self, id: Id, file: impl FnOnce() -> Result<File>, folder: bool) -> Result<()> {
        if let Entry::Vacant(unknown) = self.held.entry(id) {
            unknown.insert(file()?);
            let empty = if folder { Durable::Folder(BTreeMap::new()) } else { Durable::File(Arc::default()) };
            self.nodes.insert(id, empty);
        }
        Ok(())
    }

    /// Puts in the root's place what a power cut leaves, drawn by `seed`; what was there before is kept
    /// beside it until the next. Says what was lost.
    pub(crate) fn crash(&mut self, seed: u64) -> Result<String> {
        let (next, before) = (self.root.with_extension("next"), self.root.with_extension("before"));
        let lost = image::draw(self, &self.root, &next, seed)?;
        if before.exists() {
            fs::remove_dir_all(&before).with_context(|| before.display().to_string())?;
        }
        fs::rename(&self.root, &before)?;
        fs::rename(&next, &self.root)?;
        self.adopt()?;
        Ok(lost)
    }
}

pub(super) fn read_dir(path: &Path) -> Result<Vec<(OsString, Id)>> {
    use std::os::unix::fs::DirEntryExt;
    let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
    // In order of names: what is drawn for them must not hang on the file system's order.
    let mut names = entries
        .map(|entry| entry.map(|entry| (entry.file_name(), entry.ino())))
        .collect::<Result<Vec<_>, _>>()?;
    names.sort();
    Ok(names)
}
