//! Load by librdkafka, in a process of its own: `flumen-bench load ...`, started by the tables.
//!
//! A fresh process each time, so that its memory is the same to the broker under test each time, and
//! its CPU is nobody else's. It prints what it did as a line of JSON.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use flumen_harness::process;
use serde::{Deserialize, Serialize};

use crate::librdkafka::{Consumer, From, Got, Library, Producer};

#[derive(Subcommand)]
pub(crate) enum Load {
    /// Writes records and waits until they are acknowledged.
    Produce(Produce),
    /// Reads records from the beginning.
    Fetch(Fetch),
}

#[derive(Args, Clone)]
pub(crate) struct Produce {
    #[arg(long)]
    pub(crate) bootstrap: String,
    #[arg(long)]
    pub(crate) topic: String,
    /// Of a record's value.
    #[arg(long)]
    pub(crate) size: usize,
    /// Of all producers together.
    #[arg(long)]
    pub(crate) records: u64,
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: i32,
    #[arg(long, default_value_t = 1)]
    pub(crate) producers: u64,
    #[arg(long, default_value = "none")]
    pub(crate) codec: String,
    /// So many different keys, one after another; 0: none.
    #[arg(long, default_value_t = 0)]
    pub(crate) keys: u64,
    /// Goes on until it is killed.
    #[arg(long)]
    pub(crate) forever: bool,
}

#[derive(Args, Clone)]
pub(crate) struct Fetch {
    #[arg(long)]
    pub(crate) bootstrap: String,
    #[arg(long)]
    pub(crate) topic: String,
    #[arg(long)]
    pub(crate) records: u64,
    #[arg(long, default_value_t = 1)]
    pub(crate) partitions: i32,
    /// So often, from the beginning each time.
    #[arg(long, default_value_t = 1)]
    pub(crate) passes: u64,
    /// Begins anew at its end, until it is killed.
    #[arg(long)]
    pub(crate) forever: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) seconds: f64,
    pub(crate) records: u64,
    /// Of values.
    pub(crate) bytes: u64,
}

impl Done {
    pub(crate) fn gb(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

impl Load {
    /// In this process.
    pub(crate) fn run(self) -> Result<()> {
        let done = match self {
            Load::Produce(produce) => produce.run()?,
            Load::Fetch(fetch) => fetch.run()?,
        };
        println!("{}", serde_json::to_string(&done)?);
        Ok(())
    }
}

/// In a process of its own, to its end.
pub(crate) fn run(mut command: Command) -> Result<Done> {
    let said = process::stdout("the load", &mut command);
    serde_json::from_str(&said).with_context(|| format!("the load said {said:?}"))
}

fn command(
    kind: &str,
    bootstrap: &str,
    topic: &str,
    numbers: &[(&str, String)],
    forever: bool,
) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["load", kind, "--bootstrap", bootstrap, "--topic", topic]);
    for (name, value) in numbers {
        command.arg(format!("--{name}={value}"));
    }
    if forever {
        command.arg("--forever");
    }
    Ok(command)
}

impl Produce {
    pub(crate) fn command(&self) -> Result<Command> {
        let numbers = [
            ("size", self.size.to_string()),
            ("records", self.records.to_string()),
            ("partitions", self.partitions.to_string()),
            ("producers", self.producers.to_string()),
            ("codec", self.codec.clone()),
            ("keys", self.keys.to_string()),
        ];
        command("produce", &self.bootstrap, &self.topic, &numbers, self.forever)
    }

    fn run(&self) -> Result<Done> {
        let library = Library::load()?;
        let text: &'static [u8] = words(self.size.max(1 << 20) * 2).leak();
        let producers: Vec<Producer> = (0..self.producers)
            .map(|_| Producer::new(library, &self.settings(), &self.topic))
            .collect::<Result<_>>()?;
        // Connected, and the topic known, before the clock starts.
        for producer in &producers {
            producer.send(0, &text[..self.size], None)?;
            producer.flush()?;
        }
        let began = Instant::now();
        std::thread::scope(|scope| {
            let senders: Vec<_> = producers
                .into_iter()
                .enumerate()
                // Its pointers are used by this thread alone from here on.
                .map(|(n, producer)| (n as u64, Movable(producer)))
                .map(|(n, producer)| scope.spawn(move || self.send(n, producer, text)))
                .collect();
            senders
                .into_iter()
                .try_for_each(|sender| sender.join().map_err(|_| anyhow::anyhow!("a sender panicked"))?)
        })?;
        let seconds = began.elapsed().as_secs_f64();
        Ok(Done { seconds, records: self.records, bytes: self.records * self.size as u64 })
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        // What the producers of one process may hold together.
        let kbytes = (262_144 / self.producers).max(8192);
        vec![
            ("bootstrap.servers", self.bootstrap.clone()),
            ("acks", "all".into()),
            ("linger.ms", "5".into()),
            ("batch.size", "1000000".into()),
            ("batch.num.messages", "1000000".into()),
            ("queue.buffering.max.messages", "2000000".into()),
            ("queue.buffering.max.kbytes", kbytes.to_string()),
            ("compression.codec", self.codec.clone()),
            ("delivery.report.only.error", "true".into()),
        ]
    }

    fn send(&self, nth: u64, producer: Movable, text: &'static [u8]) -> Result<()> {
        let producer = producer.into_inner();
        let mut at = (nth as usize * 7919) % self.size.max(1);
        let mut i = nth;
        while i < self.records || self.forever {
            if at + self.size > text.len() {
                at = (at + self.size) % 1021;
            }
            let key = (self.keys > 0).then(|| format!("key-{:012}", i % self.keys));
            let partition = (i % self.partitions as u64) as i32;
            producer.send(partition, &text[at..at + self.size], key.as_ref().map(|key| key.as_bytes()))?;
            at += self.size;
            i += self.producers;
        }
        producer.flush()
    }
}

/// librdkafka's handles may be used by any thread.
struct Movable(Producer);

// SAFETY: librdkafka is thread-safe; the count of failures is touched by the thread that polls only.
unsafe impl Send for Movable {}

impl Movable {
    fn into_inner(self) -> Producer {
        self.0
    }
}

/// Text that a codec makes something of, but not nothing: words of a language of 4096.
fn words(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let vocabulary: Vec<Vec<u8>> = (0..4096)
        .map(|_| (0..2 + next() % 9).map(|_| b'a' + (next() % 26) as u8).chain([b' ']).collect())
        .collect();
    let mut text = Vec::with_capacity(length + 16);
    while text.len() < length {
        text.extend_from_slice(&vocabulary[(next() % 4096) as usize]);
    }
    text.truncate(length);
    text
}

impl Fetch {
    pub(crate) fn command(&self) -> Result<Command> {
        let numbers = [
            ("records", self.records.to_string()),
            ("partitions", self.partitions.to_string()),
            ("passes", self.passes.to_string()),
        ];
        command("fetch", &self.bootstrap, &self.topic, &numbers, self.forever)
    }

    fn run(&self) -> Result<Done> {
        let consumer = Consumer::new(Library::load()?, &self.settings(), &self.topic, self.partitions)?;
        // Connected, and the topic known, before the clock starts.
        consumer.start(From::End)?;
        read(&consumer, self.partitions as u64, |got| got.ends as u64)?;
        let mut done = Done { seconds: 0.0, records: 0, bytes: 0 };
        let mut passes = 0;
        while passes < self.passes || self.forever {
            consumer.stop();
            let began = Instant::now();
            consumer.start(From::Beginning)?;
            read(&consumer, self.records, |got| {
                done.bytes += got.bytes;
                got.records
            })?;
            done.seconds += began.elapsed().as_secs_f64();
            (done.records, passes) = (done.records + self.records, passes + 1);
        }
        Ok(done)
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("bootstrap.servers", self.bootstrap.clone()),
            ("group.id", "bench".into()),
            ("check.crcs", "false".into()),
            ("enable.auto.commit", "false".into()),
            ("enable.partition.eof", "true".into()),
            // What the last pass still waits for at the end of the log is not to hold up the next.
            ("fetch.wait.max.ms", "5".into()),
            ("fetch.message.max.bytes", "8000000".into()),
            ("fetch.max.bytes", "16000000".into()),
            ("queued.min.messages", "1000000".into()),
            ("queued.max.messages.kbytes", "131072".into()),
            // A fetch that finds nothing yet is not to sleep over half of the run.
            ("fetch.error.backoff.ms", "10".into()),
        ]
    }
}

/// Reads until there was enough of what `count` counts.
fn read(consumer: &Consumer, enough: u64, mut count: impl FnMut(&Got) -> u64) -> Result<()> {
    let (mut counted, mut last) = (0, Instant::now());
    while counted < enough {
        let more = count(&consumer.poll(enough - counted)?);
        if more > 0 {
            last = Instant::now();
        }
        ensure!(
            last.elapsed() < Duration::from_secs(60),
            "{counted} of {enough} came, then nothing for a minute"
        );
        counted += more;
    }
    Ok(())
}

/// What the library says of itself, for the head of the tables.
pub(crate) fn library_version() -> Result<String> {
    Ok(Library::load()?.version())
}
