//! The store's calls: what each of them does, and what becomes of it when the power goes.

use std::ffi::OsString;
use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use flumen_store::{Advice, File, FileSystem, Open, Scope, Site, Stat};
use flumen_types::Timestamp;

use super::content::Content;
use super::folder::{Folder, Id};
use super::{Device, Node, SimDisk, Trouble};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn eio() -> io::Error {
    io::Error::from_raw_os_error(EIO)
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(ENOSPC)
}

impl Device {
    /// One call: counted, done unless the power is gone, and noted.
    fn call<T>(
        &mut self,
        what: impl FnOnce() -> String,
        act: impl FnOnce(&mut Device) -> io::Result<T>,
    ) -> io::Result<T> {
        if !self.on {
            return Err(eio());
        }
        self.calls += 1;
        self.cutting = self.cut_at == Some(self.calls);
        let done = !self.cutting || !self.cut_before && self.rng.percent(60);
        let result = if done { act(self) } else { Err(eio()) };
        if self.trace.is_some() {
            let came = result.as_ref().map_or_else(|error| format!("-> {error}"), |_| String::new());
            let cut = if self.cutting { "  <== the power goes" } else { "" };
            let line = format!("     {:>5} {} {came}{cut}", self.calls, what());
            self.trace.get_or_insert_default().push(line);
        }
        if std::mem::take(&mut self.cutting) {
            self.meet(Trouble::Cut);
            self.on = false;
            return Err(eio());
        }
        result
    }

    fn chance(&mut self, of_ten_thousand: u64, of: Trouble) -> bool {
        let happens = of_ten_thousand > 0 && self.rng.below(10_000) < of_ten_thousand;
        if happens {
            self.meet(of);
        }
        happens
    }

    /// Something changes, or is made durable.
    fn note_moment(&mut self) {
        let call = self.calls;
        self.moments.iter_mut().for_each(|moments| moments.push(call));
    }

    fn place(&mut self) -> u64 {
        self.note_moment();
        self.steps += 1;
        self.steps
    }

    fn parent<'a>(&self, path: &'a Path) -> io::Result<(Id, &'a str)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.find(path.parent().unwrap_or(Path::new("/")))?, name))
    }

    fn open(&mut self, path: &Path, how: Open) -> io::Result<Id> {
        if how == Open::Folder {
            let id = self.find(path)?;
            return self.folder(id).map(|_| id);
        }
        let (folder, name) = self.parent(path)?;
        let there = self.folder(folder)?.get(name);
        match (there, how) {
            (Some(_), Open::New | Open::NewPrivate) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(id), _) if matches!(self.nodes[id], Node::Folder(_)) => {
                Err(io::ErrorKind::IsADirectory.into())
            }
            (Some(id), Open::Emptied) => {
                self.note_moment();
                let now = self.clock.now_ms();
                if let Node::File { content, modified_ms, .. } = &mut self.nodes[id] {
                    content.set_len(0);
                    *modified_ms = now;
                }
                Ok(id)
            }
            (Some(id), _) => Ok(id),
            (None, Open::Read | Open::Write) => Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                let modified_ms = self.clock.now_ms();
                self.make(
                    folder,
                    name,
                    Node::File { content: Content::default(), modified_ms, locked: false, failures: 0 },
                )
            }
        }
    }

    fn make(&mut self, folder: Id, name: &str, node: Node) -> io::Result<Id> {
        if self.faults.full {
            self.meet(Trouble::Full);
            return Err(full());
        }
        let (id, place) = (self.nodes.len(), self.place());
        self.folder_mut(folder)?.link(place, name, id);
        self.nodes.push(node);
        Ok(id)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ((folder, name), (other, new)) = (self.parent(from)?, self.parent(to)?);
        let id = self.folder(folder)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        let place = self.place();
        if folder == other {
            self.folder_mut(folder)?.rename(place, name, new, id);
        } else {
            self.folder_mut(other)?.link(place, new, id);
            self.folder_mut(folder)?.unlink(place, name);
        }
        Ok(())
    }

    fn remove(&mut self, path: &Path, folders: bool) -> io::Result<()> {
        let (folder, name) = self.parent(path)?;
        let id = self.folder(folder)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        match &self.nodes[id] {
            Node::File { .. } if folders => return Err(io::ErrorKind::NotADirectory.into()),
            Node::Folder(_) if !folders => return Err(io::ErrorKind::IsADirectory.into()),
            Node::Folder(inner) if !inner.is_empty() => return Err(io::ErrorKind::DirectoryNotEmpty.into()),
            _ => {}
        }
        let place = self.place();
        self.folder_mut(folder)?.unlink(place, name);
        Ok(())
    }

    fn stat(&self, id: Id) -> Stat {
        match &self.nodes[id] {
            Node::File { content, modified_ms, .. } => Stat {
                is_dir: false,
                is_file: true,
                length: content.len() as u64,
                modified: Timestamp(*modified_ms),
            },
            Node::Folder(_) => Stat { is_dir: true, is_file: false, length: 0, modified: Timestamp(0) },
        }
    }

    fn read(&mut self, id: Id, buffer: &mut [u8], at: usize) -> io::Result<usize> {
        if self.chance(self.faults.read_fails, Trouble::ReadFails) {
            return Err(eio());
        }
        let short = self.chance(self.faults.short, Trouble::Short);
        let Node::File { content, .. } = &self.nodes[id] else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let there = content.bytes().get(at..).unwrap_or_default();
        let mut length = buffer.len().min(there.len());
        if short && length > 1 {
            length = 1 + self.rng.index(length - 1);
        }
        buffer[..length].copy_from_slice(&there[..length]);
        Ok(length)
    }

    fn write(&mut self, id: Id, slices: &[IoSlice<'_>], at: usize) -> io::Result<usize> {
        self.note_moment();
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
        let fails = self.chance(self.faults.write_fails, Trouble::WriteFails);
        let short = self.chance(self.faults.short, Trouble::Short);
        let now = self.clock.now_ms();
        let Node::File { content, modified_ms, .. } = &mut self.nodes[id] else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let mut length = bytes.len();
        if self.faults.full {
            // What was there may be written over, and the last page may have some room.
            length = length.min(content.len().saturating_sub(at) + self.rng.index(64));
        }
        let no_room = length < bytes.len() && !bytes.is_empty();
        if fails {
            length = self.rng.index(length.max(1));
        } else if short && length > 1 {
            length = 1 + self.rng.index(length - 1);
        }
        if self.cutting {
            length = self.rng.upto(length as u64) as usize;
        }
        content.write(at, &bytes[..length]);
        *modified_ms = now;
        if no_room {
            self.meet(Trouble::Full);
        }
        match length {
            _ if fails => Err(eio()),
            0 if no_room => Err(full()),
            length => Ok(length),
        }
    }

    /// As Linux tells of it: who had the file open when something of it could not be written is told once,
    /// with the next sync of that file. `told`: of how many such failures this handle knows.
    fn sync(&mut self, id: Id, scope: Scope, site: Site, told: &AtomicU64) -> io::Result<()> {
        if self.left_out == Some(site) {
            return Ok(());
        }
        self.note_moment();
        self.reached.insert(site);
        let fails = self.chance(self.faults.sync_fails, Trouble::SyncFails);
        let all = 0..self.nodes.len();
        for id in if scope == Scope::FileSystem { all } else { id..id + 1 } {
            match &mut self.nodes[id] {
                Node::File { content, failures, .. } if fails => {
                    *failures += u64::from(content.is_dirty() || scope == Scope::Itself);
                    content.fail_sync(&mut self.rng);
                }
                // In the midst of it: some of it is done, which is what a cut decides.
                _ if fails || self.cutting => {}
                Node::File { content, .. } => content.sync(),
                Node::Folder(folder) => folder.sync(),
            }
        }
        let failures = self.failures(id);
        let news = scope == Scope::Itself && told.swap(failures, Ordering::Relaxed) < failures;
        if fails || news { Err(eio()) } else { Ok(()) }
    }

    fn failures(&self, id: Id) -> u64 {
        match &self.nodes[id] {
            Node::File { failures, .. } => *failures,
            Node::Folder(_) => 0,
        }
    }
}

impl FileSystem for SimDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        let what = || format!("open {} {how:?}", path.display());
        let id = self.lock().call(what, |device| device.open(path, how))?;
        let name = if self.lock().trace.is_some() { path.display().to_string() } else { String::new() };
        let told = AtomicU64::new(self.lock().failures(id));
        Ok(Arc::new(SimFile { disk: self.clone(), id, name, told, locks: AtomicBool::new(false) }))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        let what = || format!("stat {}", path.display());
        self.lock().call(what, |device| device.find(path).map(|id| device.stat(id)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.lock().call(
            || format!("list {}", dir.display()),
            |device| {
                let id = device.find(dir)?;
                Ok(device.folder(id)?.names().map(OsString::from).collect())
            },
        )
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().call(
            || format!("create_dir {}", dir.display()),
            |device| {
                let (folder, name) = device.parent(dir)?;
                if device.folder(folder)?.get(name).is_some() {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                device.make(folder, name, Node::Folder(Folder::default())).map(|_| ())
            },
        )
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let what = || format!("rename {} to {}", from.display(), to.display());
        self.lock().call(what, |device| device.rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.lock().call(|| format!("remove {}", path.display()), |device| device.remove(path, false))
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.lock().call(|| format!("remove_dir {}", dir.display()), |device| device.remove(dir, true))
    }
}

struct SimFile {
    disk: SimDisk,
    id: Id,
    /// For the trace.
    name: String,
    told: AtomicU64,
    locks: AtomicBool,
}

impl Debug for SimFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimFile({})", self.id)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if self.locks.load(Ordering::Relaxed)
            && let Node::File { locked, .. } = &mut self.disk.lock().nodes[self.id]
        {
            *locked = false;
        }
    }
}

impl File for SimFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let (name, length) = (&self.name, buffer.len());
        let what = || format!("read {name} {length} at {position}");
        let mut device = self.disk.lock();
        let read = device.call(what, |device| device.read(self.id, buffer, position as usize))?;
        *device.read_bytes.entry(self.id).or_default() += read as u64;
        Ok(read)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let length: usize = slices.iter().map(|slice| slice.len()).sum();
        let what = || format!("write {} {length} at {position}", self.name);
        self.disk.lock().call(what, |device| device.write(self.id, slices, position as usize))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.disk.lock().call(
            || format!("set_len {} {length}", self.name),
            |device| {
                device.note_moment();
                match &mut device.nodes[self.id] {
                    Node::File { content, .. } => {
                        content.set_len(length as usize);
                        Ok(())
                    }
                    Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
                }
            },
        )
    }

    fn stat(&self) -> io::Result<Stat> {
        self.disk.lock().call(|| format!("stat {}", self.name), |device| Ok(device.stat(self.id)))
    }

    fn sync(&self, scope: Scope, site: Site) -> io::Result<()> {
        let what = || format!("sync {} {scope:?} for {}", self.name, site.name());
        let mut device = self.disk.lock();
        if device.cut_at_site.take_if(|cut_at| *cut_at == site).is_some() {
            (device.cut_at, device.cut_before) = (Some(device.calls + 1), true);
        }
        device.call(what, |device| device.sync(self.id, scope, site, &self.told))
    }

    fn advise(&self, position: u64, length: Option<u64>, advice: Advice) {
        let mut device = self.disk.lock();
        if device.on
            && (position, length, advice) == (0, None, Advice::DontNeed)
            && let Node::File { content, .. } = &mut device.nodes[self.id]
        {
            content.evict();
        }
    }

    fn try_lock(&self) -> io::Result<bool> {
        let taken = self.disk.lock().call(
            || format!("lock {}", self.name),
            |device| match &mut device.nodes[self.id] {
                Node::File { locked, .. } => Ok(!std::mem::replace(locked, true)),
                Node::Folder(_) => Err(io::ErrorKind::IsADirectory.into()),
            },
        )?;
        self.locks.store(taken, Ordering::Relaxed);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimClock;

    #[test]
    fn it_keeps_the_contract_of_a_file_system() {
        let disk = SimDisk::new(1, SimClock::new());
        disk.create_dir(Path::new("/data")).unwrap();
        flumen_store::contract::check(&disk, Path::new("/data"));
    }
}
