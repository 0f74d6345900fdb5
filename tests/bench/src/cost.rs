//! What one produce and one fetch cost, as everything around them grows by three powers of ten.
//!
//! One record at a time, one after another, to and from random places. Of Flumen alone: what is shown is
//! that nothing grows.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flumen_client::{
    Client, Consumer, ConsumerOptions, NewTopic, Options, Producer, ProducerOptions, Record,
};
use flumen_harness::Flumen;
use flumen_types::{Offset, Timestamp, TopicPartition};
use hdrhistogram::Histogram;
use tokio::task::LocalSet;

use crate::big_log::{self, BigLog};
use crate::figures::{Table, number};
use crate::{Args, peers, proc};

const OPS: u64 = 5000;

pub(crate) fn table(args: &Args) -> Result<()> {
    let note = "One record of 100 bytes at a time to the page cache, one fetch at a time of one batch, both at \
random places; microseconds. CPU is the broker's; the times hold the client's own work too, which grows with \
the partitions of a topic.";
    let columns =
        ["what grows", "to", "produce p50", "produce CPU", "fetch p50", "fetch CPU", "broker RSS MiB"];
    let mut table = Table::new("Cost of one produce and one fetch", note, &columns);
    for (segments, segment_bytes) in [(1, 128 << 20), (1, 1 << 30), (10, 1 << 30), (args.segments, 1 << 30)] {
        log_size(segments, segment_bytes, &mut table)?;
    }
    for partitions in [10, 100, 1000, args.partitions] {
        many_partitions(partitions, &mut table)?;
    }
    consumers(&[1, 10, 100, 1000], &mut table)?;
    table.write(args.out())
}

/// What the operations take, of a broker that is `pid`.
struct Meter {
    pid: u32,
    wall: Histogram<u64>,
    cpu_before: f64,
}

impl Meter {
    fn new(pid: u32) -> Result<Meter> {
        Ok(Meter { pid, wall: Histogram::new(3)?, cpu_before: proc::cpu_seconds(pid)? })
    }

    fn took(&mut self, began: Instant) -> Result<()> {
        Ok(self.wall.record(began.elapsed().as_nanos() as u64)?)
    }

    /// Microseconds: the median of one, and the broker's CPU for one.
    fn read(&self) -> Result<[String; 2]> {
        let cpu = (proc::cpu_seconds(self.pid)? - self.cpu_before) * 1e6 / self.wall.len() as f64;
        Ok([self.wall.value_at_quantile(0.5) as f64 / 1e3, cpu].map(number))
    }
}

/// Where to write and where to read, by a random number.
struct Places<'a> {
    topic: &'a str,
    partitions: i32,
    read: &'a dyn Fn(u64) -> i64,
}

impl Places<'_> {
    /// One of ten, from all over the topic: our client keeps a queue for each that it writes to, and it is not
    /// the client that is measured.
    fn partition(&self, random: u64) -> i32 {
        let few = self.partitions.min(10);
        (random % few as u64) as i32 * (self.partitions / few)
    }
}

fn row(table: &mut Table, flumen: &mut Flumen, what: &str, to: &str, places: &Places<'_>) -> Result<()> {
    let pid = flumen.process().id();
    let (produced, fetched) = peers::wait(measure(flumen.bootstrap(), pid, places))?;
    let rss = number(proc::rss_mib(pid)?);
    let [produce, produce_cpu] = produced;
    let [fetch, fetch_cpu] = fetched;
    table.row(&[what, to, &produce, &produce_cpu, &fetch, &fetch_cpu, &rss]);
    Ok(())
}

async fn measure(bootstrap: String, pid: u32, places: &Places<'_>) -> Result<([String; 2], [String; 2])> {
    let client = Client::connect(Options::new(bootstrap)).await?;
    let options = ProducerOptions { linger: Duration::ZERO, ..ProducerOptions::default() };
    let mut producer = Producer::new(&client, options).await?;
    let mut random = random();
    let record = Record {
        timestamp: Timestamp(1_700_000_000_000),
        key: None,
        value: Some(vec![b'x'; 100].into()),
        headers: Vec::new(),
    };
    let mut produced = Meter::new(pid)?;
    for n in 0..OPS + OPS / 10 {
        if n == OPS / 10 {
            produced = Meter::new(pid)?;
        }
        let partition = places.partition(random());
        let began = Instant::now();
        producer.send(places.topic, Some(partition), record.clone()).await?;
        let flushed = producer.flush().await;
        ensure!(flushed.failed == 0, "a record was refused: {:?}", flushed.error);
        produced.took(began)?;
    }
    let options = ConsumerOptions {
        partition_bytes_max: 512,
        fetch_bytes_max: 512,
        read_committed: false,
        ..ConsumerOptions::default()
    };
    let mut consumer = Consumer::new(&client, options);
    let mut fetched = Meter::new(pid)?;
    for n in 0..OPS + OPS / 10 {
        if n == OPS / 10 {
            fetched = Meter::new(pid)?;
        }
        let at = random();
        let partition = TopicPartition::new(places.topic, places.partition(at));
        consumer.assign(partition.clone(), Offset((places.read)(at)));
        let began = Instant::now();
        let got = consumer.poll().await?;
        ensure!(!got.is_empty(), "nothing at {partition} from {}", (places.read)(at));
        fetched.took(began)?;
        consumer.unassign(&partition);
    }
    Ok((produced.read()?, fetched.read()?))
}

fn random() -> impl FnMut() -> u64 {
    let mut state = 1_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

async fn create(flumen: &Flumen, name: &str, partitions: i32) -> Result<Client> {
    let client = Client::connect(Options::new(flumen.bootstrap())).await?;
    let topic = NewTopic {
        name: name.into(),
        partitions: Some(partitions),
        replication: Some(1),
        configs: [("flush.messages".to_owned(), "9223372036854775806".to_owned())].into(),
    };
    client.create_topic(&topic, false).await?;
    Ok(client)
}

/// A record to each partition, so that there is something to read.
async fn fill(client: &Client, topic: &str, partitions: i32) -> Result<()> {
    let mut producer = Producer::new(client, ProducerOptions::default()).await?;
    let record = Record {
        timestamp: Timestamp(1_700_000_000_000),
        key: None,
        value: Some("x".into()),
        headers: Vec::new(),
    };
    for partition in 0..partitions {
        producer.send(topic, Some(partition), record.clone()).await?;
    }
    let flushed = producer.flush().await;
    ensure!(flushed.failed == 0, "a record was refused: {:?}", flushed.error);
    Ok(())
}

fn log_size(segments: u64, segment_bytes: u64, table: &mut Table) -> Result<()> {
    let mut flumen = Flumen::prepare("");
    flumen.up();
    peers::wait(create(&flumen, "big", 1))?;
    ensure!(flumen.stop() == Some(0), "the broker did not stop well");
    let log: BigLog = big_log::make(&flumen.path("data/big-0"), segments, segment_bytes)?;
    big_log::note_end(&flumen.path("data"), "big", &log)?;
    flumen.up();
    let to = format!("{} GB", number(log.bytes as f64 / 1e9));
    let places = Places { topic: "big", partitions: 1, read: &|n| log.small(n) };
    row(table, &mut flumen, "the log", &to, &places)
}

fn many_partitions(partitions: i32, table: &mut Table) -> Result<()> {
    let mut flumen = Flumen::prepare("");
    flumen.up();
    peers::wait(async { fill(&create(&flumen, "many", partitions).await?, "many", partitions).await })?;
    let places = Places { topic: "many", partitions, read: &|_| 0 };
    row(table, &mut flumen, "partitions", &partitions.to_string(), &places)
}

/// Who waits for another partition of the topic, each on a connection of its own.
fn consumers(counts: &[usize], table: &mut Table) -> Result<()> {
    for count in counts {
        let mut flumen = Flumen::prepare("");
        flumen.up();
        peers::wait(async { fill(&create(&flumen, "read", 2).await?, "read", 1).await })?;
        let bootstrap = flumen.bootstrap();
        let waiting = std::thread::Builder::new().name("consumers".into());
        let (ready, all_wait) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let count = *count;
        let waiting =
            waiting.spawn(move || peers::wait(wait_for_nothing(bootstrap, count, ready, stopped)))?;
        all_wait.recv()?;
        let places = Places { topic: "read", partitions: 1, read: &|_| 0 };
        row(table, &mut flumen, "waiting consumers", &count.to_string(), &places)?;
        drop(stop);
        waiting.join().map_err(|_| anyhow::anyhow!("the consumers panicked"))??;
    }
    Ok(())
}

async fn wait_for_nothing(
    bootstrap: String,
    count: usize,
    ready: std::sync::mpsc::Sender<()>,
    stopped: tokio::sync::oneshot::Receiver<()>,
) -> Result<()> {
    let client = Client::connect(Options::new(bootstrap)).await?;
    let local = LocalSet::new();
    for _ in 0..count {
        let options = ConsumerOptions {
            wait_max: Duration::from_secs(60),
            read_committed: false,
            ..ConsumerOptions::default()
        };
        let mut consumer = Consumer::new(&client, options);
        consumer.assign(TopicPartition::new("read", 1), Offset(0));
        local.spawn_local(async move { while consumer.poll().await.is_ok() {} });
    }
    local
        .run_until(async move {
            // Each has sent its fetch by then; one that has not is measured as what it is, a connection.
            tokio::time::sleep(Duration::from_millis(500 + 2 * count as u64)).await;
            ready.send(()).ok();
            stopped.await.ok();
        })
        .await;
    Ok(())
}
