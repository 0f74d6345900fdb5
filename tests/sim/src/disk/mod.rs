//! A disk in memory that can do whatever a real one may, and loses power at a call of one's choice.
//!
//! Every call of the store's is counted. At the call that was chosen the power goes, in the middle of it:
//! it may have done its work, or a part of it, and whoever made it is told of an error; so are all that
//! come later, which do nothing. [`SimDisk::power_on`] then decides what the device had got hold of
//! (`content.rs`, `folder.rs`).

mod calls;
mod content;
mod faults;
mod folder;
mod outcomes;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flumen_store::Site;

use crate::clock::SimClock;
use crate::rng::Rng;
use content::Content;
pub(crate) use content::SECTOR;
pub(crate) use faults::Faults;
pub use faults::Trouble;
use folder::{Folder, Id};
pub(crate) use outcomes::Atom;

/// A handle: clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<Device>>);

/// How the machine went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outage {
    /// The process alone: what it wrote is in the page cache, unsynced as before.
    Kill,
    /// The power, and the device had written nothing by itself.
    Nothing,
    /// The power; any part of what was not synced is there. The journal is one.
    Part,
    /// The same, and each folder's names were written by themselves.
    PartByFolder,
}

#[derive(Clone)]
pub(crate) struct Device {
    rng: Rng,
    clock: SimClock,
    nodes: Vec<Node>,
    steps: u64,
    calls: u64,
    cut_at: Option<u64>,
    /// The power goes at the next of these, which is not begun any more.
    cut_at_site: Option<Site>,
    /// The call at which the power goes is not begun any more.
    cut_before: bool,
    on: bool,
    /// The call that is being made is the last.
    cutting: bool,
    faults: Faults,
    /// How often each kind of it happened.
    troubles: BTreeMap<Trouble, u64>,
    /// A sync that does nothing, and says it did.
    left_out: Option<Site>,
    /// The calls that changed something or made it durable, if that is wanted.
    moments: Option<Vec<u64>>,
    reached: BTreeSet<Site>,
    /// How much was read of each file, of late.
    read_bytes: BTreeMap<Id, u64>,
    trace: Option<Vec<String>>,
}

#[derive(Clone)]
enum Node {
    File { content: Content, modified_ms: i64, locked: bool, failures: u64 },
    Folder(Folder),
}

const ROOT: Id = 0;

impl SimDisk {
    pub(crate) fn new(seed: u64, clock: SimClock) -> SimDisk {
        SimDisk(Arc::new(Mutex::new(Device {
            rng: Rng::new(seed ^ 0xd15c),
            clock,
            nodes: vec![Node::Folder(Folder::default())],
            steps: 0,
            calls: 0,
            cut_at: None,
            cut_at_site: None,
            cut_before: false,
            on: true,
            cutting: false,
            faults: Faults::default(),
            troubles: BTreeMap::new(),
            left_out: None,
            moments: None,
            reached: BTreeSet::new(),
            read_bytes: BTreeMap::new(),
            trace: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Device> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn leave_out(&self, site: Option<Site>) {
        self.lock().left_out = site;
    }

    /// From here on keeps a line of each call.
    pub(crate) fn trace(&self) {
        self.lock().trace = Some(Vec::new());
    }

    /// A line between them; costs nothing where nobody traces.
    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.lock().trace {
            trace.push(line());
        }
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        self.lock().trace.take().unwrap_or_default()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.lock().calls
    }

    pub(crate) fn troubles(&self) -> BTreeMap<Trouble, u64> {
        self.lock().troubles.clone()
    }

    /// The power goes at the call that is so many from here.
    pub(crate) fn cut_in(&self, calls: u64) {
        let mut device = self.lock();
        device.cut_at = Some(device.calls + calls);
    }

    /// The power goes right before that call.
    pub(crate) fn cut_before(&self, call: u64) {
        let mut device = self.lock();
        (device.cut_at, device.cut_before) = (Some(call), true);
    }

    /// The power goes right before the next of these syncs.
    pub(crate) fn cut_at_site(&self, site: Site) {
        self.lock().cut_at_site = Some(site);
    }

    /// From here on notes each call that changes something or makes it durable.
    pub(crate) fn note_moments(&self) {
        self.lock().moments = Some(Vec::new());
    }

    pub(crate) fn take_moments(&self) -> Vec<u64> {
        self.lock().moments.take().unwrap_or_default()
    }

    /// Every site that has synced something so far.
    pub(crate) fn reached(&self) -> BTreeSet<Site> {
        self.lock().reached.clone()
    }

    pub(crate) fn forget_reads(&self) {
        self.lock().read_bytes.clear();
    }

    /// How many bytes of a file were read since.
    pub(crate) fn read_bytes(&self, path: &str) -> u64 {
        let device = self.lock();
        let id = device.find(Path::new(path)).ok();
        id.and_then(|id| device.read_bytes.get(&id)).copied().unwrap_or_default()
    }

    /// The kernel tries to write out a file by itself, which fails.
    pub(crate) fn fail_writeback(&self, path: &str) {
        let mut device = self.lock();
        let Ok(id) = device.find(Path::new(path)) else { return };
        if let Node::File { content, failures, .. } = &mut device.nodes[id] {
            *failures += 1;
            content.lose();
        }
    }

    pub(crate) fn cut_never(&self) {
        self.lock().cut_at = None;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.lock().on
    }

    /// From here on every call fails.
    pub(crate) fn power_off(&self) {
        self.lock().on = false;
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    pub(crate) fn faults(&self) -> Faults {
        self.lock().faults
    }

    /// Clean pages leave the page cache.
    pub(crate) fn evict(&self) {
        for node in &mut self.lock().nodes {
            if let Node::File { content, .. } = node {
                content.evict();
            }
        }
    }

    /// Nobody has a file open any more; the machine comes up again, without faults.
    pub(crate) fn power_on(&self, outage: Outage) {
        let mut device = self.lock();
        device.meet(match outage {
            Outage::Kill => Trouble::Kill,
            Outage::Nothing => Trouble::NothingKept,
            Outage::Part => Trouble::PartKept,
            Outage::PartByFolder => Trouble::PartKeptByFolder,
        });
        let Device { rng, nodes, steps, .. } = &mut *device;
        // The journal got as far as some step of some folder, or this far.
        let unsynced: usize = nodes.iter().map(|node| node.unsynced()).sum();
        let reached = rng.upto(unsynced as u64) as usize;
        let mut places: Vec<u64> = nodes.iter().flat_map(Node::places).collect();
        places.sort_unstable();
        let before = places.get(reached).copied().unwrap_or(*steps + 1);
        for node in nodes {
            match node {
                Node::File { locked, .. } if outage == Outage::Kill => *locked = false,
                Node::File { content, locked, .. } => {
                    content.cut(rng, outage == Outage::Nothing);
                    *locked = false;
                }
                Node::Folder(folder) => match outage {
                    Outage::Kill => {}
                    Outage::Nothing => folder.cut(0),
                    Outage::Part => folder.cut(before),
                    Outage::PartByFolder => {
                        let kept = rng.upto(folder.unsynced() as u64) as usize;
                        folder.cut(folder.place_of(kept));
                    }
                },
            }
        }
        device.on = true;
        (device.cut_at, device.cut_at_site, device.cut_before) = (None, None, false);
        device.faults = Faults::default();
        device.drop_unreachable();
        let line = device.trace.is_some().then(|| format!("== {outage:?}; what is there: {}", device.tree()));
        if let (Some(trace), Some(line)) = (&mut device.trace, line) {
            trace.push(line);
        }
    }

    /// The content of a file, whatever the power.
    pub(crate) fn peek(&self, path: &str) -> Option<Vec<u8>> {
        let device = self.lock();
        match &device.nodes[device.find(Path::new(path)).ok()?] {
            Node::File { content, .. } => Some(content.bytes().to_vec()),
            Node::Folder(_) => None,
        }
    }

    /// The paths of the files below a folder, in order.
    pub(crate) fn files(&self, dir: &str) -> Vec<String> {
        let device = self.lock();
        let mut found = Vec::new();
        if let Ok(id) = device.find(Path::new(dir)) {
            device.walk(id, dir, &mut found);
        }
        found
    }

    /// Whether a sync of a file has failed, whoever was told of it.
    pub(crate) fn has_failed(&self, path: &str) -> bool {
        let device = self.lock();
        let id = device.find(Path::new(path));
        id.is_ok_and(|id| matches!(device.nodes[id], Node::File { failures: 1.., .. }))
    }

    /// Bytes that were synced are others, and nobody was told.
    pub(crate) fn rot(&self, path: &str, at: usize, bytes: &[u8]) {
        let mut device = self.lock();
        device.meet(Trouble::Rot);
        if let Ok(id) = device.find(Path::new(path))
            && let Node::File { content, .. } = &mut device.nodes[id]
        {
            content.rot(at, bytes);
        }
    }
}

impl Node {
    fn unsynced(&self) -> usize {
        match self {
            Node::Folder(folder) => folder.unsynced(),
            Node::File { .. } => 0,
        }
    }

    fn places(&self) -> Vec<u64> {
        match self {
            Node::Folder(folder) => (0..folder.unsynced()).map(|step| folder.place_of(step)).collect(),
            Node::File { .. } => Vec::new(),
        }
    }
}

impl Device {
    fn meet(&mut self, trouble: Trouble) {
        *self.troubles.entry(trouble).or_default() += 1;
    }

    fn find(&self, path: &Path) -> io::Result<Id> {
        let mut id = ROOT;
        for part in path.components().filter(|part| matches!(part, std::path::Component::Normal(_))) {
            let name = part.as_os_str().to_str().ok_or(io::ErrorKind::InvalidInput)?;
            id = self.folder(id)?.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(id)
    }

    fn folder(&self, id: Id) -> io::Result<&Folder> {
        match &self.nodes[id] {
            Node::Folder(folder) => Ok(folder),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn folder_mut(&mut self, id: Id) -> io::Result<&mut Folder> {
        match &mut self.nodes[id] {
            Node::Folder(folder) => Ok(folder),
            Node::File { .. } => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// What nothing leads to is empty from here on; ids stay what they are.
    fn drop_unreachable(&mut self) {
        let mut reachable = vec![false; self.nodes.len()];
        let mut ahead = vec![ROOT];
        while let Some(id) = ahead.pop() {
            if !std::mem::replace(&mut reachable[id], true)
                && let Node::Folder(folder) = &self.nodes[id]
            {
                ahead.extend(folder.ids());
            }
        }
        for (node, reachable) in self.nodes.iter_mut().zip(reachable) {
            if !reachable {
                *node = Node::Folder(Folder::default());
            }
        }
    }

    fn walk(&self, id: Id, path: &str, found: &mut Vec<String>) {
        match &self.nodes[id] {
            Node::File { .. } => found.push(path.to_string()),
            Node::Folder(folder) => {
                for name in folder.names() {
                    if let Some(id) = folder.get(name) {
                        self.walk(id, &format!("{path}/{name}"), found);
                    }
                }
            }
        }
    }

    fn tree(&self) -> String {
        let mut paths = Vec::new();
        self.walk(ROOT, "", &mut paths);
        let length = |path: &String| match self.find(Path::new(path)).map(|id| &self.nodes[id]) {
            Ok(Node::File { content, .. }) => content.len(),
            _ => 0,
        };
        paths.iter().map(|path| format!("\n     {path} {}", length(path))).collect()
    }
}
