//! The pure coordinators over logs of the store: what `server/coordinator` does, without its waiting.
//!
//! A step decides, appends its records, applies them; what must be durable before the next step is flushed
//! first. After each start both shards are rebuilt from what the logs say, compaction and all, and must be
//! what the appended changes make of them, up to the end that the logs have; that end is not before what
//! was acknowledged. A transaction that is complete in one log has left nothing pending in the other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flumen_groups::group::Options;
use flumen_groups::txn::{InitRequest, Transaction, TxnShard};
use flumen_groups::{Committed, Committer, GroupEntry, GroupShard, Record, TxnEntry, TxnMetadata, TxnStatus};
use flumen_groups::{consumer, share, streams};
use flumen_records::{BatchBuilder, Compression, ControlRecord, NewRecord};
use flumen_store::{AppendError, Bound, Origin, Partition, Store, Work};
use flumen_types::{
    LeaderEpoch, Millis, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicPartition,
};

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::model::Consumed;
use crate::rng::Rng;

const OFFSETS: &str = "__consumer_offsets";
const TRANSACTIONS: &str = "__transaction_state";
/// A group, and a transactional id, each.
const COUNT: u64 = 3;

/// What was appended to a log, from an offset on.
enum Change {
    Group { entries: Vec<GroupEntry>, producer: Option<ProducerId> },
    Marker { producer: ProducerId, commit: bool },
    Transaction { id: Arc<str>, metadata: TxnMetadata },
}

#[derive(Default)]
struct History {
    changes: BTreeMap<i64, Change>,
    acked: i64,
}

pub(crate) struct Coordinators {
    on: bool,
    groups: GroupShard,
    transactions: TxnShard,
    offsets: History,
    states: History,
    committed: i64,
    /// Since the last start.
    rebuilt: bool,
}

/// What a step works with.
pub(crate) struct Step<'a> {
    pub(crate) rng: &'a mut Rng,
    pub(crate) store: &'a Store,
    pub(crate) clock: &'a SimClock,
    pub(crate) disk: &'a SimDisk,
}

impl Coordinators {
    pub(crate) fn new(on: bool) -> Coordinators {
        let (groups, transactions) = (GroupShard::new(Options::default()), TxnShard::default());
        Coordinators {
            on,
            groups,
            transactions,
            offsets: History::default(),
            states: History::default(),
            committed: 0,
            rebuilt: false,
        }
    }

    /// Its topics are not the rest's.
    pub(crate) fn owns(&self, topic: &str) -> bool {
        [OFFSETS, TRANSACTIONS].contains(&topic)
    }

    /// The store is another.
    pub(crate) fn begin(&mut self) {
        self.rebuilt = false;
    }

    pub(crate) fn take_marks(&mut self, store: &Store) {
        // What the log ends with may have a gap before it, which nobody has looked for yet.
        if !self.rebuilt {
            return;
        }
        for (topic, history) in [(OFFSETS, &mut self.offsets), (TRANSACTIONS, &mut self.states)] {
            if let Some(partition) = partition(store, topic) {
                history.acked = history.acked.max(partition.marks().high_watermark.0);
            }
        }
    }

    pub(crate) fn operate(&mut self, step: &mut Step<'_>) -> Result<()> {
        if !self.on || !step.disk.is_on() {
            return Ok(());
        }
        let (Some(offsets), Some(states)) =
            (partition(step.store, OFFSETS), partition(step.store, TRANSACTIONS))
        else {
            return make_topics(step);
        };
        let n = step.rng.below(COUNT);
        if step.rng.percent(50) {
            self.commit(step, &offsets, n, None)
        } else {
            self.go_on(step, &offsets, &states, n)
        }
    }

    /// A group's consumer commits.
    fn commit(
        &mut self,
        step: &mut Step<'_>,
        log: &Partition,
        n: u64,
        producer: Option<ProducerId>,
    ) -> Result<()> {
        self.committed += 1;
        let now = Timestamp(step.clock.now_ms());
        let committed = Committed {
            offset: Offset(self.committed),
            leader_epoch: LeaderEpoch(0),
            metadata: "m".into(),
            committed_at: now,
            expires_at: None,
        };
        let at = TopicPartition::new("t", step.rng.below(2) as i32);
        let (entries, _) = self.groups.commit(
            &format!("g{n}"),
            &Committer::simple(),
            vec![(at, committed)],
            producer.is_some(),
            &Default::default(),
            now,
        )?;
        let records = entries.iter().filter_map(GroupEntry::record).collect();
        let change = Change::Group { entries, producer };
        step.disk.note(|| format!("== group g{n} commits {} {producer:?}", self.committed));
        self.append(step, log, records, producer, change)
    }

    /// A transactional producer takes its next step.
    fn go_on(&mut self, step: &mut Step<'_>, offsets: &Partition, states: &Partition, n: u64) -> Result<()> {
        let id: Arc<str> = format!("x{n}").into();
        let now = Timestamp(step.clock.now_ms());
        let known = self.transactions.get(&id).map(|transaction| transaction.metadata().clone());
        let Some(metadata) = known else {
            let request =
                InitRequest { timeout: Millis(60_000), expected: None, fresh: ProducerId(9000 + n as i64) };
            return self.write(step, states, id, Transaction::first(&request, now));
        };
        let producer = metadata.producer_id;
        step.disk.note(|| format!("== transaction {id}: {:?}", metadata.status));
        match metadata.status {
            TxnStatus::Ongoing if step.rng.percent(50) => match flushed(step, states) {
                // That it has begun was told to the client, which sends offsets then.
                true => self.commit(step, offsets, n, Some(producer)),
                false => Ok(()),
            },
            TxnStatus::Ongoing => {
                let commit = step.rng.percent(60);
                let status = if commit { TxnStatus::PrepareCommit } else { TxnStatus::PrepareAbort };
                self.write(step, states, id, TxnMetadata { status, updated_at: now, ..metadata })
            }
            TxnStatus::PrepareCommit | TxnStatus::PrepareAbort => {
                // What is decided is durable before it is done, and what is done before that is told.
                if flushed(step, states) {
                    self.mark(step, offsets, &metadata)?;
                }
                let done = self.transactions.get(&id).and_then(|transaction| transaction.complete(now));
                match done {
                    Some(done) if flushed(step, offsets) && !self.is_pending(n) => {
                        self.write(step, states, id, done)
                    }
                    _ => Ok(()),
                }
            }
            _ => {
                let partitions = [TopicPartition::new(OFFSETS, 0)].into();
                let status = TxnStatus::Ongoing;
                self.write(step, states, id, TxnMetadata { status, partitions, updated_at: now, ..metadata })
            }
        }
    }

    fn mark(&mut self, step: &Step<'_>, log: &Partition, metadata: &TxnMetadata) -> Result<()> {
        let commit = metadata.status == TxnStatus::PrepareCommit;
        let control = match commit {
            true => ControlRecord::Commit { coordinator_epoch: 0 },
            false => ControlRecord::Abort { coordinator_epoch: 0 },
        };
        let (producer, end) = (metadata.producer_id, log.marks().end.0);
        let now = Timestamp(step.clock.now_ms());
        let marked = log.append_marker(producer, metadata.epoch, control, now).map(|appended| appended.base);
        self.took(step, log, end, marked, Change::Marker { producer, commit })
    }

    fn write(&mut self, step: &Step<'_>, log: &Partition, id: Arc<str>, metadata: TxnMetadata) -> Result<()> {
        let record = Record::transaction(&id, Some(&metadata));
        self.append(step, log, vec![record], None, Change::Transaction { id, metadata })
    }

    fn append(
        &mut self,
        step: &Step<'_>,
        log: &Partition,
        records: Vec<Record>,
        producer: Option<ProducerId>,
        change: Change,
    ) -> Result<()> {
        let now = Timestamp(step.clock.now_ms());
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some(producer) = producer {
            builder = builder.producer(producer, ProducerEpoch(0), Sequence::NONE).transactional();
        }
        for record in &records {
            let (key, value) = (Some(&*record.key), record.value.as_deref());
            builder.push(&NewRecord { timestamp: now, key, value, headers: &[] });
        }
        let end = log.marks().end.0;
        let appended = log.append(builder.build()?, Origin::Coordinator, now).map(|appended| appended.base);
        self.took(step, log, end, appended, change)
    }

    /// It is in the log, or not, or nobody knows.
    fn took(
        &mut self,
        step: &Step<'_>,
        log: &Partition,
        end: i64,
        appended: Result<Offset, AppendError>,
        change: Change,
    ) -> Result<()> {
        let history = if &*log.id().topic == OFFSETS { &mut self.offsets } else { &mut self.states };
        match appended {
            Ok(base) => {
                ensure!(base.0 == end, "{} gives offset {base} at its end {end}", log.id());
                apply(&mut self.groups, &mut self.transactions, base.0, &change);
            }
            Err(_) if !step.disk.is_on() => {}
            Err(AppendError::Poisoned) => return Ok(()),
            Err(_) if step.disk.faults().any() => return Ok(()),
            Err(error) => return Err(anyhow::Error::new(error).context(format!("append to {}", log.id()))),
        }
        history.changes.insert(end, change);
        Ok(())
    }

    fn is_pending(&self, n: u64) -> bool {
        let all = [0, 1].map(|partition| TopicPartition::new("t", partition));
        self.groups.fetch(&format!("g{n}"), Some(&all), true).iter().any(|fetched| fetched.found.is_err())
    }

    /// After a start: both as the logs say, which must be as it was.
    pub(crate) fn rebuild(&mut self, store: &Store, clock: &SimClock) -> Result<()> {
        let now = Timestamp(clock.now_ms());
        let mut expected = (GroupShard::new(Options::default()), TxnShard::default());
        for (topic, history) in [(OFFSETS, &mut self.offsets), (TRANSACTIONS, &mut self.states)] {
            let end = partition(store, topic).map_or(0, |partition| partition.marks().end.0);
            ensure!(end >= history.acked, "{topic} ends at {end}, acknowledged were {}", history.acked);
            // The logs are compacted: behind what was acknowledged there may be a gap where appends were lost.
            let there: BTreeSet<i64> =
                read(store, topic)?.batches.iter().map(|batch| batch.header().base_offset.0).collect();
            let unsure = history.acked..;
            history.changes.retain(|at, _| *at < end && (!unsure.contains(at) || there.contains(at)));
            history.acked = end;
            for (at, change) in &history.changes {
                apply(&mut expected.0, &mut expected.1, *at, change);
            }
        }
        self.groups = GroupShard::new(Options::default());
        self.transactions = TxnShard::default();
        self.replay_groups(store, now).context(OFFSETS)?;
        self.replay_transactions(store).context(TRANSACTIONS)?;
        for n in 0..COUNT {
            self.compare(&expected.0, &expected.1, n)?;
        }
        self.rebuilt = true;
        Ok(())
    }

    fn compare(&self, groups: &GroupShard, transactions: &TxnShard, n: u64) -> Result<()> {
        let (group, id) = (format!("g{n}"), format!("x{n}"));
        let all = [0, 1].map(|partition| TopicPartition::new("t", partition));
        for stable in [false, true] {
            let [is, was] = [&self.groups, groups].map(|shard| shard.fetch(&group, Some(&all), stable));
            ensure!(is == was, "{group} has {is:?} and not {was:?}");
        }
        let of = |shard: &TxnShard| shard.get(&id).map(|transaction| transaction.metadata().clone());
        let (is, was) = (of(&self.transactions), of(transactions));
        ensure!(is == was, "{id} is {is:?} and not {was:?}");
        let complete = [TxnStatus::Empty, TxnStatus::CompleteCommit, TxnStatus::CompleteAbort];
        if is.as_ref().is_some_and(|metadata| complete.contains(&metadata.status)) {
            ensure!(!self.is_pending(n), "{id} is {is:?}, and offsets of {group} are still pending");
        }
        Ok(())
    }

    fn replay_groups(&mut self, store: &Store, now: Timestamp) -> Result<()> {
        for batch in read(store, OFFSETS)?.batches {
            let header = batch.header();
            if header.is_control() {
                if header.records_count > 0 {
                    let commit = matches!(batch.control()?, ControlRecord::Commit { .. });
                    self.groups.end_transaction(header.producer_id, commit, header.base_offset);
                }
                continue;
            }
            let producer = header.is_transactional().then_some(header.producer_id);
            for record in &batch.records(1 << 20)? {
                let record = record?;
                let (key, value) = pair(record.key, record.value);
                let at = header.base_offset.plus(record.offset_delta.into());
                self.groups.replay(&GroupEntry::read(&key, value.as_ref())?, producer, at, now);
            }
        }
        self.groups.loaded(
            now,
            |_| consumer::Options::default(),
            |_| share::Options::default(),
            |_| streams::Options::default(),
        );
        Ok(())
    }

    fn replay_transactions(&mut self, store: &Store) -> Result<()> {
        for batch in read(store, TRANSACTIONS)?.batches {
            for record in &batch.records(1 << 20)? {
                let record = record?;
                let (key, value) = pair(record.key, record.value);
                if let TxnEntry::Transaction { id, metadata } = TxnEntry::read(&key, value.as_ref())? {
                    self.transactions.apply(&id, metadata);
                }
            }
        }
        Ok(())
    }
}

fn apply(groups: &mut GroupShard, transactions: &mut TxnShard, at: i64, change: &Change) {
    match change {
        Change::Group { entries, producer } => {
            for (n, entry) in entries.iter().enumerate() {
                groups.apply(entry, *producer, Offset(at + n as i64), Timestamp(0));
            }
        }
        Change::Marker { producer, commit } => groups.end_transaction(*producer, *commit, Offset(at)),
        Change::Transaction { id, metadata } => transactions.apply(id, Some(metadata.clone())),
    }
}

fn make_topics(step: &Step<'_>) -> Result<()> {
    for (n, topic) in [OFFSETS, TRANSACTIONS].into_iter().enumerate() {
        if partition(step.store, topic).is_some() {
            continue;
        }
        let configs = [
            ("cleanup.policy", "compact"),
            ("internal.segment.bytes", "600"),
            ("min.cleanable.dirty.ratio", "0"),
            ("file.delete.delay.ms", "0"),
        ];
        let configs = configs.map(|(key, value)| (key.to_string(), value.to_string())).into();
        let id = TopicId(uuid::Uuid::from_u128(0xc000 + n as u128));
        match step.store.create_topic(topic, id, 1, configs) {
            Err(_) if !step.disk.is_on() || step.disk.faults().any() => return Ok(()),
            made => made.map(|_| ()).with_context(|| format!("making {topic}"))?,
        }
    }
    Ok(())
}

/// Whether all of a log is durable now.
fn flushed(step: &Step<'_>, log: &Partition) -> bool {
    while log.marks().high_watermark < log.marks().end {
        if log.marks().failed || !step.disk.is_on() || !step.store.step(Work::Flush) {
            return false;
        }
    }
    true
}

fn partition(store: &Store, topic: &str) -> Option<Arc<Partition>> {
    store.partition(&TopicPartition::new(topic, 0))
}

fn read(store: &Store, topic: &str) -> Result<Consumed> {
    match partition(store, topic) {
        Some(partition) => Consumed::read(&partition, partition.marks().start.0, Bound::LogEnd, 4096),
        None => Ok(Consumed::default()),
    }
}

fn pair(key: Option<&[u8]>, value: Option<&[u8]>) -> (Bytes, Option<Bytes>) {
    (Bytes::copy_from_slice(key.unwrap_or_default()), value.map(Bytes::copy_from_slice))
}
