//! The broker as plugins see it: the host's io traits over a broker in the same process.
//!
//! Invariants: a plugin reads what is committed, and nothing else; what it writes is one transaction
//! from its first record to its commit. Records are held until then, so that a transaction costs four
//! waits for the disk however many records and partitions it has: partitions added, records and offsets,
//! prepare, markers.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flumen_host::{GroupOffset, IoError, Log, Packed, Producer, Read};
use flumen_protocol::ErrorCode;
use flumen_records::{Batch, BatchBuilder, Compression, ControlRecord, HEADER_LEN, NewRecord, batches};
use flumen_server::coordinator::{Producer as Identity, TxnVersion};
use flumen_server::{
    AbortedTxn, AppendError, Bound, Broker, CURSORS, Origin, PartitionLog, ReadError, durable,
};
use flumen_types::{Millis, Offset, PartitionId, ProducerId, Sequence, TopicPartition};
use tokio::time::Instant;

use super::packing::{self, Stamp};
use crate::clock::now;

/// A transaction is open here from its first append to its end, four waits for the disk. What one that
/// was cut off in between has left hides other records until then, unless a successor ends it before.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of the cursors' topic is read at a time.
const CURSORS_READ: usize = 4 << 20;
const CURSOR_BYTES_MAX: usize = 16 << 20;
/// Beside the offsets that plugins commit: what has none of it was set by a person.
const BY_PUMP: &str = "flumen";

pub(super) struct BrokerLog {
    broker: Broker,
    /// Topics of the file and what they are to be made with.
    declared: Mutex<HashMap<String, Declared>>,
    cursors: Arc<Cursors>,
}

/// What a topic is made with when a plugin is the first to name it.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    pub(super) partitions: Option<i32>,
    pub(super) configs: BTreeMap<String, String>,
}

/// The last committed cursor of each source, as `__flumen_cursors` has them.
#[derive(Default)]
struct Cursors(tokio::sync::Mutex<Option<HashMap<Vec<u8>, Vec<u8>>>>);

impl BrokerLog {
    pub(super) fn new(broker: Broker) -> BrokerLog {
        BrokerLog { broker, declared: Mutex::default(), cursors: Arc::default() }
    }

    pub(super) fn declare(&self, topics: HashMap<String, Declared>) {
        *self.declared.lock().unwrap_or_else(PoisonError::into_inner) = topics;
    }

    async fn partition(&self, topic: &str, partition: u32) -> Result<Arc<dyn PartitionLog>, IoError> {
        let count = self.partitions(topic).await?;
        let found = self.broker.topic(topic);
        let log = found.and_then(|topic| topic.partition(PartitionId(partition as i32)).cloned());
        log.ok_or_else(|| {
            IoError::Refused(format!("topic {topic} has {count} partitions and none numbered {partition}"))
        })
    }
}

#[async_trait]
impl Log for BrokerLog {
    async fn partitions(&self, topic: &str) -> Result<u32, IoError> {
        if let Some(found) = self.broker.topic(topic) {
            return Ok(found.partitions.len() as u32);
        }
        let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner).get(topic).cloned();
        let Declared { partitions, configs } = declared.unwrap_or_default();
        let made = self.broker.ensure_topic(topic, partitions, &configs).await;
        made.map(|record| record.partitions as u32).map_err(|error| IoError::Unavailable(error.to_string()))
    }

    async fn read(
        &self,
        topic: &str,
        partition: u32,
        from: Offset,
        bytes_max: usize,
        wait: Duration,
    ) -> Result<Read, IoError> {
        let log = self.partition(topic, partition).await?;
        let deadline = Instant::now() + wait;
        let mut marks = log.watch();
        loop {
            let end = marks.borrow_and_update().last_stable;
            let read = committed(&*log, from, bytes_max).await?;
            let found = !read.batches.is_empty() || read.next > from;
            if found || read.end > end {
                return Ok(read);
            }
            let moved = marks.wait_for(|marks| marks.last_stable > end || marks.failed);
            match tokio::time::timeout_at(deadline, moved).await {
                Ok(Ok(marks)) if !marks.failed => {}
                Ok(Ok(_)) => return Err(IoError::Unavailable(format!("{}: its disk failed", log.id()))),
                Ok(Err(_)) => return Err(IoError::Unavailable(format!("{}: it is gone", log.id()))),
                Err(_) => return Ok(read),
            }
        }
    }

    async fn topic_id(&self, topic: &str) -> Result<String, IoError> {
        self.partitions(topic).await?;
        let found = self.broker.topic(topic).map(|found| found.id().to_string());
        found.ok_or_else(|| IoError::Unavailable(format!("topic {topic} has just been deleted")))
    }

    async fn committed(
        &self,
        group: &str,
        topic: &str,
        partition: u32,
    ) -> Result<Option<GroupOffset>, IoError> {
        let tp = TopicPartition::new(topic, partition as i32);
        let found = self.broker.groups().committed(group, &tp).await;
        let found = found.map_err(|code| coordinator("reading offsets", code))?;
        Ok(found.map(|found| GroupOffset { offset: found.offset, by_pump: &*found.metadata == BY_PUMP }))
    }

    async fn cursor(&self, source: &str, task: u32) -> Result<Option<Vec<u8>>, IoError> {
        self.cursors.get(&self.broker, &cursor_key(source, task)).await
    }

    async fn producer(&self, transactional_id: &str) -> Result<Box<dyn Producer>, IoError> {
        let timeout = TRANSACTION_TIMEOUT.min(self.broker.options().transaction_timeout_max);
        let transactions = self.broker.transactions();
        let identity = transactions.init_producer(Some(transactional_id), Millis::from(timeout)).await;
        // Whatever an earlier one left open has been decided now; what is remembered may be older.
        self.cursors.forget().await;
        Ok(Box::new(Session {
            broker: self.broker.clone(),
            cursors: self.cursors.clone(),
            id: transactional_id.to_owned(),
            identity: identity.map_err(|code| coordinator("InitProducerId", code))?,
            sequences: HashMap::new(),
            open: Open::default(),
        }))
    }

    async fn open_transactions(&self, prefix: &str) -> Result<Vec<String>, IoError> {
        let listed = self.broker.transactions().list().await;
        let listed = listed.map_err(|code| coordinator("ListTransactions", code))?;
        let open = listed.into_iter().filter(|one| !one.metadata.partitions.is_empty());
        Ok(open.map(|one| one.id.to_string()).filter(|id| id.starts_with(prefix)).collect())
    }

    fn end(&self, topic: &str, partition: u32) -> Option<Offset> {
        let log = self.broker.partition(&TopicPartition::new(topic, partition as i32))?;
        let marks = log.watch();
        let end = marks.borrow().last_stable;
        Some(end)
    }
}

/// Whole data batches of committed transactions from `from` on.
async fn committed(log: &dyn PartitionLog, from: Offset, bytes_max: usize) -> Result<Read, IoError> {
    let read = log
        .read(from, bytes_max, Bound::LastStable, true)
        .await
        .map_err(|error| refused(log, from, &error))?;
    let mut filter = Filter::new(&read.aborted);
    let mut found =
        Read { next: from, end: read.marks.last_stable, start: read.marks.start, batches: Vec::new() };
    for batch in batches(read.bytes) {
        let batch = batch
            .map_err(|error| IoError::Unavailable(format!("{} at {}: {error}", log.id(), found.next)))?;
        found.next = found.next.max(batch.header().next_offset());
        if filter.passes(&batch) && batch.header().records_count > 0 {
            found.batches.push(batch);
        }
    }
    Ok(found)
}

fn refused(log: &dyn PartitionLog, asked: Offset, error: &ReadError) -> IoError {
    match error {
        ReadError::OutOfRange { start, end, .. } => IoError::OutOfRange {
            topic: log.id().topic.clone(),
            partition: log.id().partition.0 as u32,
            asked,
            start: *start,
            end: *end,
        },
        other => IoError::Unavailable(format!("{}: {other}", log.id())),
    }
}

/// Leaves out control batches and what aborted transactions wrote.
struct Filter<'a> {
    /// Not begun yet, the earliest first.
    ahead: std::iter::Peekable<std::slice::Iter<'a, AbortedTxn>>,
    open: HashSet<ProducerId>,
}

impl<'a> Filter<'a> {
    fn new(aborted: &'a [AbortedTxn]) -> Self {
        Filter { ahead: aborted.iter().peekable(), open: HashSet::new() }
    }

    fn passes(&mut self, batch: &Batch) -> bool {
        let header = batch.header();
        while let Some(txn) = self.ahead.next_if(|txn| txn.first_offset <= header.last_offset()) {
            self.open.insert(txn.producer_id);
        }
        if header.is_control() {
            if matches!(batch.control(), Ok(ControlRecord::Abort { .. })) {
                self.open.remove(&header.producer_id);
            }
            return false;
        }
        !(header.is_transactional() && self.open.contains(&header.producer_id))
    }
}

/// One producer's transactions.
struct Session {
    broker: Broker,
    cursors: Arc<Cursors>,
    id: String,
    identity: Identity,
    sequences: HashMap<TopicPartition, Sequence>,
    open: Open,
}

/// What the transaction that is open holds so far.
#[derive(Default)]
struct Open {
    records: Vec<(TopicPartition, Packed)>,
    offsets: BTreeMap<String, Vec<(TopicPartition, Offset)>>,
    cursors: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Open {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.offsets.is_empty() && self.cursors.is_empty()
    }
}

#[async_trait]
impl Producer for Session {
    async fn send(&mut self, topic: &str, partition: u32, records: Packed) -> Result<(), IoError> {
        let found = self.broker.topic(topic);
        if let Some(why) = found.and_then(|found| packing::refused(&records, &found.config, now())) {
            return Err(IoError::Refused(format!("{topic}: {why}")));
        }
        if records.count > 0 {
            self.open.records.push((TopicPartition::new(topic, partition as i32), records));
        }
        Ok(())
    }

    async fn offsets(&mut self, group: &str, offsets: &[(TopicPartition, Offset)]) -> Result<(), IoError> {
        self.open.offsets.entry(group.to_owned()).or_default().extend_from_slice(offsets);
        Ok(())
    }

    async fn cursor(&mut self, source: &str, task: u32, cursor: &[u8]) -> Result<(), IoError> {
        let (key, now) = (cursor_key(source, task), now());
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord { timestamp: now, key: Some(&key), value: Some(cursor), headers: &[] });
        let bytes = builder.build().map_err(|error| IoError::Refused(error.to_string()))?;
        let packed = Packed { base_timestamp: now, count: 1, records: bytes.slice(HEADER_LEN..) };
        self.broker
            .ensure_topic(CURSORS, None, &BTreeMap::new())
            .await
            .map_err(|e| IoError::Unavailable(e.to_string()))?;
        self.open.records.push((TopicPartition::new(CURSORS, 0), packed));
        self.open.cursors.push((key, cursor.to_vec()));
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), IoError> {
        let open = std::mem::take(&mut self.open);
        if open.is_empty() {
            return Ok(());
        }
        match self.write(open).await {
            Ok(cursors) => {
                self.cursors.put(cursors).await;
                Ok(())
            }
            Err(error) => {
                // Readers of these topics need not wait for the next producer of this id. Where there is
                // nothing to abort, or it is decided already, the coordinator says so.
                self.broker.transactions().end(&self.id, self.identity, false, TxnVersion::V1).await.ok();
                Err(error)
            }
        }
    }

    async fn abort(&mut self) -> Result<(), IoError> {
        // Nothing has left this process before the commit.
        self.open = Open::default();
        Ok(())
    }
}

impl Session {
    async fn write(&mut self, open: Open) -> Result<Vec<(Vec<u8>, Vec<u8>)>, IoError> {
        let transactions = self.broker.transactions().clone();
        let mut logs = HashMap::new();
        for (tp, _) in &open.records {
            if !logs.contains_key(tp) {
                logs.insert(tp.clone(), self.log(tp)?);
            }
        }
        let partitions: Vec<TopicPartition> = logs.keys().cloned().collect();
        let mut groups = open.offsets.keys();
        let first = groups.next().map(String::as_str);
        let added = transactions.add_all(&self.id, self.identity, &partitions, first).await;
        added.map_err(|code| coordinator("AddPartitionsToTxn", code))?;
        for group in groups {
            let added = transactions.add_offsets(&self.id, self.identity, group, TxnVersion::V1).await;
            added.map_err(|code| coordinator("AddOffsetsToTxn", code))?;
        }

        let mut written = Vec::new();
        for (tp, packed) in &open.records {
            let Some(log) = logs.get(tp) else { continue };
            for batch in self.batches(tp, packed)? {
                let appended =
                    log.append(batch, Origin::Client, now()).map_err(|error| append(tp, &error))?;
                written.push((log.watch(), appended.last, tp.clone()));
            }
        }
        for (group, offsets) in &open.offsets {
            let committed = self.broker.groups().txn_commit(group, self.identity, offsets, BY_PUMP).await;
            committed.map_err(|code| coordinator("TxnOffsetCommit", code))?;
        }
        for (marks, last, tp) in written {
            if !durable(marks, last).await {
                return Err(IoError::Unavailable(format!("{tp}: its disk failed")));
            }
        }
        let ended = transactions.end(&self.id, self.identity, true, TxnVersion::V1).await;
        ended.map_err(|code| coordinator("EndTxn", code))?;
        Ok(open.cursors)
    }

    fn log(&self, tp: &TopicPartition) -> Result<Arc<dyn PartitionLog>, IoError> {
        self.broker.partition(tp).ok_or_else(|| IoError::Unavailable(format!("there is no partition {tp}")))
    }

    fn bytes_max(&self, topic: &str) -> usize {
        self.broker.topic(topic).map_or(1 << 20, |topic| topic.config.max_message_bytes)
    }

    fn batches(&mut self, tp: &TopicPartition, packed: &Packed) -> Result<Vec<Bytes>, IoError> {
        let bytes_max = self.bytes_max(&tp.topic);
        let sequence = self.sequences.entry(tp.clone()).or_insert(Sequence(0));
        let stamp = Stamp { id: self.identity.id, epoch: self.identity.epoch, sequence: *sequence };
        let (made, next) = packing::batches(packed, stamp, bytes_max)
            .map_err(|error| IoError::Refused(error.to_string()))?;
        *sequence = next;
        Ok(made)
    }
}

fn append(tp: &TopicPartition, error: &AppendError) -> IoError {
    match error {
        AppendError::OutOfOrderSequence { .. }
        | AppendError::InvalidProducerEpoch { .. }
        | AppendError::InvalidTxnState { .. }
        | AppendError::CoordinatorFenced { .. } => IoError::Fenced,
        AppendError::Corrupt(_)
        | AppendError::InvalidRecord(_)
        | AppendError::UnsupportedMagic(_)
        | AppendError::TooLarge { .. }
        | AppendError::ListTooLarge { .. }
        | AppendError::InvalidTimestamp { .. } => IoError::Refused(format!("{tp}: {}", chain(error))),
        AppendError::Storage(_) | AppendError::Poisoned | AppendError::Closed => {
            IoError::Unavailable(format!("{tp}: {}", chain(error)))
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

fn coordinator(what: &str, code: ErrorCode) -> IoError {
    match code {
        ErrorCode::ProducerFenced | ErrorCode::InvalidProducerEpoch | ErrorCode::InvalidProducerIdMapping => {
            IoError::Fenced
        }
        code => IoError::Unavailable(format!("{what}: {code:?}")),
    }
}

/// Source and task, as the key of its record.
fn cursor_key(source: &str, task: u32) -> Vec<u8> {
    format!("{source}/{task}").into_bytes()
}

impl Cursors {
    async fn get(&self, broker: &Broker, key: &[u8]) -> Result<Option<Vec<u8>>, IoError> {
        let mut known = self.0.lock().await;
        let all = match &mut *known {
            Some(all) => all,
            None => known.insert(load(broker).await?),
        };
        Ok(all.get(key).cloned())
    }

    async fn put(&self, cursors: Vec<(Vec<u8>, Vec<u8>)>) {
        if let Some(known) = &mut *self.0.lock().await {
            known.extend(cursors);
        }
    }

    async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

type Entries = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Reads past transactions that are still open: one source's must not hide another's committed cursor.
async fn load(broker: &Broker) -> Result<HashMap<Vec<u8>, Vec<u8>>, IoError> {
    let mut all = HashMap::new();
    let Some(log) = broker.partition(&TopicPartition::new(CURSORS, 0)) else { return Ok(all) };
    let mut open: HashMap<ProducerId, Entries> = HashMap::new();
    let mut at = log.marks().start;
    loop {
        let read = log.read(at, CURSORS_READ, Bound::HighWatermark, true).await;
        let read = read.map_err(|error| refused(&*log, at, &error))?;
        let before = at;
        for batch in batches(read.bytes) {
            let batch = batch.map_err(|error| IoError::Unavailable(format!("{CURSORS} at {at}: {error}")))?;
            at = at.max(batch.header().next_offset());
            let id = batch.header().producer_id;
            if batch.header().is_control() {
                let ended = open.remove(&id).unwrap_or_default();
                if matches!(batch.control(), Ok(ControlRecord::Commit { .. })) {
                    put_all(&mut all, ended);
                }
                continue;
            }
            let entries = entries(&batch)?;
            if batch.header().is_transactional() {
                open.entry(id).or_default().extend(entries);
            } else {
                put_all(&mut all, entries);
            }
        }
        if at <= before {
            return Ok(all);
        }
    }
}

fn entries(batch: &Batch) -> Result<Entries, IoError> {
    let wrong = |error| IoError::Unavailable(format!("{CURSORS}: {error}"));
    let mut found = Vec::new();
    for record in &batch.records(CURSOR_BYTES_MAX).map_err(wrong)? {
        let record = record.map_err(wrong)?;
        found.extend(record.key.map(|key| (key.to_vec(), record.value.map(<[u8]>::to_vec))));
    }
    Ok(found)
}

fn put_all(all: &mut HashMap<Vec<u8>, Vec<u8>>, entries: Entries) {
    for (key, value) in entries {
        match value {
            Some(value) => all.insert(key, value),
            None => all.remove(&key),
        };
    }
}

#[cfg(test)]
mod tests;
