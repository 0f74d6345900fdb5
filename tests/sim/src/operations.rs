//! What happens to a store that is open: what clients ask of it, what its threads would do, and time.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use flumen_records::{BatchBuilder, Compression, ControlRecord, NewRecord, control_batch};
use flumen_store::{AppendError, Appended, Bound, Origin, TrimError, Work};
use flumen_types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::coordinators::Step;
use crate::disk::Faults;
use crate::model::{Consumed, Kind, Log, Row, Written, check};
use crate::world::World;

/// Of the records; few, so that compaction finds something to do.
const KEYS: u64 = 6;
const PRODUCERS: u64 = 3;

impl World {
    pub(crate) fn operate(&mut self) -> Result<()> {
        if self.topics.is_empty() {
            return self.create();
        }
        match self.rng.below(100) {
            0..38 => self.produce()?,
            38..44 => self.produce_again()?,
            44..52 => self.end_transaction()?,
            52..60 => self.work(Work::Flush)?,
            60..65 => self.work(Work::Retain)?,
            65..73 => self.work(Work::Compact)?,
            73..75 => self.work(Work::Reap)?,
            75..79 => self.work(Work::Checkpoint)?,
            79..80 => self.work(Work::LookForGaps)?,
            80..84 => self.trim()?,
            84..90 => self.pass_time(),
            90..94 => self.read()?,
            94..95 => self.configure()?,
            95..96 => self.delete()?,
            96..98 => self.create()?,
            98..99 => self.grow()?,
            _ => self.trouble(),
        }
        if self.rng.percent(25) {
            let store = self.store.as_ref().expect("it is open");
            let (rng, clock, disk) = (&mut self.rng, &self.clock, &self.disk);
            self.coordinators.operate(&mut Step { rng, store, clock, disk })?;
        }
        // Usually the flusher is quick.
        if self.rng.percent(60) {
            while self.disk.is_on() && self.store().step(Work::Flush) {
                if self.disk.faults().any() {
                    break;
                }
            }
        }
        Ok(())
    }

    pub(crate) fn some_partition(&mut self) -> Option<(String, usize)> {
        let names: Vec<&String> = self.topics.keys().collect();
        let name = (*self.rng.pick(&names)).clone();
        let n = self.rng.index(self.topics[&name].partitions.len());
        Some((name, n))
    }

    fn log(&mut self, topic: &str, n: usize) -> &mut Log {
        &mut self.topics.get_mut(topic).expect("it is known").partitions[n]
    }

    fn produce(&mut self) -> Result<()> {
        let Some((topic, n)) = self.some_partition() else { return Ok(()) };
        let batch = self.new_batch(&topic, n)?;
        self.append(&topic, n, batch)
    }

    fn rows(&mut self, base: i64) -> Vec<Row> {
        let count = 1 + self.rng.below(4);
        (0..count as i64)
            .map(|n| {
                self.written += 1;
                let length = match self.rng.below(40) {
                    0 => 3000 + self.rng.below(4000),
                    1..8 => self.rng.below(500),
                    _ => self.rng.below(40),
                };
                let value = format!("{}:{}", self.written, "x".repeat(length as usize));
                let late = if self.rng.percent(10) { self.rng.below(5000) as i64 } else { 0 };
                Row {
                    offset: base + n,
                    key: Bytes::from(format!("k{}", self.rng.below(KEYS))),
                    value: (!self.rng.percent(15)).then(|| Bytes::from(value)),
                    timestamp: self.clock.now_ms() - late,
                }
            })
            .collect()
    }

    fn new_batch(&mut self, topic: &str, n: usize) -> Result<Written> {
        let (base, producers) = {
            let log = self.log(topic, n);
            (log.end, log.producers())
        };
        let rows = self.rows(base);
        let mut builder =
            BatchBuilder::new(*self.rng.pick(&[Compression::None, Compression::None, Compression::Lz4]));
        let mut transactional = false;
        let producer = self.rng.percent(65).then(|| {
            let id = 1000 + self.rng.below(PRODUCERS) as i64;
            let state = producers.get(&id).cloned().unwrap_or_default();
            // Who has a transaction open writes nothing else.
            transactional = state.open.is_some() || id != 1000 && self.rng.percent(60);
            let bump = state.open.is_none() && state.last.is_some() && self.rng.percent(5);
            let (epoch, sequence) =
                if bump { (state.epoch + 1, 0) } else { (state.epoch, state.next_sequence) };
            (id, epoch, sequence)
        });
        if let Some((id, epoch, sequence)) = producer {
            builder = builder.producer(ProducerId(id), ProducerEpoch(epoch), Sequence(sequence));
        }
        if transactional {
            builder = builder.transactional();
        }
        for row in &rows {
            builder.push(&NewRecord {
                timestamp: Timestamp(row.timestamp),
                key: Some(&row.key),
                value: row.value.as_deref(),
                headers: &[],
            });
        }
        let (last, at_ms) = (base + rows.len() as i64 - 1, self.clock.now_ms());
        let kind = Kind::Data { transactional };
        Ok(Written { base, last, kind, producer, bytes: builder.build()?, rows, at_ms })
    }

    /// Appends a new batch, or a marker.
    pub(crate) fn append(&mut self, topic: &str, n: usize, batch: Written) -> Result<()> {
        let Some(partition) = self.partition(topic, n) else { return Ok(()) };
        let now = Timestamp(self.clock.now_ms());
        self.note(|| {
            format!(
                "== append to {topic}-{n} {}..={} {:?} {:?}",
                batch.base, batch.last, batch.kind, batch.producer
            )
        });
        let appended = match (batch.kind, batch.producer) {
            (Kind::Marker { commit }, Some((id, epoch, _))) => {
                partition.append_marker(ProducerId(id), ProducerEpoch(epoch), control(commit), now)
            }
            _ => partition.append(batch.bytes.clone(), Origin::Client, now),
        };
        let (excused, on) = (self.is_excused(), self.disk.is_on());
        let log = self.log(topic, n);
        match appended {
            Ok(Appended { base, last, duplicate, .. }) => {
                ensure!(
                    (base.0, last.0, duplicate) == (batch.base, batch.last, false),
                    "it went to {base}..={last}"
                );
                ensure!(!log.failed, "a partition that failed takes an append");
                log.push(batch);
            }
            Err(AppendError::Poisoned) if log.failed || partition.marks().failed => {}
            // It may have been written whole before the power went.
            Err(_) if !on => log.push(batch),
            Err(AppendError::ListTooLarge { .. }) => {}
            Err(AppendError::Storage(_)) if excused => {}
            // What was known of the producer has rotted.
            Err(
                AppendError::InvalidTxnState { .. }
                | AppendError::OutOfOrderSequence { .. }
                | AppendError::InvalidProducerEpoch { .. },
            ) if !log.rotten.is_empty() => {}
            Err(error) => return Err(anyhow::Error::new(error).context(format!("append to {topic}-{n}"))),
        }
        Ok(())
    }

    /// A producer repeats itself, or leaves something out.
    fn produce_again(&mut self) -> Result<()> {
        let Some((topic, n)) = self.some_partition() else { return Ok(()) };
        let Some(partition) = self.partition(&topic, n) else { return Ok(()) };
        let start = partition.marks().start.0;
        let gap = self.rng.percent(30);
        let on = self.disk.is_on();
        let log = self.log(&topic, n);
        if log.failed || !log.rotten.is_empty() || !on {
            return Ok(());
        }
        let now = Timestamp(self.clock.now_ms());
        let log = &self.topics[&topic].partitions[n];
        for (id, producer) in log.producers() {
            let Some(last) = producer.last.map(|place| &log.batches[place]).filter(|last| last.base >= start)
            else {
                continue;
            };
            self.note(|| format!("== {topic}-{n}: producer {id} again at {}", last.base));
            let bytes = if gap { skipping(last, &producer)? } else { last.bytes.clone() };
            let answer = partition.append(bytes, Origin::Client, now);
            if !self.disk.is_on() {
                return Ok(());
            }
            match answer {
                Err(AppendError::OutOfOrderSequence { .. }) if gap => {}
                Err(AppendError::InvalidTxnState { .. }) if gap => {}
                Ok(again) if !gap => {
                    ensure!(
                        again.duplicate,
                        "{topic}-{n}: what {id} repeats at {} is taken again",
                        last.base
                    );
                    ensure!(
                        (again.base.0, again.last.0) == (last.base, last.last),
                        "{topic}-{n}: it was {again:?}"
                    );
                }
                other => bail!("{topic}-{n}: producer {id} at {}, gap {gap}: {other:?}", last.base),
            }
        }
        Ok(())
    }

    fn end_transaction(&mut self) -> Result<()> {
        let Some((topic, n)) = self.some_partition() else { return Ok(()) };
        let producers = self.log(&topic, n).producers();
        let open: Vec<_> = producers.iter().filter(|(_, producer)| producer.open.is_some()).collect();
        if open.is_empty() {
            return Ok(());
        }
        let (id, producer) = *self.rng.pick(&open);
        let (id, epoch, commit) = (*id, producer.epoch, self.rng.percent(55));
        self.end(&topic, n, (id, epoch), commit)
    }

    /// Ends the transaction of a producer with that id and epoch.
    pub(crate) fn end(&mut self, topic: &str, n: usize, (id, epoch): (i64, i16), commit: bool) -> Result<()> {
        let now = self.clock.now_ms();
        let bytes = control_batch(ProducerId(id), ProducerEpoch(epoch), control(commit), Timestamp(now));
        let base = self.log(topic, n).end;
        let (kind, producer) = (Kind::Marker { commit }, Some((id, epoch, -1)));
        let marker = Written { base, last: base, kind, producer, bytes, rows: Vec::new(), at_ms: now };
        self.append(topic, n, marker)
    }

    fn work(&mut self, work: Work) -> Result<()> {
        self.note(|| format!("== {work:?}"));
        let before: Vec<(String, usize, i64)> = self.starts();
        self.store().step(work);
        if matches!(work, Work::Retain | Work::Compact) && self.disk.is_on() {
            self.look_at_retention(&before)?;
            self.look_at_one()?;
        }
        Ok(())
    }

    fn starts(&self) -> Vec<(String, usize, i64)> {
        let all =
            self.topics.iter().flat_map(|(name, topic)| (0..topic.partitions.len()).map(move |n| (name, n)));
        let start =
            |(name, n): (&String, usize)| Some((name.clone(), n, self.partition(name, n)?.marks().start.0));
        all.filter_map(start).collect()
    }

    /// What retention dropped was old enough.
    fn look_at_retention(&self, before: &[(String, usize, i64)]) -> Result<()> {
        for (name, n, from) in before {
            let (Some(partition), Some(topic)) = (self.partition(name, *n), self.topics.get(name)) else {
                continue;
            };
            let (start, config) = (partition.marks().start.0, partition.config());
            let log = &topic.partitions[*n];
            for batch in log.batches.iter().filter(|batch| batch.last >= *from && batch.last < start) {
                ensure!(config.cleanup_policy.delete, "{name}-{n}: retention on a topic that has none");
                // What compaction had taken from it before says nothing of its age.
                if log.compacted {
                    continue;
                }
                let latest = batch.rows.iter().map(|row| row.timestamp).max().unwrap_or(batch.at_ms);
                let age = self.clock.now_ms() - latest;
                ensure!(
                    age >= config.retention.0,
                    "{name}-{n}: {} is dropped at the age of {age} ms",
                    batch.base
                );
            }
        }
        Ok(())
    }

    fn look_at_one(&mut self) -> Result<()> {
        let Some((topic, n)) = self.some_partition() else { return Ok(()) };
        let Some(partition) = self.partition(&topic, n) else { return Ok(()) };
        let how = self.how(false);
        self.take_marks()?;
        let log = self.log(&topic, n);
        let looked = check(&partition, log, how);
        if self.is_excused() { Ok(()) } else { looked.context("while it runs") }
    }

    fn trim(&mut self) -> Result<()> {
        let Some((topic, n)) = self.some_partition() else { return Ok(()) };
        let Some(partition) = self.partition(&topic, n) else { return Ok(()) };
        let marks = partition.marks();
        let to = match self.rng.below(10) {
            0 => Offset::UNKNOWN,
            1 => Offset(marks.high_watermark.0 + 1),
            _ => {
                Offset(marks.start.0 + self.rng.upto((marks.high_watermark.0 - marks.start.0) as u64) as i64)
            }
        };
        self.note(|| format!("== trim {topic}-{n} to {to}"));
        let trimmed = partition.trim(to);
        let excused = self.is_excused();
        let log = self.log(&topic, n);
        if to <= marks.high_watermark {
            log.start_max =
                log.start_max.max(if to == Offset::UNKNOWN { marks.high_watermark.0 } else { to.0 });
        }
        match trimmed {
            Ok(start) => {
                // On a full disk it counts and is written later.
                if !excused {
                    log.start_acked = log.start_acked.max(start.0);
                    log.acked = log.acked.max(start.0);
                }
            }
            Err(TrimError::OutOfRange { .. }) => {
                ensure!(to > marks.high_watermark, "a trim to {to} of {marks:?}")
            }
            Err(TrimError::Storage(_)) if excused || log.failed || partition.marks().failed => {}
            Err(error) => return Err(anyhow::Error::new(error).context(format!("trim {topic}-{n} to {to}"))),
        }
        Ok(())
    }

    fn pass_time(&mut self) {
        let ms = *self.rng.pick(&[1, 100, 1500, 6000, 30_000, 120_000, 700_000]);
        self.note(|| format!("== {ms} ms pass"));
        self.clock.pass(ms);
        if self.rng.percent(20) {
            self.disk.evict();
        }
    }

    /// From anywhere on.
    fn read(&mut self) -> Result<()> {
        let Some((topic, n)) = self.some_partition() else { return Ok(()) };
        let Some(partition) = self.partition(&topic, n) else { return Ok(()) };
        let marks = partition.marks();
        let from = marks.start.0 + self.rng.upto((marks.high_watermark.0 - marks.start.0) as u64) as i64;
        let bound = *self.rng.pick(&[Bound::HighWatermark, Bound::LastStable]);
        let from = if bound == Bound::LastStable { from.min(marks.last_stable.0) } else { from };
        let bytes_max = *self.rng.pick(&[1, 300, 2000]);
        let read = Consumed::read(&partition, from, bound, bytes_max);
        if self.is_excused() {
            return Ok(());
        }
        let read = read.with_context(|| format!("{topic}-{n}"))?;
        let log = self.log(&topic, n);
        let expected: Vec<&Row> = log.batches.iter().flat_map(|batch| &batch.rows).collect();
        for row in &read.all {
            ensure!(expected.contains(&row), "{topic}-{n}: {row:?} was never written");
        }
        Ok(())
    }

    /// A window in which calls fail begins or ends.
    fn trouble(&mut self) {
        if !self.plan.troubled {
            return;
        }
        let none = Faults { short: self.plan.short, ..Faults::default() };
        let faults = if self.disk.faults().any() {
            none
        } else {
            Faults { short: self.plan.short, ..self.plan.trouble }
        };
        self.note(|| format!("== {faults:?}"));
        self.disk.set_faults(faults);
    }
}

fn control(commit: bool) -> ControlRecord {
    match commit {
        true => ControlRecord::Commit { coordinator_epoch: 0 },
        false => ControlRecord::Abort { coordinator_epoch: 0 },
    }
}

/// A batch of the same producer that leaves out a sequence.
fn skipping(last: &Written, producer: &crate::model::Producer) -> Result<Bytes> {
    let (id, epoch, _) = last.producer.unwrap_or((0, 0, 0));
    let sequence = Sequence(producer.next_sequence + 1);
    let mut builder =
        BatchBuilder::new(Compression::None).producer(ProducerId(id), ProducerEpoch(epoch), sequence);
    if producer.open.is_some() {
        builder = builder.transactional();
    }
    builder.push(&NewRecord {
        timestamp: Timestamp(last.at_ms),
        key: Some(b"gap"),
        value: Some(b"gap"),
        headers: &[],
    });
    Ok(builder.build()?)
}
