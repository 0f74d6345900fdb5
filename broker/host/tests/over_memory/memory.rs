//! A broker in memory, with the parts that pumps rest on: offsets, transactions, markers, fencing.
//!
//! It keeps Kafka's rules: a transaction's records are in the log at once and hide behind the last stable
//! offset until a marker, which takes an offset of its own, decides them.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use flumen_host::{
    Databases, GroupOffset, Host, IoError, Log, Options, Packed, PluginStatus, Producer, Read, WasmRef,
};
use flumen_records::{
    Attributes, Batch, BatchBuilder, Compression, NewRecord, PackedBatch, assign, wrap_packed,
};
use flumen_types::{LeaderEpoch, Offset, Timestamp, TopicPartition};
use tokio::sync::Notify;

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Shared>);

#[derive(Default)]
struct Shared {
    model: Mutex<Model>,
    changed: Notify,
}

#[derive(Default)]
pub(crate) struct Model {
    topics: BTreeMap<String, Vec<Partition>>,
    groups: BTreeMap<(String, String, u32), GroupOffset>,
    /// How often each was deleted.
    deleted: BTreeMap<String, u32>,
    cursors: BTreeMap<(String, u32), Vec<u8>>,
    /// By transactional id: the newest epoch.
    epochs: BTreeMap<String, u64>,
    /// Offsets and cursors of open transactions, by transactional id.
    pending: BTreeMap<String, Pending>,
    /// Commits that have happened.
    pub(crate) commits: u64,
    /// Ends of the next commits: before anything, or after it has happened and before the answer.
    pub(crate) faults: VecDeque<Fault>,
    /// Records larger than this are refused by every topic.
    pub(crate) record_bytes_max: Option<usize>,
    /// A transactional id that gets no producer.
    pub(crate) unavailable: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    LoseCommit,
    LoseAnswer,
    /// A bug of the host's own.
    Panic,
}

#[derive(Default)]
struct Pending {
    offsets: Vec<(String, String, u32, Offset)>,
    cursor: Option<((String, u32), Vec<u8>)>,
    open: bool,
}

#[derive(Default)]
struct Partition {
    stored: Vec<Stored>,
    next: i64,
    start: i64,
}

struct Stored {
    base: i64,
    next: i64,
    kind: Kind,
}

enum Kind {
    Open {
        id: String,
        batch: Batch,
    },
    Committed(Batch),
    /// A marker, or an aborted batch.
    Nothing,
}

impl Partition {
    fn append(&mut self, bytes: &[u8], open: Option<&str>) {
        let mut bytes = bytes.to_vec();
        assign(&mut bytes, Offset(self.next), LeaderEpoch(0));
        let batch = Batch::parse(bytes.into()).expect("a whole batch");
        let (base, next) = (self.next, batch.header().next_offset().0);
        let kind = match open {
            Some(id) => Kind::Open { id: id.to_owned(), batch },
            None => Kind::Committed(batch),
        };
        self.stored.push(Stored { base, next, kind });
        self.next = next;
    }

    fn decide(&mut self, id: &str, commit: bool) {
        let mut mine = false;
        for stored in &mut self.stored {
            if matches!(&stored.kind, Kind::Open { id: of, .. } if of == id) {
                mine = true;
                let kind = std::mem::replace(&mut stored.kind, Kind::Nothing);
                if let (true, Kind::Open { batch, .. }) = (commit, kind) {
                    stored.kind = Kind::Committed(batch);
                }
            }
        }
        if mine {
            self.stored.push(Stored { base: self.next, next: self.next + 1, kind: Kind::Nothing });
            self.next += 1;
        }
    }

    fn stable(&self) -> i64 {
        let open = self.stored.iter().find(|s| matches!(s.kind, Kind::Open { .. }));
        open.map_or(self.next, |stored| stored.base)
    }
}

impl Model {
    fn topic(&mut self, topic: &str) -> &mut Vec<Partition> {
        self.topics.entry(topic.to_owned()).or_insert_with(|| vec![Partition::default()])
    }

    fn end(&mut self, id: &str, commit: bool) {
        self.topics.values_mut().flatten().for_each(|partition| partition.decide(id, commit));
        let pending = self.pending.remove(id).unwrap_or_default();
        if commit && pending.open {
            self.commits += 1;
            for (group, topic, partition, offset) in pending.offsets {
                self.groups.insert((group, topic, partition), GroupOffset { offset, by_pump: true });
            }
            if let Some((of, cursor)) = pending.cursor {
                self.cursors.insert(of, cursor);
            }
        }
    }
}

/// A record as a consumer sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) partition: u32,
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<String>,
    pub(crate) value: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Memory {
    pub(crate) fn with_topics(topics: &[(&str, u32)]) -> Memory {
        let memory = Memory::default();
        for (topic, partitions) in topics {
            let partitions = (0..*partitions).map(|_| Partition::default()).collect();
            memory.model().topics.insert((*topic).to_owned(), partitions);
        }
        memory
    }

    pub(crate) fn grow(&self, topic: &str, partitions: usize) {
        self.model().topic(topic).resize_with(partitions, Partition::default);
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.0.model.lock().expect("the model")
    }

    /// One batch of records without transaction, as a client would send it.
    pub(crate) fn produce(&self, topic: &str, partition: u32, records: &[(Option<&str>, Option<&str>)]) {
        self.produce_as(topic, partition, records, Compression::None);
    }

    pub(crate) fn produce_as(
        &self,
        topic: &str,
        partition: u32,
        records: &[(Option<&str>, Option<&str>)],
        codec: Compression,
    ) {
        let mut builder = BatchBuilder::new(codec);
        for (i, (key, value)) in records.iter().enumerate() {
            let (key, value) = (key.map(str::as_bytes), value.map(str::as_bytes));
            builder.push(&NewRecord { timestamp: Timestamp(1_000 + i as i64), key, value, headers: &[] });
        }
        self.append(topic, partition, &builder.build().expect("a batch"));
    }

    pub(crate) fn values(&self, topic: &str, partition: u32, values: impl IntoIterator<Item = String>) {
        let values: Vec<String> = values.into_iter().collect();
        let records: Vec<_> = values.iter().map(|v| (None, Some(v.as_str()))).collect();
        self.produce(topic, partition, &records);
    }

    pub(crate) fn append(&self, topic: &str, partition: u32, batch: &[u8]) {
        self.model().topic(topic)[partition as usize].append(batch, None);
        self.0.changed.notify_waiters();
    }

    /// Retention.
    pub(crate) fn trim(&self, topic: &str, partition: u32, to: i64) {
        let mut model = self.model();
        let partition = &mut model.topic(topic)[partition as usize];
        partition.stored.retain(|stored| stored.next > to);
        partition.start = to;
    }

    pub(crate) fn group(&self, group: &str, topic: &str, partition: u32) -> Option<i64> {
        self.model().groups.get(&(group.into(), topic.into(), partition)).map(|o| o.offset.0)
    }

    pub(crate) fn set_group(&self, group: &str, topic: &str, partition: u32, offset: i64) {
        let set = GroupOffset { offset: Offset(offset), by_pump: false };
        self.model().groups.insert((group.into(), topic.into(), partition), set);
    }

    /// With its offsets of all groups.
    pub(crate) fn delete(&self, topic: &str) {
        let mut model = self.model();
        model.topics.remove(topic);
        model.groups.retain(|(_, of, _), _| of != topic);
        *model.deleted.entry(topic.to_owned()).or_default() += 1;
        drop(model);
        self.0.changed.notify_waiters();
    }

    pub(crate) fn cursor_of(&self, source: &str, task: u32) -> Option<Vec<u8>> {
        self.model().cursors.get(&(source.into(), task)).cloned()
    }

    /// All that a read_committed consumer sees.
    pub(crate) fn seen(&self, topic: &str) -> Vec<Seen> {
        let mut model = self.model();
        let mut seen = Vec::new();
        for (partition, stored) in model.topic(topic).iter().enumerate() {
            let stable = stored.stable();
            for stored in stored.stored.iter().filter(|s| s.base < stable) {
                let Kind::Committed(batch) = &stored.kind else { continue };
                for record in batch.records(1 << 30).expect("its records").iter() {
                    let record = record.expect("a record");
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    seen.push(Seen {
                        partition: partition as u32,
                        offset: stored.base + i64::from(record.offset_delta),
                        timestamp: batch.header().base_timestamp.0 + record.timestamp_delta,
                        key: record.key.map(text),
                        value: record.value.map(text),
                        headers: record
                            .headers()
                            .map(|(k, v)| (text(k), v.map(text).unwrap_or_default()))
                            .collect(),
                    });
                }
            }
        }
        seen
    }

    pub(crate) fn seen_values(&self, topic: &str) -> Vec<String> {
        self.seen(topic).into_iter().map(|seen| seen.value.unwrap_or_default()).collect()
    }

    /// Waits until it is so; says what was found if it never is.
    pub(crate) async fn until<T: std::fmt::Debug>(&self, what: &str, mut so: impl FnMut() -> Result<(), T>) {
        let waiting = async {
            loop {
                let changed = self.0.changed.notified();
                if so().is_ok() {
                    return;
                }
                tokio::time::timeout(Duration::from_millis(20), changed).await.ok();
            }
        };
        if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
            panic!("waited in vain for {what}: {:?}", so());
        }
    }

    pub(crate) async fn until_count(&self, topic: &str, count: usize) {
        self.until(&format!("{count} records in {topic}"), || match self.seen(topic).len() {
            n if n >= count => Ok(()),
            n => Err(n),
        })
        .await;
    }
}

#[async_trait]
impl Log for Memory {
    async fn partitions(&self, topic: &str) -> Result<u32, IoError> {
        Ok(self.model().topic(topic).len() as u32)
    }

    async fn topic_id(&self, topic: &str) -> Result<String, IoError> {
        Ok(format!("{topic} {}", self.model().deleted.get(topic).copied().unwrap_or_default()))
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        bytes_max: usize,
        wait: Duration,
    ) -> Result<Read, IoError> {
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.0.changed.notified();
            {
                let mut model = self.model();
                let stored = &model.topic(topic)[partition as usize];
                let (start, end) = (Offset(stored.start), Offset(stored.stable()));
                if from < start || from > Offset(stored.next) {
                    let topic = topic.into();
                    return Err(IoError::OutOfRange { topic, partition, asked: from, start, end });
                }
                let mut read = Read { batches: Vec::new(), next: from, end, start };
                let mut bytes = 0;
                for stored in stored.stored.iter().filter(|s| s.next > from.0 && s.base < end.0) {
                    if bytes >= bytes_max {
                        break;
                    }
                    if let Kind::Committed(batch) = &stored.kind {
                        bytes += batch.bytes().len();
                        read.batches.push(batch.clone());
                    }
                    read.next = Offset(stored.next);
                }
                if read.next > from || wait.is_zero() {
                    return Ok(read);
                }
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return self.read(topic, partition, from, bytes_max, Duration::ZERO).await;
            }
        }
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<GroupOffset>, IoError> {
        loop {
            let changed = self.0.changed.notified();
            {
                let model = self.model();
                let mut pending = model.pending.values().flat_map(|pending| &pending.offsets);
                if !pending.any(|(g, t, p, _)| (g.as_str(), t.as_str(), *p) == (group, topic, partition)) {
                    return Ok(model.groups.get(&(group.into(), topic.into(), partition)).copied());
                }
            }
            changed.await;
        }
    }

    async fn cursor(&self, source: &str, task: u32) -> Result<Option<Vec<u8>>, IoError> {
        Ok(self.cursor_of(source, task))
    }

    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, IoError> {
        let mut model = self.model();
        if model.unavailable.as_deref() == Some(transactional_id) {
            return Err(IoError::Unavailable("the test gives none".into()));
        }
        let epoch = model.epochs.entry(transactional_id.to_owned()).or_default();
        *epoch += 1;
        let epoch = *epoch;
        model.end(transactional_id, false);
        drop(model);
        self.0.changed.notify_waiters();
        Ok(Box::new(Session { memory: self.clone(), id: transactional_id.to_owned(), epoch }))
    }

    async fn open_transactions(&self, prefix: &str) -> Result<Vec<String>, IoError> {
        Ok(self.model().pending.keys().filter(|id| id.starts_with(prefix)).cloned().collect())
    }

    fn end(&self, topic: &str, partition: u32) -> Option<Offset> {
        Some(Offset(self.model().topics.get(topic)?.get(partition as usize)?.stable()))
    }
}

struct Session {
    memory: Memory,
    id: String,
    epoch: u64,
}

impl Session {
    fn model(&self) -> Result<MutexGuard<'_, Model>, IoError> {
        let model = self.memory.model();
        match model.epochs.get(&self.id) {
            Some(epoch) if *epoch == self.epoch => Ok(model),
            _ => Err(IoError::Fenced),
        }
    }
}

#[async_trait]
impl Producer for Session {
    async fn send(&mut self, topic: &str, partition: u32, records: Packed) -> Result<(), IoError> {
        let mut model = self.model()?;
        if model.record_bytes_max.is_some_and(|max| records.records.len() > max) {
            return Err(IoError::Refused(format!("{} bytes are too many", records.records.len())));
        }
        let options = PackedBatch { attributes: Attributes::default(), ..PackedBatch::default() };
        let batch = wrap_packed(&records.records, records.count, records.base_timestamp, &options)
            .map_err(|e| IoError::Refused(e.to_string()))?;
        let id = self.id.clone();
        model.pending.entry(id.clone()).or_default().open = true;
        model.topic(topic)[partition as usize].append(&batch, Some(&id));
        Ok(())
    }

    async fn offsets(&mut self, group: &str, offsets: &[(TopicPartition, Offset)]) -> Result<(), IoError> {
        let mut model = self.model()?;
        let pending = model.pending.entry(self.id.clone()).or_default();
        pending.open = true;
        for (tp, offset) in offsets {
            pending.offsets.push((group.into(), tp.topic.to_string(), tp.partition.0 as u32, *offset));
        }
        Ok(())
    }

    async fn cursor(&mut self, source: &str, task: u32, cursor: &[u8]) -> Result<(), IoError> {
        let mut model = self.model()?;
        let pending = model.pending.entry(self.id.clone()).or_default();
        pending.open = true;
        pending.cursor = Some(((source.to_owned(), task), cursor.to_vec()));
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), IoError> {
        let mut model = self.model()?;
        let fault = model.faults.pop_front().unwrap_or(Fault::None);
        if fault == Fault::Panic {
            drop(model);
            panic!("the test says so");
        }
        if fault != Fault::LoseCommit {
            model.end(&self.id, true);
        }
        drop(model);
        self.memory.0.changed.notify_waiters();
        match fault {
            Fault::None => Ok(()),
            _ => Err(IoError::Unavailable("the test says no".into())),
        }
    }

    async fn abort(&mut self) -> Result<(), IoError> {
        self.model()?.end(&self.id, false);
        self.memory.0.changed.notify_waiters();
        Ok(())
    }
}

/// A shipped plugin or a guest of the tests.
pub(crate) fn guest(name: &str) -> WasmRef {
    let path = root().join("target/guests/flumen").join(format!("{name}.wasm"));
    let bytes = std::fs::read(&path)
        .unwrap_or_else(|error| panic!("{}: {error}: run plugins/build first", path.display()));
    WasmRef::new(bytes, name)
}

/// The same component under another hash: a custom section of our own at the end.
pub(crate) fn guest_again(name: &str, round: u32) -> WasmRef {
    let mut bytes = guest(name).bytes.to_vec();
    let (section, body) = (b"test", format!("{round:06}"));
    bytes.extend([0, (1 + section.len() + body.len()) as u8, section.len() as u8]);
    bytes.extend_from_slice(section);
    bytes.extend_from_slice(body.as_bytes());
    WasmRef::new(bytes, format!("{name} again ({round})"))
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Compiled plugins are shared between tests and runs.
pub(crate) fn host(memory: &Memory) -> Host {
    host_with(memory, Databases::default())
}

pub(crate) fn host_with(memory: &Memory, databases: Databases) -> Host {
    let options = Options { cache_dir: root().join("target/tmp/plugin-cache") };
    Host::new(options, Arc::new(memory.clone()), databases)
}

pub(crate) fn status(host: &Host, name: &str) -> PluginStatus {
    host.status().into_iter().find(|s| s.name == name).expect("the plugin's status")
}
