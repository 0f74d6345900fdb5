//! One run: a store on a simulated disk, what it should hold, and what happens to both.
//!
//! ```text
//! power on -> open -> look at everything -> operations ... -> the power goes, or a clean stop -> power on -> ...
//! ```
//!
//! Invariants: single-threaded, and nothing but the seed decides what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use flumen_log::checkpoint;
use flumen_store::{Options, Partition, Site, Store, Threads};
use flumen_types::{ByteSize, Millis, TopicId, TopicPartition};

use crate::clock::SimClock;
use crate::coordinators::Coordinators;
use crate::disk::{Faults, Outage, SimDisk, Trouble};
use crate::model::{Checked, Log, adopt, check};
use crate::plan::{Cleanup, Configs, Plan};
use crate::rng::Rng;

pub(crate) const DIR: &str = "/data";

/// What a topic is to be.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    pub(crate) id: TopicId,
    pub(crate) cleanup: Cleanup,
    pub(crate) configs: Configs,
    pub(crate) partitions: Vec<Log>,
}

/// What may have become of a topic: a change of it was refused, or cut short, and the next start decides.
#[derive(Clone, Debug)]
pub(crate) enum Doubt {
    New(Box<Topic>),
    Gone,
    Configs(Configs),
    Partitions(usize),
}

impl Doubt {
    /// The topic, should it have come true.
    fn applied(self, now: Option<&Topic>) -> Option<Topic> {
        match (self, now.cloned()) {
            (Doubt::New(topic), _) => Some(*topic),
            (Doubt::Gone, _) => None,
            (Doubt::Configs(configs), now) => now.map(|now| Topic { configs, ..now }),
            (Doubt::Partitions(count), now) => now.map(|mut now| {
                now.partitions.resize(count, now.cleanup.log());
                now
            }),
        }
    }
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) clock: SimClock,
    pub(crate) disk: SimDisk,
    pub(crate) plan: Plan,
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) doubts: BTreeMap<String, Vec<Doubt>>,
    pub(crate) store: Option<Store>,
    pub(crate) coordinators: Coordinators,
    pub(crate) ids: u64,
    /// Of the records' values.
    pub(crate) written: u64,
}

/// How many calls a run took, and what went wrong in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub calls: u64,
    pub starts: u64,
    pub troubles: BTreeMap<Trouble, u64>,
}

impl World {
    pub(crate) fn new(seed: u64) -> World {
        let mut rng = Rng::new(seed);
        let clock = SimClock::new();
        let plan = Plan::new(&mut rng);
        let disk = SimDisk::new(seed, clock.clone());
        let coordinators = Coordinators::new(rng.percent(40));
        World { coordinators, ..World::with(rng, clock, disk, plan) }
    }

    fn with(rng: Rng, clock: SimClock, disk: SimDisk, plan: Plan) -> World {
        World {
            rng,
            clock,
            disk,
            plan,
            topics: BTreeMap::new(),
            doubts: BTreeMap::new(),
            store: None,
            coordinators: Coordinators::new(false),
            ids: 0,
            written: 0,
        }
    }

    /// One that a script moves.
    pub(crate) fn scripted(plan: Plan) -> World {
        let clock = SimClock::new();
        World::with(Rng::new(0), clock.clone(), SimDisk::new(0, clock), plan)
    }

    /// What is known here, with another disk under it.
    pub(crate) fn fork(&self, disk: SimDisk, clock: SimClock) -> World {
        World {
            topics: self.topics.clone(),
            doubts: self.doubts.clone(),
            ids: self.ids,
            written: self.written,
            ..World::with(self.rng.clone(), clock, disk, self.plan.clone())
        }
    }

    pub(crate) fn leave_out(&mut self, site: Option<Site>) {
        self.disk.leave_out(site);
    }

    pub(crate) fn run(&mut self) -> Result<Tally> {
        let mut tally = Tally::default();
        for outage in 0..=self.plan.outages {
            let last = outage == self.plan.outages;
            self.start(!last).with_context(|| format!("start {outage}"))?;
            tally.starts += 1;
            if last {
                break;
            }
            self.live().with_context(|| format!("behind start {outage}"))?;
            self.go_down().with_context(|| format!("end of start {outage}"))?;
        }
        // Once more, from a clean stop, with what a stop writes.
        self.settle()?;
        self.close()?;
        self.disk.power_on(Outage::Nothing);
        self.start(false).context("the start after a clean stop")?;
        self.store = None;
        (tally.calls, tally.troubles) = (self.disk.calls(), self.disk.troubles());
        Ok(tally)
    }

    pub(crate) fn note(&self, line: impl FnOnce() -> String) {
        self.disk.note(line);
    }

    pub(crate) fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    pub(crate) fn partition(&self, topic: &str, n: usize) -> Option<Arc<Partition>> {
        self.store().partition(&TopicPartition::new(topic, n as i32))
    }

    /// Whether a refusal of the store's needs no other reason.
    pub(crate) fn is_excused(&self) -> bool {
        !self.disk.is_on() || self.disk.faults().any()
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            files: Arc::new(self.disk.clone()),
            clock: Arc::new(self.clock.clone()),
            threads: Threads::Driven,
            syncfs_over: self.plan.syncfs_over,
            open_files_max: self.plan.open_files_max,
            cache_hot_window: Some(ByteSize(1 << 30)),
            producer_expiration: Millis(i64::MAX >> 1),
            ..Options::new(DIR)
        }
    }

    /// Opens, over as many power cuts on the way as come, and looks at everything.
    fn start(&mut self, cuts: bool) -> Result<()> {
        for attempt in 0.. {
            if cuts && attempt < 3 {
                // Often in the midst of the recovery.
                let bits = if self.rng.percent(40) { 8 } else { 13 };
                self.disk.cut_in(self.rng.log_uniform(bits));
            }
            if cuts && attempt < 2 && self.plan.troubled && self.rng.percent(20) {
                self.disk.set_faults(self.plan.trouble);
            }
            self.note(|| "== open".to_string());
            self.disk.set_faults(Faults { short: self.plan.short, ..self.disk.faults() });
            let opened = Store::open(self.options(), Arc::new(()));
            match opened {
                Ok(store) => {
                    self.store = Some(store);
                    self.disk.set_faults(Faults { short: self.plan.short, ..Faults::default() });
                    break;
                }
                Err(error) if self.is_excused() => {
                    self.note(|| format!("   refused: {error}"));
                    let outage = if self.disk.is_on() { Outage::Kill } else { self.some_outage() };
                    self.disk.power_on(outage);
                }
                Err(error) => return Err(anyhow::Error::new(error).context("the store does not open")),
            }
        }
        self.look_at_all()
    }

    fn some_outage(&mut self) -> Outage {
        match self.rng.below(10) {
            0..2 => Outage::Kill,
            2..4 => Outage::Nothing,
            4..7 => Outage::Part,
            _ => Outage::PartByFolder,
        }
    }

    /// Everything is what it should be, just after an open. Should the power have gone at its very end, what it
    /// tells without a disk counts all the same.
    pub(crate) fn look_at_all(&mut self) -> Result<()> {
        self.coordinators.begin();
        self.settle_doubts()?;
        let how = self.how(true);
        let disk = self.disk.clone();
        for (tp, partition, log) in self.all() {
            let partition = partition.with_context(|| format!("{tp} is gone"))?;
            let failed = disk.files(&format!("{DIR}/{tp}")).iter().any(|path| disk.has_failed(path));
            adopt(&partition, log, failed).with_context(|| format!("{tp}: {:?}", partition.marks()))?;
        }
        for (name, topic) in &mut self.topics {
            for (n, log) in topic.partitions.iter_mut().enumerate() {
                let tp = TopicPartition::new(name.as_str(), n as i32);
                let store = self.store.as_ref().expect("it is open");
                let partition = store.partition(&tp).with_context(|| format!("{tp} is gone"))?;
                let looked = check(&partition, log, how);
                if !self.disk.is_on() {
                    return Ok(());
                }
                looked?;
            }
        }
        self.look_at_checkpoints()?;
        let (store, clock) = (self.store.as_ref().expect("it is open"), &self.clock);
        let rebuilt = self.coordinators.rebuild(store, clock);
        if self.disk.is_on() { rebuilt } else { Ok(()) }
    }

    pub(crate) fn how(&mut self, opened: bool) -> Checked {
        let bytes_max = *self.rng.pick(&[1, 300, 2000, 1 << 20]);
        Checked { opened, now_ms: self.clock.now_ms(), bytes_max }
    }

    /// Every partition that is known, with what it should be.
    fn all(&mut self) -> Vec<(TopicPartition, Option<Arc<Partition>>, &mut Log)> {
        let store = self.store.as_ref().expect("it is open");
        let mut all = Vec::new();
        for (name, topic) in &mut self.topics {
            for (n, log) in topic.partitions.iter_mut().enumerate() {
                let tp = TopicPartition::new(name.as_str(), n as i32);
                let partition = store.partition(&tp);
                all.push((tp, partition, log));
            }
        }
        all
    }

    /// The catalogue is what was acknowledged, or what may have come true of a change that was not.
    fn settle_doubts(&mut self) -> Result<()> {
        let mut there: BTreeMap<String, _> =
            self.store().topics().into_iter().map(|record| (record.name.clone(), record)).collect();
        let names: BTreeSet<String> = self.topics.keys().chain(self.doubts.keys()).cloned().collect();
        for name in names {
            let found = there.remove(&name);
            let known = self.topics.get(&name).cloned();
            let mut may_be = vec![known];
            let doubts = self.doubts.remove(&name).unwrap_or_default();
            may_be.extend(doubts.into_iter().map(|doubt| doubt.applied(self.topics.get(&name))));
            let is = may_be.into_iter().find(|topic| match (topic, &found) {
                (None, None) => true,
                (Some(topic), Some(found)) => {
                    (topic.id, topic.partitions.len(), &topic.configs)
                        == (found.id, found.partitions as usize, &found.configs)
                }
                _ => false,
            });
            match is {
                Some(Some(topic)) => _ = self.topics.insert(name, topic),
                Some(None) => _ = self.topics.remove(&name),
                None => bail!(
                    "topic {name} is {found:?} and not {:?}",
                    self.topics.get(&name).map(|t| &t.configs)
                ),
            }
        }
        there.retain(|name, _| !self.coordinators.owns(name));
        ensure!(there.is_empty(), "topics that nobody made: {:?}", there.keys());
        Ok(())
    }

    /// They can be read, and say nothing that is not so.
    fn look_at_checkpoints(&self) -> Result<()> {
        for name in
            ["recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "cleaner-offset-checkpoint"]
        {
            let Some(content) = self.disk.peek(&format!("{DIR}/{name}")) else { continue };
            let text = String::from_utf8(content).with_context(|| format!("{name} is no text"))?;
            let offsets = checkpoint::read_offsets(&text).with_context(|| format!("{name}: {text:?}"))?;
            for (tp, offset) in &offsets {
                let topic = self.topics.get(&*tp.topic);
                if let Some(log) = topic.and_then(|topic| topic.partitions.get(tp.partition.0 as usize)) {
                    ensure!(offset.0 <= log.end, "{name} says {offset} of {tp}, which ends at {}", log.end);
                }
            }
        }
        Ok(())
    }

    fn live(&mut self) -> Result<()> {
        let steps = self.rng.upto(self.plan.steps_max);
        for _ in 0..steps {
            if !self.disk.is_on() {
                break;
            }
            self.operate()?;
            if self.disk.is_on() {
                self.take_marks()?;
            }
        }
        // What was acknowledged before the power went was told.
        self.take_marks()
    }

    /// A clean stop, perhaps with a media fault behind it, a stop that is cut short, or none.
    fn go_down(&mut self) -> Result<()> {
        let mut clean = false;
        if self.disk.is_on() && self.rng.percent(50) {
            if self.rng.percent(50) {
                let bits = 7;
                self.disk.cut_in(self.rng.log_uniform(bits));
            }
            clean = self.close()?;
        } else {
            self.note(|| "== no stop".to_string());
            self.take_marks()?;
            self.store = None;
        }
        let outage = self.some_outage();
        self.disk.power_on(outage);
        if clean && self.plan.rots {
            crate::rot::rot(self);
        }
        Ok(())
    }

    /// Whether it was clean.
    pub(crate) fn close(&mut self) -> Result<bool> {
        self.note(|| "== close".to_string());
        self.take_marks()?;
        let Some(store) = self.store.take() else { return Ok(false) };
        let closed = store.close();
        let on = self.disk.is_on();
        let failed = self.topics.values().flat_map(|topic| &topic.partitions).any(|log| log.failed);
        // The syncs on the way count, whatever came later.
        for (name, topic) in &mut self.topics {
            for (n, log) in topic.partitions.iter_mut().enumerate() {
                let Some(partition) = store.partition(&TopicPartition::new(name.as_str(), n as i32)) else {
                    continue;
                };
                note_marks(&partition, log)?;
                if on && closed.is_ok() && !log.failed {
                    ensure!(partition.marks().end.0 == log.end, "{name}-{n} ends otherwise after a stop");
                    log.acked = log.end;
                }
            }
        }
        match closed {
            Err(error) if on && !self.is_excused() => {
                Err(anyhow::Error::new(error).context("a stop without faults fails"))
            }
            Err(_) => Ok(false),
            Ok(()) => Ok(on && !failed),
        }
    }

    /// Everything that was begun is done.
    pub(crate) fn settle(&mut self) -> Result<()> {
        self.disk.set_faults(Faults { short: self.plan.short, ..Faults::default() });
        self.disk.cut_never();
        for _ in 0..1000 {
            self.clock.pass(100);
            if !self.store().step(flumen_store::Work::Flush) {
                break;
            }
        }
        self.take_marks()
    }

    /// What the marks say now was told to somebody.
    pub(crate) fn take_marks(&mut self) -> Result<()> {
        let Some(store) = &self.store else { return Ok(()) };
        for (name, topic) in &mut self.topics {
            for (n, log) in topic.partitions.iter_mut().enumerate() {
                if let Some(partition) = store.partition(&TopicPartition::new(name.as_str(), n as i32)) {
                    note_marks(&partition, log).with_context(|| format!("{name}-{n}"))?;
                }
            }
        }
        self.coordinators.take_marks(store);
        Ok(())
    }
}

fn note_marks(partition: &Partition, log: &mut Log) -> Result<()> {
    let marks = partition.marks();
    ensure!(marks.start <= marks.last_stable && marks.last_stable <= marks.high_watermark, "{marks:?}");
    ensure!(marks.high_watermark <= marks.end, "{marks:?}");
    ensure!(
        marks.high_watermark.0 >= log.high_watermark,
        "the high watermark goes back from {} to {}",
        log.high_watermark,
        marks.high_watermark
    );
    ensure!(
        marks.last_stable.0 >= log.last_stable,
        "the last stable offset goes back from {} to {}",
        log.last_stable,
        marks.last_stable
    );
    log.high_watermark = marks.high_watermark.0;
    log.last_stable = marks.last_stable.0;
    if !log.behind {
        log.acked = log.acked.max(marks.high_watermark.0);
    }
    log.start_max = log.start_max.max(marks.start.0);
    log.failed = marks.failed;
    Ok(())
}
