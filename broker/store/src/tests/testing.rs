//! What the tests here share: batches, a store in a folder of its own, waiting with a deadline.

use std::ffi::OsString;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_records::{Batch, BatchBuilder, Compression, NewRecord, batches};
use flumen_types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicPartition};
use tempfile::TempDir;

use crate::{
    Advice, Bound, File, FileSystem, Finding, Open, OpenError, Options, OsFiles, Partition, Question,
    ReadError, Repair, Scope, Site, Stat, Store, Surveyed, survey,
};

pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A batch with a record for each (key, value), all of one time.
pub(crate) fn keyed(records: &[(&str, Option<&str>)], at: Timestamp) -> Bytes {
    build(BatchBuilder::new(Compression::None), records, at)
}

/// A batch of one record without a key.
pub(crate) fn plain(value: &str) -> Bytes {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&NewRecord { timestamp: NOW, key: None, value: Some(value.as_bytes()), headers: &[] });
    builder.build().unwrap()
}

pub(crate) fn sequenced(id: i64, sequence: i32, value: &str, transactional: bool) -> Bytes {
    let builder =
        BatchBuilder::new(Compression::None).producer(ProducerId(id), ProducerEpoch(0), Sequence(sequence));
    let builder = if transactional { builder.transactional() } else { builder };
    build(builder, &[("k", Some(value))], NOW)
}

fn build(mut builder: BatchBuilder, records: &[(&str, Option<&str>)], at: Timestamp) -> Bytes {
    for (key, value) in records {
        let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
        builder.push(&NewRecord { timestamp: at, key, value, headers: &[] });
    }
    builder.build().unwrap()
}

/// A folder in memory where there is one: what is tested here is not how long a disk takes.
pub(crate) fn memory_dir() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) store: Option<Store>,
}

impl Fixture {
    /// A store with topic `t` of one partition.
    pub(crate) fn new(configs: &[(&str, &str)]) -> Fixture {
        let dir = memory_dir();
        let mut fixture = Fixture { dir, store: None };
        fixture.open();
        let configs = configs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        fixture.store().create_topic("t", TopicId(uuid::Uuid::new_v4()), 1, configs).unwrap();
        fixture
    }

    pub(crate) fn options(&self) -> Options {
        Options::new(self.dir.path().join("data"))
    }

    pub(crate) fn open(&mut self) {
        self.store = Some(Store::open(self.options(), Arc::new(())).unwrap());
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    pub(crate) fn t(&self) -> Arc<Partition> {
        self.store().partition(&TopicPartition::new("t", 0)).unwrap()
    }

    /// A clean stop and start.
    pub(crate) fn reopen(&mut self) {
        self.store.take().unwrap().close().unwrap();
        self.open();
    }

    /// What the store's directory holds for `t`, by extension.
    pub(crate) fn files(&self, extension: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with(extension));
        names.sort();
        names
    }

    /// The end without a clean stop.
    pub(crate) fn kill(&mut self) {
        self.store = None;
    }

    pub(crate) fn folder(&self) -> std::path::PathBuf {
        self.dir.path().join("data/t-0")
    }
}

pub(crate) fn wait_until(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn wait_durable(partition: &Partition) {
    wait_until("all is durable", || partition.marks().high_watermark == partition.marks().end);
}

/// Every batch from an offset to a bound.
pub(crate) fn read_batches(partition: &Partition, from: Offset, bound: Bound) -> Vec<Batch> {
    let (mut from, mut found) = (from, Vec::new());
    loop {
        let read = partition.read(from, 300, bound, true).unwrap();
        if read.bytes.is_empty() {
            return found;
        }
        found.extend(batches(read.bytes).map(Result::unwrap));
        from = read.next;
    }
}

/// Every data record from the start: offset, key, value.
pub(crate) fn read_all(partition: &Partition) -> Vec<(i64, String, Option<String>)> {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for batch in read_batches(partition, partition.marks().start, Bound::LogEnd) {
        if batch.header().is_control() {
            continue;
        }
        for record in &batch.records(1 << 20).unwrap() {
            let record = record.unwrap();
            let offset = batch.header().base_offset.0 + i64::from(record.offset_delta);
            found.push((offset, record.key.map(text).unwrap_or_default(), record.value.map(text)));
        }
    }
    found.retain(|(offset, ..)| *offset >= partition.marks().start.0);
    found
}

/// What a survey of the directory finds.
pub(crate) fn surveyed(fixture: &Fixture) -> Vec<Finding> {
    found(fixture, survey)
}

fn found(
    fixture: &Fixture,
    survey: impl FnOnce(Question<'_>) -> Result<Surveyed, OpenError>,
) -> Vec<Finding> {
    let mut found = Vec::new();
    survey(Question {
        files: Arc::new(OsFiles),
        dir: fixture.dir.path().join("data"),
        batch_bytes_max: 1 << 20,
        found: &mut |finding| found.push(finding),
        read: &mut |_| {},
    })
    .unwrap();
    found
}

/// Does all that a survey proposes; what is left to be found.
pub(crate) fn repair(fixture: &Fixture) -> Vec<Finding> {
    let repair = Repair::begin(Arc::new(OsFiles), &fixture.dir.path().join("data")).unwrap();
    for finding in found(fixture, |question| repair.survey(question)) {
        repair.apply(&finding.remedy).unwrap();
    }
    found(fixture, |question| repair.survey(question))
}

/// What goes wrong on a file system.
pub(crate) trait Faults: Send + Sync + 'static {
    /// How many of these bytes are written.
    fn write(&self, bytes: usize) -> io::Result<usize> {
        Ok(bytes)
    }

    fn sync(&self, _: Scope, _: Site) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct NoFaults;

impl Faults for NoFaults {}

/// The operating system's files, with faults.
pub(crate) struct Faulty<F>(pub(crate) Arc<F>);

impl<F> Faulty<F> {
    pub(crate) fn new(faults: F) -> Faulty<F> {
        Faulty(Arc::new(faults))
    }
}

impl<F: Faults> FileSystem for Faulty<F> {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(FaultyFile { file: OsFiles.open(path, how)?, faults: self.0.clone() }))
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

struct FaultyFile<F> {
    file: Arc<dyn File>,
    faults: Arc<F>,
}

impl<F> std::fmt::Debug for FaultyFile<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.file.fmt(f)
    }
}

impl<F: Faults> File for FaultyFile<F> {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.file.read_at(buffer, position)
    }

    fn write_at(&self, slices: &[IoSlice<'_>], position: u64) -> io::Result<usize> {
        let wanted = slices.iter().map(|slice| slice.len()).sum();
        match self.faults.write(wanted)? {
            all if all == wanted => self.file.write_at(slices, position),
            // The first bytes still fit.
            some => {
                let slice = slices.iter().find(|slice| !slice.is_empty()).map_or(&[][..], |slice| slice);
                self.file.write_at(&[IoSlice::new(&slice[..some.min(slice.len())])], position)
            }
        }
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn stat(&self) -> io::Result<Stat> {
        self.file.stat()
    }

    fn sync(&self, scope: Scope, site: Site) -> io::Result<()> {
        if flumen_types::safeguard::is_left_out(site.name()) {
            return Ok(());
        }
        self.faults.sync(scope, site)?;
        self.file.sync(scope, site)
    }

    fn advise(&self, position: u64, length: Option<u64>, advice: Advice) {
        self.file.advise(position, length, advice);
    }

    fn try_lock(&self) -> io::Result<bool> {
        self.file.try_lock()
    }
}

/// The offsets that can be read, and where readers are refused.
pub(crate) fn readable(t: &Partition) -> (Vec<i64>, Vec<(i64, i64)>) {
    let (mut from, mut found, mut refused) = (t.marks().start, Vec::new(), Vec::new());
    while from < t.marks().end {
        match t.read(from, 500, Bound::HighWatermark, true) {
            Ok(read) => {
                for batch in flumen_records::batches(read.bytes).map(Result::unwrap) {
                    batch.verify_crc().unwrap();
                    found.push(batch.header().base_offset.0);
                }
                from = read.next;
            }
            Err(ReadError::Corrupt { offsets: Some(offsets), .. }) => {
                refused.push((offsets.start.0, offsets.end.0));
                from = offsets.end;
            }
            Err(error) => panic!("{error}"),
        }
    }
    (found, refused)
}
