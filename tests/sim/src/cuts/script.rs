//! What a scenario does to its store: a run's operations, each of them decided and none drawn.
//!
//! Once the power is gone nothing more happens: what is asked for behind that is passed over.

use std::collections::BTreeSet;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flumen_log::checkpoint::{self, Offsets};
use flumen_records::{BatchBuilder, Compression, NewRecord};
use flumen_store::{FileSystem, Finding, Open, OpenError, Question, Repair, Site, Store, Surveyed, Work};
use flumen_types::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicPartition};

use super::is_beside;
use crate::disk::Outage;
use crate::model::{HEAD, Kind, Row, Written};
use crate::plan::{Cleanup, Plan};
use crate::world::{DIR, World};

/// The topic that all scenarios are about.
pub(super) const TOPIC: &str = "t";
/// Of its first partition.
pub(super) const FOLDER: &str = "/data/t-0";
pub(super) const FIRST_LOG: &str = "/data/t-0/00000000000000000000.log";

/// What somebody was told, beside what the logs know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// The store is open.
    Open,
    /// All that is durable is behind a recovery point.
    Checkpointed,
    HandedOver,
    Repaired,
}

pub(super) struct Script {
    pub(super) world: World,
    pub(super) told: BTreeSet<Told>,
    /// Bytes that no start and no repair may remove.
    pub(super) kept: Vec<Vec<u8>>,
    /// How much of the first log the last open has read.
    pub(super) read_by_open: u64,
}

/// A batch of one record.
#[derive(Clone, Copy)]
pub(super) struct Put {
    key: &'static str,
    value_bytes: usize,
    producer: Option<i64>,
    transactional: bool,
    ahead_ms: i64,
}

/// Of a plain producer.
pub(super) fn put(key: &'static str, value_bytes: usize) -> Put {
    Put { key, value_bytes, producer: None, transactional: false, ahead_ms: 0 }
}

impl Put {
    pub(super) fn by(self, producer: i64) -> Put {
        Put { producer: Some(producer), ..self }
    }

    pub(super) fn within(self, producer: i64) -> Put {
        Put { transactional: true, ..self.by(producer) }
    }

    pub(super) fn ahead(self, ahead_ms: i64) -> Put {
        Put { ahead_ms, ..self }
    }
}

impl Script {
    pub(super) fn new(syncfs_over: usize) -> Script {
        let world = World::scripted(Plan::bare(syncfs_over));
        Script { world, told: BTreeSet::new(), kept: Vec::new(), read_by_open: 0 }
    }

    /// The same story on another disk.
    pub(super) fn fork(&self, world: World) -> Script {
        Script { world, told: self.told.clone(), kept: self.kept.clone(), ..*self }
    }

    /// The same where all is the same that counts. The ids of a directory are drawn anew each time.
    pub(super) fn state(&self) -> u64 {
        self.world.disk.fingerprint(|path| !is_beside(path), |path| path.ends_with("/meta.properties"))
    }

    /// All that was promised so far, in words.
    pub(super) fn promises(&self) -> String {
        let logs = self.world.topics.iter().flat_map(|(name, topic)| {
            let marks =
                topic.partitions.iter().map(|log| (log.acked, log.end, log.start_acked, log.start_max));
            marks.map(move |marks| (name, topic.id, &topic.configs, marks))
        });
        format!("{:?} {:?} {:?}", logs.collect::<Vec<_>>(), self.world.doubts, self.told)
    }

    fn step(&mut self, act: impl FnOnce(&mut Script) -> Result<()>) -> Result<()> {
        if !self.world.disk.is_on() {
            return Ok(());
        }
        act(self)?;
        self.world.take_marks()
    }

    /// Looks at everything, too.
    pub(super) fn open(&mut self) -> Result<()> {
        self.step(|script| {
            script.world.note(|| "== open".to_string());
            script.world.disk.forget_reads();
            let opened = Store::open(script.world.options(), Arc::new(()));
            script.read_by_open = script.world.disk.read_bytes(FIRST_LOG);
            match opened {
                Ok(store) => {
                    script.world.store = Some(store);
                    script.told.insert(Told::Open);
                    script.world.look_at_all()
                }
                Err(_) if !script.world.disk.is_on() => Ok(()),
                Err(error) => Err(anyhow::Error::new(error).context("the store does not open")),
            }
        })
    }

    pub(super) fn create(&mut self, cleanup: Cleanup, count: usize, configs: &[(&str, &str)]) -> Result<()> {
        let usual = [
            ("internal.segment.bytes", "700"),
            ("index.interval.bytes", "1"),
            ("file.delete.delay.ms", "0"),
            ("retention.ms", "-1"),
        ];
        let all = usual.iter().chain(configs).map(|(key, value)| ((*key).to_string(), (*value).to_string()));
        let configs = all.collect();
        self.step(|script| script.world.create_topic(TOPIC, cleanup, count, configs))
    }

    pub(super) fn delete(&mut self) -> Result<()> {
        self.step(|script| script.world.delete_topic(TOPIC))
    }

    /// To the first partition.
    pub(super) fn send(&mut self, put: Put) -> Result<()> {
        self.send_to(0, put)
    }

    pub(super) fn send_to(&mut self, n: usize, put: Put) -> Result<()> {
        self.step(|script| {
            let batch = script.batch(n, put)?;
            script.world.append(TOPIC, n, batch)
        })
    }

    /// A batch whose bytes are so many.
    pub(super) fn send_bytes(&mut self, key: &'static str, bytes: usize) -> Result<()> {
        if !self.world.disk.is_on() {
            return Ok(());
        }
        let fits = |value_bytes: &usize| {
            self.batch(0, put(key, *value_bytes)).is_ok_and(|batch| batch.bytes.len() == bytes)
        };
        let value_bytes = (0..bytes).find(fits).context("no batch has so many bytes")?;
        self.send(put(key, value_bytes))
    }

    fn batch(&self, n: usize, put: Put) -> Result<Written> {
        let log = &self.world.topics[TOPIC].partitions[n];
        let producer = put.producer.map(|id| {
            let known = log.producers().get(&id).cloned().unwrap_or_default();
            (id, known.epoch, known.next_sequence)
        });
        let (base, now) = (log.end, self.world.clock.now_ms());
        let value = format!("{base}:{}", "x".repeat(put.value_bytes));
        let (key, value) = (Bytes::from_static(put.key.as_bytes()), Some(Bytes::from(value)));
        let row = Row { offset: base, key, value, timestamp: now + put.ahead_ms };
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some((id, epoch, sequence)) = producer {
            builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
        }
        if put.transactional {
            builder = builder.transactional();
        }
        builder.push(&NewRecord {
            timestamp: Timestamp(row.timestamp),
            key: Some(&row.key),
            value: row.value.as_deref(),
            headers: &[],
        });
        let (kind, bytes) = (Kind::Data { transactional: put.transactional }, builder.build()?);
        Ok(Written { base, last: base, kind, producer, bytes, rows: vec![row], at_ms: now })
    }

    /// Of the first partition.
    pub(super) fn log_bytes(&self) -> usize {
        self.world.topics[TOPIC].partitions[0].batches.iter().map(|batch| batch.bytes.len()).sum()
    }

    /// Nobody may remove the bytes of what was sent last.
    pub(super) fn keep_last(&mut self) {
        let last = self.world.topics[TOPIC].partitions[0].batches.last();
        self.kept.extend(last.map(|batch| batch.bytes[HEAD..].to_vec()));
    }

    /// Of the first partition, as the disk has it; 0 if it has none.
    pub(super) fn recovery_point(&self) -> Result<i64> {
        let path = format!("{DIR}/recovery-point-offset-checkpoint");
        let text = String::from_utf8(self.world.disk.peek(&path).unwrap_or_default())?;
        let points = if text.is_empty() { Offsets::new() } else { checkpoint::read_offsets(&text)? };
        Ok(points.get(&TopicPartition::new(TOPIC, 0)).map_or(0, |point| point.0))
    }

    pub(super) fn abort(&mut self, producer: i64) -> Result<()> {
        self.step(|script| script.world.end(TOPIC, 0, (producer, 0), false))
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        self.step(|script| {
            while script.world.disk.is_on() && script.world.store().step(Work::Flush) {}
            Ok(())
        })
    }

    pub(super) fn work(&mut self, work: Work) -> Result<()> {
        self.step(|script| {
            script.world.note(|| format!("== {work:?}"));
            if work == Work::Checkpoint {
                script.told.remove(&Told::Checkpointed);
            }
            script.world.store().step(work);
            if work == Work::Checkpoint && script.world.disk.is_on() {
                script.told.insert(Told::Checkpointed);
            }
            Ok(())
        })
    }

    pub(super) fn pass(&mut self, ms: i64) {
        self.world.clock.pass(ms);
    }

    pub(super) fn close(&mut self) -> Result<()> {
        self.told.remove(&Told::Open);
        self.step(|script| script.world.close().map(|_| ()))
    }

    /// Of the process alone.
    pub(super) fn kill(&mut self) -> Result<()> {
        self.go_down()?;
        self.told.remove(&Told::Open);
        self.world.disk.power_on(Outage::Kill);
        Ok(())
    }

    /// The power goes; what is `kept` of what was not synced is there.
    pub(super) fn cut(&mut self, kept: impl Fn(&str) -> bool) -> Result<()> {
        self.go_down()?;
        self.told.remove(&Told::Open);
        let atoms = self.world.disk.atoms();
        let kept: Vec<bool> = atoms.iter().map(|atom| kept(&atom.what)).collect();
        self.world.disk = self.world.disk.after(&atoms, &kept, self.world.clock.clone());
        Ok(())
    }

    /// Nothing runs any more: a store that is dropped would sync what it has.
    pub(super) fn go_down(&mut self) -> Result<()> {
        self.world.take_marks()?;
        self.world.disk.power_off();
        self.world.store = None;
        Ok(())
    }

    pub(super) fn cut_at(&self, site: Site) {
        self.world.disk.cut_at_site(site);
    }

    pub(super) fn hand_over(&mut self) -> Result<()> {
        self.step(|script| {
            let handed_over = flumen_store::hand_over(script.world.options());
            if script.world.disk.is_on() {
                handed_over.context("a directory is not handed over")?;
                script.told.insert(Told::HandedOver);
            }
            Ok(())
        })
    }

    /// Everything that is to be repaired.
    pub(super) fn repair(&mut self) -> Result<()> {
        self.step(|script| {
            let repaired = script.repair_all();
            if script.world.disk.is_on() {
                repaired?;
                script.told.insert(Told::Repaired);
            }
            Ok(())
        })
    }

    fn repair_all(&self) -> Result<()> {
        let repair = Repair::begin(Arc::new(self.world.disk.clone()), Path::new(DIR))?;
        for finding in self.found(|question| repair.survey(question))? {
            repair.apply(&finding.remedy).with_context(|| finding.what.clone())?;
        }
        Ok(())
    }

    /// What a survey finds that a repair does something about.
    pub(super) fn found(
        &self,
        survey: impl FnOnce(Question<'_>) -> Result<Surveyed, OpenError>,
    ) -> Result<Vec<Finding>> {
        let mut found = Vec::new();
        survey(Question {
            files: Arc::new(self.world.disk.clone()),
            dir: DIR.into(),
            batch_bytes_max: 1 << 20,
            found: &mut |finding| found.push(finding),
            read: &mut |_| {},
        })?;
        found.retain(|finding| finding.remedy.is_some());
        Ok(found)
    }

    /// Somebody adds bytes to a file.
    pub(super) fn add(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        let file = self.world.disk.open(Path::new(path), Open::OrCreate)?;
        file.write_at(&[IoSlice::new(bytes)], file.stat()?.length)?;
        Ok(())
    }

    /// Somebody removes a folder with what is in it.
    pub(super) fn remove_folder(&mut self, folder: &str) -> Result<()> {
        for path in self.world.disk.files(folder) {
            self.world.disk.remove(Path::new(&path))?;
        }
        Ok(self.world.disk.remove_dir(Path::new(folder))?)
    }

    pub(super) fn has_strays(&self) -> bool {
        let names = self.world.disk.list(Path::new(DIR)).unwrap_or_default();
        names.iter().any(|name| name.to_string_lossy().ends_with("-stray"))
    }

    /// Behind an open: what else holds beside what the logs say.
    pub(super) fn look_around(&self) -> Result<()> {
        for (n, log) in self.world.topics.get(TOPIC).into_iter().flat_map(|t| t.partitions.iter().enumerate())
        {
            let partition = self.world.partition(TOPIC, n).context("a partition is gone")?;
            let known = partition.producers();
            for (id, producer) in log.producers() {
                let found = known.iter().find(|(known, _)| known.0 == id);
                let epoch = found.map(|(_, state)| state.epoch.0);
                ensure!(
                    epoch == Some(producer.epoch),
                    "of producer {id} is known {epoch:?} and not its epoch"
                );
            }
            let epoch = partition.offset_for_epoch(LeaderEpoch(0)).map(|(_, end)| end.0);
            ensure!(log.end == 0 || epoch == Some(log.end), "leader epoch 0 of {n} ends at {epoch:?}");
        }
        Ok(())
    }

    /// What nobody may remove is in some file.
    pub(super) fn look_for_kept(&self) -> Result<()> {
        let files = self.world.disk.files(DIR);
        let contents: Vec<Vec<u8>> = files.iter().filter_map(|path| self.world.disk.peek(path)).collect();
        for kept in &self.kept {
            let is_there =
                contents.iter().any(|content| content.windows(kept.len()).any(|bytes| bytes == kept));
            ensure!(is_there, "{} bytes that were in a log are in no file any more", kept.len());
        }
        Ok(())
    }
}
