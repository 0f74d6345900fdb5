//! A process that has no descriptor left: what is appended becomes durable when it has one again.
#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "a test looks at real files")]

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use flumen_records::{BatchBuilder, Compression, NewRecord};
use flumen_store::{Advice, File, FileSystem, Open, Options, Origin, OsFiles, Scope, Site, Stat, Store};
use flumen_types::{Offset, Timestamp, TopicId, TopicPartition};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// Syncs wait behind a gate.
#[derive(Debug, Default)]
struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
    waiting: AtomicBool,
    syncs: AtomicU32,
}

impl Gate {
    fn close(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.changed.notify_all();
    }
}

impl Gate {
    fn pass(&self) {
        let mut closed = self.closed.lock().unwrap();
        while *closed {
            self.waiting.store(true, Ordering::SeqCst);
            closed = self.changed.wait(closed).unwrap();
        }
        self.syncs.fetch_add(1, Ordering::SeqCst);
    }
}

struct Gated(Arc<Gate>);

impl FileSystem for Gated {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(GatedFile(OsFiles.open(path, how)?, self.0.clone())))
    }

    fn stat(&self, path: &Path) -> io::Result<Stat> {
        OsFiles.stat(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        OsFiles.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsFiles.create_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFiles.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsFiles.remove(path)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        OsFiles.remove_dir(dir)
    }
}

#[derive(Debug)]
struct GatedFile(Arc<dyn File>, Arc<Gate>);

impl File for GatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.0.read_at(buffer, position)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        self.0.write_at(slices, position)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn stat(&self) -> io::Result<Stat> {
        self.0.stat()
    }

    fn sync(&self, scope: Scope, site: Site) -> io::Result<()> {
        if matches!(site, Site::ActiveRecords | Site::SealedRecords) {
            self.1.pass();
        }
        self.0.sync(scope, site)
    }

    fn advise(&self, position: u64, length: Option<u64>, advice: Advice) {
        self.0.advise(position, length, advice);
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.0.try_lock()
    }
}

fn batch() -> bytes::Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord { timestamp: NOW, value: Some(&[b'x'; 100]), ..NewRecord::default() });
    builder.build().unwrap()
}

fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn a_want_of_descriptors_passes_and_poisons_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let gate: Arc<Gate> = Arc::default();
    let before = getrlimit(Resource::Nofile);
    let soft = Rlimit { current: Some(256), maximum: before.maximum };
    setrlimit(Resource::Nofile, soft).unwrap();
    let options =
        Options { files: Arc::new(Gated(gate.clone())), flush_threads: 1, ..Options::new(dir.path()) };
    let store = Store::open(options, Arc::new(())).unwrap();
    assert_eq!(getrlimit(Resource::Nofile).current, before.maximum, "it takes what it may have");
    let configs = [("internal.segment.bytes".to_string(), "400".to_string())].into();
    store.create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, configs).unwrap();
    let t = store.partition(&TopicPartition::new("t", 0)).unwrap();
    gate.close(true);
    t.append(batch(), Origin::Client, NOW).unwrap();
    wait_until(|| gate.waiting.load(Ordering::SeqCst));
    // Rolled while the first sync runs: the next one has to write indexes and sync the folder.
    for _ in 0..5 {
        t.append(batch(), Origin::Client, NOW).unwrap();
    }
    setrlimit(Resource::Nofile, soft).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    gate.close(false);
    wait_until(|| t.marks().high_watermark == Offset(1));
    // Each try syncs the five full segments, whose files are open, before it lacks a descriptor.
    let tried = gate.syncs.load(Ordering::SeqCst);
    wait_until(|| gate.syncs.load(Ordering::SeqCst) > tried + 10);
    assert_eq!((t.marks().high_watermark, t.marks().failed), (Offset(1), false));
    drop(hoard);
    assert!(t.wait_durable(Offset(6), Duration::from_secs(20)));
    assert!(!t.marks().failed);
    drop(t);
    store.close().unwrap();
    assert!(dir.path().join(".kafka_cleanshutdown").exists());
}
