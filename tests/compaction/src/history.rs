//! What happens to a partition: settings and steps, made from a seed.
//!
//! In it: keys that come again, tombstones, records without a key, every codec, idempotent producers that
//! stop, transactions that are committed, aborted and left open, over many segments; time that passes the
//! compaction lags, delete horizons and producers' expiration; trims, restarts and crashes; maps of keys that are
//! too small for the log.

use bytes::Bytes;
use flumen_records::{BatchBuilder, Compression, ControlRecord, NewRecord};
use flumen_types::{ProducerEpoch, ProducerId, Sequence, Timestamp};

use crate::chance::Chance;

#[derive(Debug)]
pub struct History {
    pub seed: u64,
    pub began: i64,
    pub settings: Settings,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Settings {
    /// In Kafka's own form: numbers are plain.
    pub topic: Vec<(&'static str, String)>,
    pub producer_expiration_ms: i64,
    pub buffer_bytes: i64,
}

#[derive(Debug)]
pub struct Step {
    pub now: i64,
    pub what: What,
}

#[derive(Debug)]
pub enum What {
    /// A batch without offsets.
    Append(Bytes),
    Marker(Marker),
    /// A round of retention and compaction.
    Clean,
    Trim(i64),
    Restart,
    Crash,
}

#[derive(Clone, Copy, Debug)]
pub struct Marker {
    pub producer: ProducerId,
    pub epoch: ProducerEpoch,
    pub control: ControlRecord,
}

/// A record is no older than this when it is written.
pub const OLDEST_MS: i64 = 3000;

/// Room for all keys.
const MAP_BYTES: i64 = 1 << 16;

struct Producer {
    id: ProducerId,
    epoch: ProducerEpoch,
    sequence: i32,
    transactional: bool,
    /// Where the open transaction begins.
    open: Option<i64>,
}

struct Maker {
    chance: Chance,
    now: i64,
    producers: Vec<Producer>,
    keys: usize,
    /// Records of a batch.
    count_max: usize,
    /// Offsets are given one by one, so the maker can count.
    end: i64,
    start: i64,
    /// Segments go by age.
    retains: bool,
    /// A pass may end in the middle of a segment. Where the next begins there, Kafka forgets that a transaction
    /// aborted before that place is over: what its producer commits later passes for aborted while keys are
    /// read, and older records of those keys stay. Here they go. So there, whoever aborts writes no more.
    small_map: bool,
    steps: Vec<Step>,
}

impl History {
    pub fn new(seed: u64) -> History {
        let mut chance = Chance(seed);
        let began = 1_700_000_000_000;
        // A batch has to fit into a segment.
        let (segment_bytes, count_max) =
            chance.one_of(&[(600, 4), (1500, 12), (4000, 4), (4000, 12), (100_000, 12)]);
        let settings = settings(&mut chance, segment_bytes);
        let producer = |(id, transactional)| Producer {
            id: ProducerId(id),
            epoch: ProducerEpoch(0),
            sequence: 0,
            transactional,
            open: None,
        };
        let producers = [(1, false), (2, false), (11, true), (12, true), (13, true)].map(producer).into();
        let keys = chance.one_of(&[3, 12, 40]);
        let small_map = settings.buffer_bytes < MAP_BYTES;
        let retains = settings.topic[0].1.contains("delete");
        let mut maker = Maker {
            chance,
            now: began,
            producers,
            keys,
            count_max,
            end: 0,
            start: 0,
            retains,
            small_map,
            steps: Vec::new(),
        };
        for _ in 0..maker.chance.one_of(&[2, 3, 4, 6]) {
            for _ in 0..4 + maker.chance.below(30) {
                maker.happen();
            }
            maker.between();
        }
        maker.step(What::Clean);
        History { seed, began, settings, steps: maker.steps }
    }
}

fn settings(chance: &mut Chance, segment_bytes: u32) -> Settings {
    let mut topic = vec![
        ("cleanup.policy", "compact".to_owned()),
        ("internal.segment.bytes", segment_bytes.to_string()),
        // Kafka's cleaner gives up on a smaller one that it has filled itself.
        ("segment.index.bytes", "4096".to_owned()),
        ("index.interval.bytes", chance.one_of(&[0, 200, 4096]).to_string()),
        ("min.cleanable.dirty.ratio", chance.one_of(&["0.0", "0.0", "0.3", "0.5"]).to_owned()),
        ("delete.retention.ms", chance.one_of(&[0, 1000, 30_000, 86_400_000]).to_string()),
        ("retention.ms", "-1".to_owned()),
    ];
    if chance.percent(20) {
        topic.push(("min.compaction.lag.ms", "5000".to_owned()));
    }
    if chance.percent(25) {
        topic.push(("max.compaction.lag.ms", "20000".to_owned()));
    }
    if chance.percent(15) {
        topic[0].1 = "compact,delete".to_owned();
        topic[6].1 = "120000".to_owned();
    }
    if chance.percent(15) {
        topic.push(("message.timestamp.type", "LogAppendTime".to_owned()));
    }
    if chance.percent(15) {
        topic.push(("segment.ms", "10000".to_owned()));
    }
    Settings {
        topic,
        producer_expiration_ms: chance.one_of(&[86_400_000, 86_400_000, 20_000]),
        buffer_bytes: chance.one_of(&[MAP_BYTES, MAP_BYTES, MAP_BYTES, 24 * 30, 24 * 8]),
    }
}

impl Settings {
    /// Whatever is dirty is cleaned, be it as little as it may.
    pub fn is_always_due(&self) -> bool {
        self.topic.iter().any(|(key, value)| *key == "min.cleanable.dirty.ratio" && value == "0.0")
    }
}

impl Maker {
    fn step(&mut self, what: What) {
        self.steps.push(Step { now: self.now, what });
    }

    fn happen(&mut self) {
        match self.chance.below(10) {
            0..4 => self.batch(None),
            4..9 => {
                let producer = self.chance.below(self.producers.len());
                if self.producers[producer].open.is_some() && self.chance.percent(35) {
                    self.end_transaction(producer);
                } else {
                    self.batch(Some(producer));
                }
            }
            _ => self.now += self.chance.one_of(&[1, 200, 2000, 7000]) as i64,
        }
    }

    /// Between two stretches of writing, mostly a round of cleaning.
    fn between(&mut self) {
        self.now += self.chance.one_of(&[0, 500, 6000, 25_000, 90_000, 100_000_000]) as i64;
        if self.chance.percent(10) {
            let to = self.start + self.chance.below((self.end - self.start + 1) as usize) as i64;
            self.start = to;
            self.step(What::Trim(to));
        }
        match self.chance.below(8) {
            0 => self.step(What::Restart),
            1 if !self.cut_a_transaction() => self.step(What::Crash),
            _ => {}
        }
        for _ in 0..self.chance.one_of(&[0, 1, 1, 1, 2]) {
            self.step(What::Clean);
            self.now += self.chance.one_of(&[0, 0, 1500, 40_000]) as i64;
        }
    }

    /// Whether an open transaction may have lost its beginning. Kafka does not know of it after a crash, and cleans
    /// what lies behind; here it is open until its marker comes, as before the crash. So none of that.
    fn cut_a_transaction(&self) -> bool {
        let open = self.producers.iter().filter_map(|producer| producer.open);
        open.min().is_some_and(|first| first < self.start || self.retains)
    }

    fn end_transaction(&mut self, producer: usize) {
        let commit = self.chance.percent(50);
        let retire = self.small_map && !commit;
        let bump = self.chance.percent(20);
        let producer = &mut self.producers[producer];
        producer.open = None;
        let control = match commit {
            true => ControlRecord::Commit { coordinator_epoch: 0 },
            false => ControlRecord::Abort { coordinator_epoch: 0 },
        };
        let marker = Marker { producer: producer.id, epoch: producer.epoch, control };
        if retire {
            (producer.id, producer.epoch, producer.sequence) =
                (ProducerId(producer.id.0 + 10), ProducerEpoch(0), 0);
        } else if bump {
            (producer.epoch, producer.sequence) = (ProducerEpoch(producer.epoch.0 + 1), 0);
        }
        self.end += 1;
        self.step(What::Marker(marker));
    }

    fn batch(&mut self, producer: Option<usize>) {
        let codec =
            if self.chance.percent(50) { Compression::None } else { self.chance.one_of(&Compression::ALL) };
        let mut builder = BatchBuilder::new(codec);
        let count = 1 + self.chance.below(self.count_max);
        if let Some(producer) = producer {
            let producer = &mut self.producers[producer];
            builder = builder.producer(producer.id, producer.epoch, Sequence(producer.sequence));
            producer.sequence += count as i32;
            if producer.transactional {
                builder = builder.transactional();
                producer.open = producer.open.or(Some(self.end));
            }
        }
        for n in 0..count {
            self.record(&mut builder, n);
        }
        self.end += count as i64;
        self.step(What::Append(builder.build().expect("a batch")));
    }

    fn record(&mut self, builder: &mut BatchBuilder, n: usize) {
        let key = format!("key-{}", self.chance.below(self.keys));
        let key = (!self.chance.percent(4)).then_some(key.as_bytes());
        let value = format!("{}-{n}{}", self.end, "x".repeat(self.chance.below(60)));
        let value = (!self.chance.percent(20)).then_some(value.as_bytes());
        let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"1")), (b"none", None)];
        let headers = &headers[..self.chance.below(3)];
        let at = self.now - self.chance.one_of(&[0, 0, 1, OLDEST_MS]);
        builder.push(&NewRecord { timestamp: Timestamp(at), key, value, headers });
    }
}
