//! How long until a broker listens, with much to look after, and what it holds in memory then.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use flumen_client::{Client, NewTopic, Options, Producer, ProducerOptions, Record};
use flumen_harness::{Flumen, Kafka};
use flumen_types::Timestamp;

use crate::figures::{Figure, Table};
use crate::{Args, big_log, peers, proc};

const COLUMNS: [&str; 6] =
    ["data", "the last stop was", "broker", "listens after s", "RSS MiB then", "threads"];

pub(crate) fn table(args: &Args) -> Result<()> {
    let mut table = Table::new(
        "Start",
        "Median (range). The log of 100 GB is sparse: right in every byte, mostly holes.",
        &COLUMNS,
    );
    nothing(args, &mut table)?;
    many_partitions(args, &mut table)?;
    big(args, &mut table)?;
    if !args.alone {
        kafka(args, &mut table)?;
    }
    table.write(args.out())
}

/// What one start took.
#[derive(Default)]
struct Starts {
    seconds: Figure,
    rss: Figure,
    threads: usize,
}

impl Starts {
    fn flumen(&mut self, flumen: &mut Flumen) -> Result<()> {
        let address = flumen.bootstrap();
        let began = Instant::now();
        flumen.launch();
        while TcpStream::connect(&address).is_err() {
            ensure!(flumen.process().exited().is_none(), "the broker ended:\n{}", flumen.process().tail());
            ensure!(began.elapsed() < Duration::from_secs(600), "the broker does not listen");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.took(began, flumen.process().id())
    }

    fn took(&mut self, began: Instant, pid: u32) -> Result<()> {
        self.seconds.push(began.elapsed().as_secs_f64());
        self.rss.push(proc::rss_mib(pid)?);
        self.threads = proc::threads(pid)?;
        Ok(())
    }

    fn row(&self, table: &mut Table, data: &str, stop: &str, broker: &str) {
        let threads = self.threads.to_string();
        table.row(&[data, stop, broker, &self.seconds.show(), &self.rss.show(), &threads]);
    }
}

fn nothing(args: &Args, table: &mut Table) -> Result<()> {
    let mut flumen = Flumen::prepare("");
    let mut starts = Starts::default();
    for _ in 0..=args.runs {
        starts.flumen(&mut flumen)?;
        ensure!(flumen.stop() == Some(0), "the broker did not stop well");
    }
    starts.row(table, "nothing", "clean", "Flumen");
    Ok(())
}

async fn create(bootstrap: &str, name: &str, partitions: i32) -> Result<()> {
    let mut options = Options::new(bootstrap);
    (options.request_timeout, options.operation_timeout) =
        (Duration::from_secs(600), Duration::from_secs(600));
    let client = Client::connect(options).await?;
    let topic = NewTopic {
        name: name.into(),
        partitions: Some(partitions),
        replication: Some(1),
        configs: std::collections::BTreeMap::default(),
    };
    peers::create(&client, topic).await
}

/// A record to every partition.
async fn fill(bootstrap: &str, topic: &str, partitions: i32) -> Result<()> {
    let client = Client::connect(Options::new(bootstrap)).await?;
    let mut producer = Producer::new(&client, ProducerOptions::default()).await?;
    for partition in 0..partitions {
        let value = Some(format!("record of {partition}").into_bytes().into());
        let record =
            Record { timestamp: Timestamp(1_700_000_000_000), key: None, value, headers: Vec::new() };
        producer.send(topic, Some(partition), record).await?;
        if partition % 1000 == 999 {
            let flushed = producer.flush().await;
            ensure!(flushed.failed == 0, "a record was refused: {:?}", flushed.error);
        }
    }
    let flushed = producer.flush().await;
    ensure!(flushed.failed == 0, "a record was refused: {:?}", flushed.error);
    Ok(())
}

fn many_partitions(args: &Args, table: &mut Table) -> Result<()> {
    let mut flumen = Flumen::prepare("");
    flumen.up();
    peers::wait(create(&flumen.bootstrap(), "many", args.partitions))?;
    peers::wait(fill(&flumen.bootstrap(), "many", args.partitions))?;
    let (mut clean, mut killed) = (Starts::default(), Starts::default());
    for _ in 0..args.runs {
        ensure!(flumen.stop() == Some(0), "the broker did not stop well");
        clean.flumen(&mut flumen)?;
        flumen.kill();
        killed.flumen(&mut flumen)?;
    }
    let data = format!("{} partitions, a record in each", args.partitions);
    clean.row(table, &data, "clean", "Flumen");
    killed.row(table, &data, "a kill", "Flumen");
    Ok(())
}

fn big(args: &Args, table: &mut Table) -> Result<()> {
    let mut flumen = Flumen::prepare("");
    flumen.up();
    peers::wait(create(&flumen.bootstrap(), "big", 1))?;
    ensure!(flumen.stop() == Some(0), "the broker did not stop well");
    let log = big_log::make(&flumen.path("data/big-0"), args.segments, 1 << 30)?;
    big_log::note_end(&flumen.path("data"), "big", &log)?;
    let (mut clean, mut killed) = (Starts::default(), Starts::default());
    for _ in 0..args.runs {
        clean.flumen(&mut flumen)?;
        peers::wait(fill(&flumen.bootstrap(), "big", 1))?;
        flumen.kill();
        killed.flumen(&mut flumen)?;
        ensure!(flumen.stop() == Some(0), "the broker did not stop well");
    }
    let data = format!("{:.0} GB in {} segments", log.bytes as f64 / 1e9, log.segments);
    clean.row(table, &data, "clean", "Flumen");
    killed.row(table, &data, "a kill", "Flumen");
    Ok(())
}

/// The same log below Apache Kafka, and as many partitions.
fn kafka(args: &Args, table: &mut Table) -> Result<()> {
    let dir = args.dir()?;
    let mut kafka = Kafka::start(&dir);
    peers::wait(create(&kafka.bootstrap(), "big", 1))?;
    kafka.stop();
    let log = big_log::make(&kafka.data().join("big-0"), args.segments, 1 << 30)?;
    big_log::note_end(&kafka.data(), "big", &log)?;
    let data = format!("{:.0} GB in {} segments", log.bytes as f64 / 1e9, log.segments);
    let mut clean = Starts::default();
    let began = Instant::now();
    let mut again = Kafka::start_on(&kafka.data());
    clean.took(began, again.pid())?;
    clean.row(table, &data, "clean", "Kafka");
    peers::wait(fill(&again.bootstrap(), "big", 1))?;
    again.kill();
    let (mut killed, began) = (Starts::default(), Instant::now());
    let mut again = Kafka::start_on(&kafka.data());
    killed.took(began, again.pid())?;
    killed.row(table, &data, "a kill", "Kafka");
    peers::wait(create(&again.bootstrap(), "many", args.partitions))?;
    again.stop();
    let (mut many, began) = (Starts::default(), Instant::now());
    let again = Kafka::start_on(&kafka.data());
    many.took(began, again.pid())?;
    many.row(table, &format!("{} empty partitions beside", args.partitions), "clean", "Kafka");
    Ok(())
}
