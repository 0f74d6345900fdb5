//! Flumen's store, living a history; nothing in it happens by itself.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_records::{BatchHeader, batches};
use flumen_store::{AppendError, Appended, Bound, CleanerOptions, Options, Origin, Partition, Store};
use flumen_types::{ByteSize, Millis, Offset, ProducerId, Timestamp, TopicId, TopicPartition};

use crate::history::{History, Marker, OLDEST_MS, Settings};

pub struct Flumen {
    store: Option<Store>,
    options: Options,
    /// When each producer wrote last, and which have been silent for so long that they may be forgotten.
    written: HashMap<ProducerId, i64>,
    forgotten: HashSet<ProducerId>,
    crashed: bool,
}

const NEVER: Duration = Duration::from_secs(1 << 20);

impl Flumen {
    pub fn open(dir: &Path, history: &History) -> Flumen {
        let Settings { topic, producer_expiration_ms, buffer_bytes } = &history.settings;
        let options = Options {
            flush_threads: 1,
            recovery_threads: 1,
            retention_interval: NEVER,
            checkpoint_interval: NEVER,
            cleaner: CleanerOptions {
                enabled: false,
                dedupe_buffer: ByteSize(*buffer_bytes),
                ..CleanerOptions::default()
            },
            producer_expiration: Millis(*producer_expiration_ms),
            ..Options::new(dir)
        };
        let mut flumen = Flumen {
            store: None,
            options,
            written: HashMap::new(),
            forgotten: HashSet::new(),
            crashed: false,
        };
        flumen.start();
        let configs = topic.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
        flumen.store().create_topic("t", TopicId(uuid::Uuid::from_u128(1)), 1, configs).expect("a topic");
        flumen
    }

    fn start(&mut self) {
        self.store = Some(Store::open(self.options.clone(), Arc::new(())).expect("the store opens"));
    }

    pub fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    pub fn partition(&self) -> Arc<Partition> {
        self.store().partition(&TopicPartition::new("t", 0)).expect("it is there")
    }

    /// Appends, and says what the log has of it, offsets and all. `None`: a producer was forgotten, and then a
    /// crash has brought an older sequence of it back, which is still in the log; it is refused.
    pub fn append(&mut self, now: i64, batch: &Bytes) -> Option<Bytes> {
        let producer = BatchHeader::parse(batch).expect("a header").producer_id;
        self.note(now, producer);
        match self.partition().append(batch.clone(), Origin::Coordinator, Timestamp(now)) {
            Err(AppendError::OutOfOrderSequence { .. })
                if self.crashed && self.forgotten.contains(&producer) =>
            {
                None
            }
            appended => Some(self.read(appended.expect("an append"))),
        }
    }

    fn note(&mut self, now: i64, producer: ProducerId) {
        // What counts are the times of the records, which may be older.
        let silence = self.options.producer_expiration.0 - OLDEST_MS;
        if self.written.insert(producer, now).is_some_and(|before| now - before >= silence) {
            self.forgotten.insert(producer);
        }
    }

    pub fn mark(&mut self, now: i64, marker: &Marker) -> Bytes {
        let Marker { producer, epoch, control } = *marker;
        self.note(now, producer);
        let appended = self.partition().append_marker(producer, epoch, control, Timestamp(now));
        self.read(appended.expect("a marker"))
    }

    fn read(&self, appended: Appended) -> Bytes {
        let read = self.partition().read(appended.base, usize::MAX, Bound::LogEnd, true).expect("a read");
        let first = batches(read.bytes).next().expect("a batch").expect("a whole one");
        assert_eq!(first.header().base_offset, appended.base);
        first.into_bytes()
    }

    /// One round of upkeep.
    pub fn clean(&self, now: i64) {
        self.settle();
        self.store().maintain_at(Timestamp(now));
    }

    /// Up to an offset, or to the end; says which.
    pub fn trim(&self, to: i64) -> i64 {
        self.settle();
        let to = to.min(self.end());
        self.partition().trim(Offset(to)).expect("a trim");
        to
    }

    pub fn end(&self) -> i64 {
        self.partition().marks().end.0
    }

    pub fn restart(&mut self) {
        self.store.take().expect("it is open").close().expect("a clean stop");
        self.start();
    }

    /// What a kill leaves: the files.
    pub fn crash(&mut self) {
        self.settle();
        self.crashed = true;
        self.store = None;
        self.start();
    }

    /// Everything is on the disk, the sealed segments' indexes too.
    pub fn settle(&self) {
        let partition = self.partition();
        assert!(partition.wait_durable(partition.marks().end, Duration::from_secs(60)));
    }

    pub fn folder(&self) -> PathBuf {
        self.options.dir.join("t-0")
    }
}
